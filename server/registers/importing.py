"""Importing a register from a table: read as a stream, each row checked, every refused row explained.

A row is known by the register's key. A new key enters a record; a known one changes the fields that the row gives and
that differ. A refused row never stops the others. Rows are written in chunks, one transaction each, so that a large
file never holds the database; sending it again changes nothing that was taken already.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any

from sqlalchemy.orm import Session

from server.errors import Problem
from server.registers.definition import Register
from server.registers.report import ImportReport
from server.registers.rows import Values, check_scope, load_row, unknown_reference
from server.registers.service import Keeper, by_key, change, enter, may_change, place_values
from server.registers.tables import Row
from server.runtime import Runtime
from server.web.principal import Principal

CHUNK_ROWS = 500
"""Rows in one transaction."""
MAX_ROWS = 2_000_000
"""Rows of one file."""

OpenSession = Callable[[], AbstractContextManager[Session]]
Numbered = list[tuple[int, Row | Problem]]


def numbered_chunks(rows: Iterator[Row | Problem], report: ImportReport, size: int) -> Iterator[Numbered]:
    """Return the rows in chunks with their numbers, counting them.

    Raises:
        Problem: `limit-exceeded`; what came before stays.
    """
    while chunk := list(islice(rows, size)):
        if report.rows + len(chunk) > MAX_ROWS:
            raise Problem("limit-exceeded", field="rows", detail="too many rows", limit=MAX_ROWS)
        yield list(enumerate(chunk, start=report.rows + 1))
        report.rows += len(chunk)


def import_rows(
    rt: Runtime, opened: OpenSession, keeper: Keeper, rows: Iterator[Row | Problem], *, caller: Principal, reason: str,
    dry_run: bool = False,
) -> ImportReport:  # fmt: skip
    """Import rows in chunks.

    Args:
        rt: the runtime.
        opened: opens the session of a chunk.
        keeper: the register.
        rows: from a reader; a `Problem` stands for a row that could not be read.
        caller: who imports; rows outside the caller's scope are refused.
        reason: why, as it stands in the trail.
        dry_run: check and tell, and write nothing.

    Raises:
        Problem: `limit-exceeded` past MAX_ROWS, or what the reader says of the whole file; earlier chunks stay.
    """
    report, seen = ImportReport(dry_run), set[str]()
    for chunk in numbered_chunks(rows, report, CHUNK_ROWS):
        with opened() as session:
            good = _good_rows(session, keeper.register, chunk, report, seen)
            _take(session, rt, keeper, good, report, caller=caller, reason=reason)
    report.refusals.sort(key=lambda refusal: refusal.row)
    return report


def _good_rows(
    session: Session, register: Register, chunk: Numbered, report: ImportReport, seen: set[str]
) -> list[tuple[int, Values, frozenset[str]]]:
    """Return the rows that can be read: number, values, and which fields they give."""
    good = []
    keys = {str(row.get(register.key)).strip() for _, row in chunk if not isinstance(row, Problem)}
    known = by_key(session, register, sorted(keys)) if register.coded else {}
    for number, row in chunk:
        try:
            if isinstance(row, Problem):
                raise row
            values = load_row(register, row, known.get(str(row.get(register.key)).strip()))
            if values[register.key] in seen:
                raise Problem("conflict", field=register.key, detail=f"{values[register.key]} stands in the file twice")
            seen.add(values[register.key])
        except Problem as problem:
            report.refuse(number, problem.field or "row", problem.detail)
            continue
        good.append((number, values, frozenset(name for name, value in row.items() if value not in (None, "", []))))
    return good


def _take(
    session: Session, rt: Runtime, keeper: Keeper, good: list[tuple[int, Values, frozenset[str]]],
    report: ImportReport, *, caller: Principal, reason: str,
) -> None:  # fmt: skip
    register, author = keeper.register, caller.subject
    for _, values, _ in good:
        if not register.follows_entity:
            values["department"] = values.get("department") or caller.department
    wrong = place_values(session, keeper, [values for _, values, _ in good])
    known = by_key(session, register, [values[register.key] for _, values, _ in good])
    fresh: list[Values] = []
    for place, (number, values, given) in enumerate(good):
        try:
            if place in wrong:
                raise unknown_reference(register, *wrong[place])
            check_scope(caller, values)
            row = known.get(values[register.key])
            if row is None:
                fresh.append(values)
                continue
            may_change(caller, row)
            _refuse_fixed(register, row, values, given)
            changes = {name: values[name] for name in given if name in values and name not in register.fixed}
            if not report.dry_run:
                changed = change(session, rt, keeper, row, changes, author=author, reason=reason)
            else:
                changed = any(getattr(row, name) != value for name, value in changes.items())
            report.changed += changed
            report.unchanged += not changed
        except Problem as problem:
            report.refuse(number, problem.field or "row", problem.detail)
    if not report.dry_run:
        enter(session, rt, keeper, fresh, author=author, reason=reason)
    report.entered += len(fresh)


def _refuse_fixed(register: Register, row: Any, values: Mapping[str, Any], given: frozenset[str]) -> None:  # noqa: ANN401 - a row of the register
    for name in sorted(register.fixed & given):
        if getattr(row, name) != values[name]:
            raise Problem("conflict", field=name, detail=f"stays as it was entered: {getattr(row, name)}")
