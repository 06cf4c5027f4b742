"""Filling an empty platform from one JSON file: directory, officers, entities, sensors, accounts. Safe to repeat."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import Code
from schemas.kinds.base import ID
from schemas.kinds.field_work import PositionSchema
from schemas.kinds.reference import SubItemSchema
from server.accounts.service import NewAccount, account_by_login, add_account
from server.audit.service import SYSTEM
from server.directory.models import Checklist, SupervisionItem
from server.directory.service import add_checklist, add_item
from server.entities.models import Entity
from server.entities.service import add_entities
from server.errors import Problem
from server.officers.models import LONG_AGO, Officer
from server.officers.service import add_officers
from server.registers.definition import Names, OptionalCode
from server.runtime import Runtime
from server.telemetry.service import SensorDraft, register_sensor, seed_builtin_rules
from server.web.body import parse_json

CHUNK = 500
"""Rows per transaction: progress is kept, and the write lock is never held for long."""
MAX_FILE_BYTES = 512 * 1024 * 1024


class _Row(Schema):
    id = fields.String(required=True, validate=ID)


class _Item(_Row):
    code = fields.String(required=True)
    name = fields.String(required=True)
    basis = fields.String(required=True)
    department = fields.String(required=True)
    item_type = Code("behavior_kind", load_default="inspection")
    level = Code("exercise_level", load_default="province")
    sector = OptionalCode("sector", load_default="")


class _Checklist(_Row):
    code = fields.String(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    item = fields.String(required=True)
    sub_items = fields.List(fields.Nested(SubItemSchema), required=True)


class _Officer(_Row):
    name = fields.String(required=True)
    certificate_number = fields.String(required=True)
    certificate_valid_from = fields.AwareDateTime(load_default=LONG_AGO)
    certificate_valid_until = fields.AwareDateTime(required=True)
    scope = Names(Code("sector"), load_default=list)
    region = fields.String(required=True)
    department = fields.String(required=True)


class _Entity(_Row):
    name = fields.String(required=True)
    nature = fields.String(load_default="2")
    uscc = fields.String(required=True)
    registered_address = fields.String(required=True)
    operating_address = fields.String(required=True)
    region = fields.String(required=True)
    position = fields.Nested(PositionSchema, required=True)
    entity_type = Code("entity_type", load_default="01")
    sector = OptionalCode("sector", load_default="")
    risk = Code("risk_grade", load_default="B")
    credit = Code("credit_grade", load_default="B")


class _Sensor(Schema):
    id = fields.String(required=True)
    name = fields.String(required=True)
    entity_id = fields.String(required=True, validate=ID)
    region = fields.String(required=True)
    department = fields.String(required=True)
    lat = fields.Float(required=True)
    lon = fields.Float(required=True)
    datum = fields.String(required=True)
    channels = fields.Dict(required=True)
    mqtt_user = fields.String()


class _Account(Schema):
    login = fields.String(required=True)
    password = fields.String(required=True)
    role = fields.String(required=True)
    name = fields.String(required=True)
    region = fields.String(required=True)
    department = fields.String(load_default="")
    officer = fields.String(load_default=None, allow_none=True)


class SeedSchema(Schema):
    """The seed file: every list may be missing."""

    items = fields.List(fields.Nested(_Item), load_default=list)
    checklists = fields.List(fields.Nested(_Checklist), load_default=list)
    officers = fields.List(fields.Nested(_Officer), load_default=list)
    entities = fields.List(fields.Nested(_Entity), load_default=list, validate=validate.Length(max=2_000_000))
    sensors = fields.List(fields.Nested(_Sensor), load_default=list)
    accounts = fields.List(fields.Nested(_Account), load_default=list)


def seed(rt: Runtime, path: Path, progress: Callable[[str, int], None]) -> dict[str, int]:
    """Enter everything a seed file holds that is not there yet.

    Args:
        rt: the runtime.
        path: the JSON file, see :class:`SeedSchema`.
        progress: called with the name of a list and how many of its rows were entered.

    Returns:
        How many rows of each list were entered.

    Raises:
        Problem: the file is no seed file, or a row breaks a rule; what came before it stays.
    """
    data = path.read_bytes()
    if len(data) > MAX_FILE_BYTES:
        raise Problem("too-large", detail="seed file too large", limit=MAX_FILE_BYTES)
    try:
        content: Mapping[str, Any] = SeedSchema().load(parse_json(data))
    except ValidationError as error:
        raise Problem("invalid-field", detail=str(error.messages)[:500]) from error
    counts: dict[str, int] = {}
    with rt.db.write() as session:
        seed_builtin_rules(session, rt)
    for name, enter in ENTER.items():
        counts[name] = 0
        for chunk in _chunks(content[name]):
            with rt.db.write() as session:
                entered = enter(session, rt, chunk)
            counts[name] += entered
            progress(name, entered)
    return counts


def _chunks(rows: Sequence[Mapping[str, Any]]) -> Iterator[list[Mapping[str, Any]]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk


def _missing(session: Session, model: type[Any], rows: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    known = set(session.execute(select(model.id).where(model.id.in_([row["id"] for row in rows]))).scalars())
    return [row for row in rows if row["id"] not in known]


def _items(session: Session, rt: Runtime, rows: list[Mapping[str, Any]]) -> int:
    fresh = _missing(session, SupervisionItem, rows)
    for row in fresh:
        add_item(session, rt, SupervisionItem(**row), author=SYSTEM)
    return len(fresh)


def _checklists(session: Session, rt: Runtime, rows: list[Mapping[str, Any]]) -> int:
    fresh = _missing(session, Checklist, rows)
    for row in fresh:
        add_checklist(session, rt, Checklist(**row), author=SYSTEM)
    return len(fresh)


def _officers(session: Session, rt: Runtime, rows: list[Mapping[str, Any]]) -> int:
    fresh = _missing(session, Officer, rows)
    add_officers(session, rt, [Officer(**row) for row in fresh], author=SYSTEM)
    return len(fresh)


def _entities(session: Session, rt: Runtime, rows: list[Mapping[str, Any]]) -> int:
    fresh = _missing(session, Entity, rows)
    entities = []
    for row in fresh:
        values = dict(row)
        position = values.pop("position")
        entities.append(Entity(**values, lat=position["lat"], lon=position["lon"], datum=position["datum"]))
    add_entities(session, rt, entities, author=SYSTEM)
    return len(fresh)


def _sensors(session: Session, rt: Runtime, rows: list[Mapping[str, Any]]) -> int:
    for row in rows:
        register_sensor(session, rt, SensorDraft(**row))
    return len(rows)


def _accounts(session: Session, rt: Runtime, rows: list[Mapping[str, Any]]) -> int:
    fresh = [row for row in rows if account_by_login(session, row["login"]) is None]
    for row in fresh:
        add_account(session, rt, NewAccount(**row), actor=SYSTEM)
    return len(fresh)


ENTER: dict[str, Callable[[Session, Runtime, list[Mapping[str, Any]]], int]] = {
    "items": _items,
    "checklists": _checklists,
    "officers": _officers,
    "entities": _entities,
    "sensors": _sensors,
    "accounts": _accounts,
}
