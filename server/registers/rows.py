"""What a row of a register may say: checking it by the register's schema, its references and the caller's scope."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from marshmallow import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import of_their_days
from server.db.engine import IN_LIST_LIMIT
from server.errors import Problem
from server.registers.definition import BEIJING, Register, RegisterSchema
from server.registers.tables import JOIN, Row
from server.web.principal import Principal, covers

Values = dict[str, Any]
MAX_QUOTED_CHARS = 80


def load_row(register: Register, row: Row, known: Any = None) -> Values:  # noqa: ANN401 - a row of the register
    """Return the values of a row of a table, checked.

    Where it is of a `known` record, the codes of that record's day count as well: an old record that is exported and
    imported again keeps a code that has left its table since.

    Raises:
        Problem: `invalid-field` naming the first field that is wrong, and its value.
    """
    given = {name: value for name, value in row.items() if value not in (None, "", [])}
    for name in register.listed & given.keys():
        if isinstance(given[name], str):
            given[name] = [part.strip() for part in given[name].split(JOIN) if part.strip()]
    try:
        return _load(register.loader, given)
    except Problem as problem:
        day = day_of(register, known) if known is not None else None
        if day is None or problem.field not in register.coded:
            raise
        return _load(of_their_days(register.schema(), [day]), given)


def day_of(register: Register, row: Any) -> date | None:  # noqa: ANN401 - a row of the register
    """Return the day of a record, by which its codes are understood, or None."""
    at = getattr(row, register.day, None)
    return at.astimezone(BEIJING).date() if isinstance(at, datetime) else at


def _load(loader: RegisterSchema, row: Row) -> Values:
    try:
        values: Values = loader.load(dict(row))
    except ValidationError as error:
        name, messages = next(iter(error.messages_dict.items()))
        while isinstance(messages, Mapping):
            messages = next(iter(messages.values()))
        detail = " ".join(str(one) for one in messages) if isinstance(messages, list) else str(messages)
        said = row.get(name)
        if said not in (None, "", []) and not isinstance(said, Mapping):
            detail = f"{detail}（{str(said)[:MAX_QUOTED_CHARS]}）"
        raise Problem("invalid-field", field=str(name), detail=detail) from error
    return values


def plain(value: Any) -> Any:  # noqa: ANN401 - any column
    """Return a value as JSON has it."""
    return value.isoformat() if isinstance(value, date) else value


def check_scope(caller: Principal, values: Mapping[str, Any]) -> None:
    """Let people enter records of their own region and department only.

    Raises:
        Problem: `invalid-field` naming region or department.
    """
    region, department = str(values.get("region", "")), str(values.get("department", ""))
    if not covers(caller, region, caller.department):
        raise Problem("invalid-field", field="region", detail=f"{region} lies outside your region")
    if not covers(caller, region, department):
        raise Problem("invalid-field", field="department", detail=f"{department or '-'} is not your department")


def missing_references(
    session: Session, register: Register, rows: Sequence[Mapping[str, Any]]
) -> dict[int, tuple[str, str]]:
    """Return by number of the row the first field whose value refers to nothing, and that value."""
    wrong: dict[int, tuple[str, str]] = {}
    for name, reference in register.references.items():
        wanted = [set(_members(row.get(name))) for row in rows]
        known = _known(session, reference.column, set().union(*wanted) if wanted else set())
        for number, values in enumerate(wanted):
            if number not in wrong and (unknown := sorted(values - known)):
                wrong[number] = (name, unknown[0])
    return wrong


def unknown_reference(register: Register, name: str, value: str) -> Problem:
    """Return the refusal of a reference by name and value."""
    return Problem("invalid-field", field=name, detail=f"no {register.references[name].to} {value} is known")


def _members(value: Any) -> Iterable[str]:  # noqa: ANN401 - a key or a list of keys
    if value in (None, ""):
        return ()
    return value if isinstance(value, list) else (value,)


def _known(session: Session, column: Any, values: set[str]) -> set[str]:  # noqa: ANN401 - a mapped column
    found: set[str] = set()
    ordered = sorted(values)
    for start in range(0, len(ordered), IN_LIST_LIMIT):
        query = select(column).where(column.in_(ordered[start : start + IN_LIST_LIMIT]))
        found |= set(session.execute(query).scalars())
    return found
