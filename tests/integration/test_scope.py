"""Whatever lies outside a caller's region or department is neither shown nor changed, by any route over any table.

A row outside is put into every table that has a region, whatever it is for; then a caller from elsewhere tries every
route, with the ids of all these rows in its address, and with bodies made from the OpenAPI document.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.result import Ok
from sqlalchemy import JSON, Boolean, Date, DateTime, Float, Integer, LargeBinary, String, Table, Text, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from schemas.identifiers import make_uscc
from server.db.base import Base
from server.runtime import Runtime
from tests.conftest import SignIn

ELSEWHERE, OTHER = "420684001", "样例甲部门"
"""Where the rows lie, and whose business they are."""
CALLERS = {"region": {"region": "4201"}, "department": {"region": "4206", "department": "样例乙部门"}}
SHARED = {"knowledge", "supervision_body", "audit_event"}
"""Law and the bodies of the directory are everybody's to read; events are told by the record they are about."""
BY_REGION_ONLY = {"entity"}
"""An entity is the business of every department."""


def sample(rt: Runtime, model: type[Any], made: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A value for each column; what refers to another row refers to the one made before."""
    values: dict[str, Any] = {}
    for column in model.__table__.columns:
        kind = column.type
        if column.foreign_keys:
            (key,) = column.foreign_keys
            values[column.name] = made.get(key.column.table.name, {}).get(key.column.name)
            continue
        if column.name in ("region", "department"):
            values[column.name] = ELSEWHERE if column.name == "region" else OTHER
        elif column.name in ("uscc", "entity") and getattr(kind, "length", 0) == 18:
            values[column.name] = make_uscc("91", "420684", f"MA{rt.new_id()[-6:].upper()}".translate(LETTERS))
        elif isinstance(kind, String | Text):
            values[column.name] = rt.new_id()[-(kind.length or 36) :]
        elif isinstance(kind, Boolean):
            values[column.name] = False
        elif isinstance(kind, Integer | Float):
            values[column.name] = int(rt.now_ms() % 10**6)
        elif isinstance(kind, JSON):
            values[column.name] = [] if "list" in str(model.__annotations__.get(column.name, "")) else {}
        elif isinstance(kind, LargeBinary):
            values[column.name] = b"{}"
        elif isinstance(kind, Date) and not isinstance(kind, DateTime):
            values[column.name] = date(2026, 1, 1)
        else:
            values[column.name] = rt.now() + timedelta(microseconds=len(values))
    return values


LETTERS = str.maketrans("IOSVZ", "11111")


EXAMPLES = 2
"""Bodies for each route that writes."""


def placed() -> Iterator[type[Any]]:
    """The models whose rows lie in a region, those they refer to first."""
    models = {mapper.class_.__tablename__: mapper.class_ for mapper in Base.registry.mappers}
    for table in Base.metadata.sorted_tables:
        model = models.get(table.name)
        if model is not None and "region" in table.columns and table.name not in SHARED:
            yield model


def fill(session: Session, rt: Runtime) -> dict[str, dict[str, Any]]:
    """Put a row outside into every table; returns them by table. Those that refer to other rows may be left out."""
    made: dict[str, dict[str, Any]] = {}
    for model in placed():
        values = sample(rt, model, made)
        try:
            with session.begin_nested():
                session.execute(model.__table__.insert(), [values])
        except IntegrityError:
            continue
        made[model.__tablename__] = values
    return made


def ids_of(rows: dict[str, dict[str, Any]], caller: str) -> set[str]:
    """What must not be told: the keys of the rows that lie outside."""
    return {
        str(value)
        for table, row in rows.items()
        if caller == "region" or ("department" in row and table not in BY_REGION_ONLY)
        for value in row.values()
        if isinstance(value, str) and len(value) >= 18
    }


def keys_of(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The ids by which the rows are asked for."""
    found = set()
    for table, row in rows.items():
        columns = Base.metadata.tables[table].primary_key.columns
        found |= {str(row[column.name]) for column in columns if isinstance(row[column.name], str)}
    return sorted(found)


def digest(session: Session, rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The content of the tables, row by row, of what lies outside."""
    found = {}
    for table in rows:
        columns: Table = Base.metadata.tables[table]
        there = session.execute(select(columns).where(columns.c.region == ELSEWHERE)).all()
        found[table] = hashlib.sha256(repr(sorted(map(str, there))).encode()).hexdigest()
    return found


def addresses(app: Flask, known: list[str], method: str) -> Iterator[str]:
    """Every guarded address that an operator reaches by a method, with each id that is known."""
    for rule in app.url_map.iter_rules():
        roles = getattr(app.view_functions[rule.endpoint], "fieldproof_roles", ())
        if method not in (rule.methods or ()) or "operator" not in roles:
            continue
        for one in known if rule.arguments else [""]:
            path = rule.rule
            for name in rule.arguments:
                for form, value in ((f"<{name}>", one), (f"<int:{name}>", "1"), (f"<path:{name}>", one)):
                    path = path.replace(form, value)
            yield path


@pytest.fixture
def outside(rt: Runtime) -> dict[str, dict[str, Any]]:
    """A row outside in every table."""
    with rt.db.write() as session:
        rows = fill(session, rt)
    left_out = {model.__tablename__ for model in placed()} - rows.keys()
    assert len(rows) > 12, rows.keys()
    assert not left_out, left_out
    return rows


@pytest.mark.parametrize("caller", CALLERS)
def test_nothing_outside_is_shown(
    caller: str, app: Flask, client: FlaskClient, outside: dict[str, dict[str, Any]], sign_in: SignIn
) -> None:
    """No list, record, page or export tells of a row outside, nor of its keys."""
    headers, hidden = sign_in("operator", **CALLERS[caller]), ids_of(outside, caller)
    told = []
    for path in addresses(app, keys_of(outside), "GET"):
        reply = client.get(path, headers=headers)
        assert reply.status_code < 500, (path, reply.text[:300])
        if reply.status_code == 200 and any(one in reply.text for one in hidden if one not in path):
            told.append(path)
    assert told == []


@pytest.mark.slow
@pytest.mark.parametrize("caller", CALLERS)
def test_nothing_outside_is_changed(
    caller: str, app: Flask, client: FlaskClient, outside: dict[str, dict[str, Any]], sign_in: SignIn, rt: Runtime
) -> None:
    """Bodies that fit every route, sent to the ids of all rows outside, leave all of them as they were."""
    headers, keys = sign_in("operator", **CALLERS[caller]), keys_of(outside)
    kept = {t: row for t, row in outside.items() if caller == "region" or "department" in row}
    with rt.db.read() as session:
        before = digest(session, {t: row for t, row in kept.items() if t not in BY_REGION_ONLY or caller == "region"})
    answers: Counter[int] = Counter()
    for method, path, bodies in written_to(app):
        for one in keys:
            for body in bodies:
                reply = client.open(re.sub(r"\{\w+\}", one, path), method=method, headers=headers, json=body)
                answers[reply.status_code] += 1
                assert reply.status_code < 500, (method, path, body, reply.text[:300])
    with rt.db.read() as session:
        assert digest(session, {t: outside[t] for t in before}) == before
    assert answers[404] + answers[403] > 500, answers


def keeper(bodies: list[Any]) -> Callable[[Any], None]:
    """Return what keeps the bodies that are made."""

    def keep(case: Any) -> None:  # noqa: ANN401 - generated by schemathesis
        if isinstance(case.body, dict | list):
            bodies.append(case.body)

    return keep


def written_to(app: Flask) -> Iterator[tuple[str, str, list[Any]]]:
    """Every address of a record that is written to, with bodies that fit."""
    config = SchemathesisConfig()
    config.projects.default.generation.update(modes=[GenerationMode.POSITIVE])
    document = schemathesis.openapi.from_dict(app.extensions["fieldproof.api"].spec.to_dict(), config=config)
    for found in document.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.method.upper() == "GET" or "{" not in operation.path:
            continue
        bodies: list[Any] = []

        run = given(operation.as_strategy())(keeper(bodies))
        settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(run)()  # fmt: skip
        yield operation.method.upper(), operation.path, bodies or [{}]
