"""Importing entities from CSV, JSON lines, JSON or XLSX: each row checked, every refused row explained.

A row is known by its unified social credit code. A new code enters an entity; a known one changes what the row gives
and what differs: names, addresses, position, type, sector, region and grades. A refused row never stops the others.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from schemas.codes import code_table
from schemas.divisions import check_known_region
from schemas.identifiers import check_uscc
from schemas.kinds.base import MAX_LABEL_CHARS, UNSTORABLE
from server.entities.service import CHANGEABLE, DEFAULTS, change_entity, enter_rows, entities_by_uscc
from server.errors import Problem
from server.registers.importing import Numbered, numbered_chunks
from server.registers.report import ImportReport
from server.registers.tables import Row
from server.runtime import Runtime

CHUNK_ROWS = 5_000
"""Rows in one transaction."""
WINDOW_ROWS = 50_000
"""Rows that are read and ordered before any is written, see :func:`by_place`."""
COLUMNS = ("name", "uscc", "region", "registered_address", "lat", "lon", "datum")
OPTIONAL = {
    "operating_address": "", "nature": "2", "entity_type": "01", "sector": "", "risk": "B", "credit": "B",
}  # fmt: skip
CODED = {
    "nature": "counterpart_nature", "entity_type": "entity_type", "risk": "risk_grade", "credit": "credit_grade",
    "sector": "sector",
}  # fmt: skip
CODES = {
    name: frozenset(code_table(table).current.entries) | ({""} if name == "sector" else frozenset())
    for name, table in CODED.items()
}
"""The codes that each coded column may hold; an entity need not be sorted into a sector."""
DATUMS = ("WGS-84", "CGCS2000")

TEXTS = (*(name for name in (*COLUMNS, *OPTIONAL) if name not in ("lat", "lon", "sector")), "sector")
"""Columns that hold a text; the last one alone may be empty."""
EXPORTED = (*COLUMNS, *OPTIONAL)
"""Columns of an export, which imports again unchanged."""
One = TypeVar("One")
WriteSession = Callable[[], AbstractContextManager[Session]]


def import_entities(
    rt: Runtime, write: WriteSession, rows: Iterator[Row | Problem], *, author: str, region: str = "",
    reason: str = "import", dry_run: bool = False,
) -> ImportReport:  # fmt: skip
    """Import rows in chunks.

    Args:
        rt: the runtime.
        write: opens the session of a chunk: one transaction each, or always the caller's own.
        rows: from a reader; a `Problem` stands for a row that could not be read.
        author: who imports.
        region: prefix within which the importer may enter entities.
        reason: why, as it stands in the trail.
        dry_run: check and tell, and write nothing.

    Raises:
        Problem: `limit-exceeded` for too many rows, or what the reader says of the whole file; earlier chunks stay.
    """
    report, seen = ImportReport(dry_run), set[str]()
    windows = numbered_chunks(rows, report, WINDOW_ROWS)
    checked = (list(_good_rows(window, report, seen, region)) for window in windows)
    for chunk in by_place(checked, key=lambda one: (one.values["region"], one.code)):
        with write() as session:
            _enter(session, rt, {one.code: one for one in chunk}, report, author=author, region=region, reason=reason)
    report.refusals.sort(key=lambda refusal: refusal.row)
    return report


def by_place(parts: Iterable[list[One]], *, key: Callable[[One], tuple[str, str]]) -> Iterator[list[One]]:
    """Gather rows into windows, order each by place and code, and return it in chunks of one transaction each.

    Neighbours in the indexes are then written together. In the order of a file each transaction would write most pages
    of most indexes anew: 30 GB for a million rows.
    """
    window: list[One] = []
    for part in chain(parts, [None]):
        window += part or []
        if part is None or len(window) >= WINDOW_ROWS:
            window.sort(key=key)
            yield from (window[start : start + CHUNK_ROWS] for start in range(0, len(window), CHUNK_ROWS))
            window = []


@dataclass(frozen=True, slots=True)
class GoodRow:
    """A row that passed its checks: its number, its values, and what it gives."""

    number: int
    values: dict[str, Any]
    row: Row

    @property
    def code(self) -> str:
        """Its unified social credit code."""
        return str(self.values["uscc"])


def _good_rows(window: Numbered, report: ImportReport, seen: set[str], region: str) -> Iterator[GoodRow]:
    for number, row in window:
        try:
            if isinstance(row, Problem):
                raise row
            values = _filled(row)
            if problem := check_row(values, region):
                raise problem
            if values["uscc"] in seen:
                raise Problem("conflict", field="uscc", detail="the code stands in the file twice")
        except Problem as problem:
            report.refuse(number, problem.field or "row", problem.detail)
            continue
        seen.add(values["uscc"])
        yield GoodRow(number, values, row)


def _filled(row: Row) -> dict[str, Any]:
    values = {**OPTIONAL, **{name: row[name] for name in (*COLUMNS, *OPTIONAL) if row.get(name) not in (None, "")}}
    values["operating_address"] = values["operating_address"] or values.get("registered_address", "")
    return values


def check_row(values: dict[str, Any], region: str) -> Problem | None:
    """Return what is wrong with a row, or None; numbers given as text become numbers."""
    if problem := _check_texts(values):
        return problem
    if reason := check_uscc(values["uscc"]):
        return Problem("invalid-field", field="uscc", detail=reason)
    if reason := check_known_region(values["region"]):
        return Problem("invalid-field", field="region", detail=reason)
    if not values["region"].startswith(region):
        return Problem("invalid-field", field="region", detail="outside your region")
    for name, codes in CODES.items():
        if values[name] not in codes:
            return Problem("invalid-field", field=name, detail=f"not in the code table {CODED[name]}")
    return _check_position(values)


def _check_texts(values: dict[str, Any]) -> Problem | None:
    """Look at all texts at once; only where something is wrong, at each."""
    try:
        texts = [values[name] for name in TEXTS]
        bounded = len(max(texts, key=len)) <= MAX_LABEL_CHARS and not UNSTORABLE.search("".join(texts))
        if bounded and all(map(str.strip, texts[:-1])):
            return None
    except (KeyError, TypeError):
        pass
    for name in COLUMNS:
        if name not in values:
            return Problem("invalid-field", field=name, detail="is missing")
    for name in TEXTS:
        value = values[name]
        blank = isinstance(value, str) and not value.strip() and name != "sector"
        if blank or not isinstance(value, str) or len(value) > MAX_LABEL_CHARS or UNSTORABLE.search(value):
            return Problem("invalid-field", field=name, detail=f"is not a text of up to {MAX_LABEL_CHARS} characters")
    return None


def _check_position(values: dict[str, Any]) -> Problem | None:
    if values["datum"] not in DATUMS:
        return Problem("invalid-field", field="datum", detail=f"must be one of {', '.join(DATUMS)}")
    for name, most in (("lat", 90.0), ("lon", 180.0)):
        try:
            number = math.nan if isinstance(values[name], bool) else float(values[name])
        except (TypeError, ValueError, OverflowError):
            return Problem("invalid-field", field=name, detail="is not a number")
        if math.isnan(number) or abs(number) > most:
            return Problem("invalid-field", field=name, detail="is out of range", limit=most)
        values[name] = number
    return None


def _enter(
    session: Session, rt: Runtime, good: Mapping[str, GoodRow], report: ImportReport, *, author: str, region: str,
    reason: str,
) -> None:  # fmt: skip
    known = entities_by_uscc(session, list(good))
    fresh = [{**DEFAULTS, "id": rt.new_id(), **one.values} for code, one in good.items() if code not in known]
    if fresh and not report.dry_run:
        enter_rows(session, rt, fresh, author=author, reason=reason)
    report.entered += len(fresh)
    for code, entity in known.items():
        given = good[code]
        changes = {name: given.values[name] for name in CHANGEABLE if given.row.get(name) not in (None, "")}
        try:
            if not entity.region.startswith(region):
                raise Problem("invalid-field", field="uscc", detail="an entity outside your region")
            if report.dry_run:
                changed = any(getattr(entity, name) != value for name, value in changes.items())
            else:
                changed = change_entity(session, rt, entity, changes, author=author, reason=reason)
        except Problem as problem:
            report.refuse(given.number, problem.field or "uscc", problem.detail)
            continue
        report.changed += changed
        report.unchanged += not changed
