"""Importing entities from CSV or JSON lines: read as a stream, each row checked, every refused row explained.

A row is known by its unified social credit code. A new code enters an entity; a known one changes names, addresses,
type and sector where they differ. A refused row never stops the others.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from schemas.codes import code_table
from schemas.divisions import check_known_region
from schemas.identifiers import check_uscc
from schemas.kinds.base import MAX_LABEL_CHARS, UNSTORABLE
from server.entities.models import Entity
from server.entities.service import add_entities, change_entity, entities_by_uscc
from server.errors import Problem
from server.runtime import Runtime

CHUNK_ROWS = 2_000
"""Rows in one transaction."""
MAX_ROWS = 2_000_000
MAX_LINE_BYTES = 64 * 1024
MAX_LISTED = 1_000
"""Refused rows that a report lists one by one; all are counted, by field."""
COLUMNS = ("name", "uscc", "region", "registered_address", "lat", "lon", "datum")
OPTIONAL = {
    "operating_address": "", "nature": "2", "entity_type": "01", "sector": "", "risk": "B", "credit": "B",
}  # fmt: skip
CODED = {
    "nature": "counterpart_nature", "entity_type": "entity_type", "risk": "risk_grade", "credit": "credit_grade",
    "sector": "sector",
}  # fmt: skip
DATUMS = ("WGS-84", "CGCS2000")

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Refusal:
    """A row that was not taken: its number (the first row of data is 1), the field and why."""

    row: int
    field: str
    reason: str


@dataclass
class ImportReport:
    """What became of the rows."""

    rows: int = 0
    entered: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    by_field: dict[str, int] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, row: int, name: str, reason: str) -> None:
        """Count a refused row, and list it while there is room."""
        self.refused += 1
        self.by_field[name] = self.by_field.get(name, 0) + 1
        if len(self.refusals) < MAX_LISTED:
            self.refusals.append(Refusal(row, name, reason))


def read_csv(stream: BinaryIO) -> Iterator[Row | Problem]:
    """Read rows of a CSV with a header line (UTF-8, with or without a byte-order mark).

    Raises:
        Problem: `invalid-field` naming a column that is missing.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="strict", newline="")
    rows = csv.DictReader(_limited(text))
    try:
        names = rows.fieldnames or []
        if missing := [name for name in COLUMNS if name not in names]:
            raise Problem("invalid-field", field=missing[0], detail="the column is missing")
        for row in rows:
            if None in row or None in row.values():
                yield Problem("invalid-field", field="row", detail="the row has not as many values as the header")
            else:
                yield {name: value.strip() for name, value in row.items() if value}
    except (UnicodeDecodeError, csv.Error) as error:
        raise Problem("bad-request", detail=f"not a CSV in UTF-8: {error}") from error


def _limited(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if len(line) > MAX_LINE_BYTES:
            raise Problem("too-large", detail="a line is too long", limit=MAX_LINE_BYTES)
        yield line


def read_jsonl(stream: BinaryIO) -> Iterator[Row | Problem]:
    """Read one JSON object a line."""
    while line := stream.readline(MAX_LINE_BYTES):
        if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
            raise Problem("too-large", detail="a line is too long", limit=MAX_LINE_BYTES)
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Problem("invalid-field", field="row", detail=f"not JSON: {error}"[:200])
            continue
        yield row if isinstance(row, dict) else Problem("invalid-field", field="row", detail="not an object")


READERS: dict[str, Callable[[BinaryIO], Iterator[Row | Problem]]] = {"csv": read_csv, "jsonl": read_jsonl}
WriteSession = Callable[[], AbstractContextManager[Session]]


def import_entities(
    rt: Runtime, write: WriteSession, rows: Iterator[Row | Problem], *, author: str, region: str = ""
) -> ImportReport:
    """Import rows in chunks.

    Args:
        rt: the runtime.
        write: opens the session of a chunk: one transaction each, or always the caller's own.
        rows: from a reader; a `Problem` stands for a row that could not be read.
        author: who imports.
        region: prefix within which the importer may enter entities.

    Raises:
        Problem: `limit-exceeded` past MAX_ROWS, or what the reader says of the whole file; earlier chunks stay.
    """
    report = ImportReport()
    while chunk := list(islice(rows, CHUNK_ROWS)):
        if report.rows + len(chunk) > MAX_ROWS:
            raise Problem("limit-exceeded", field="rows", detail="too many rows", limit=MAX_ROWS)
        good: dict[str, tuple[int, dict[str, Any]]] = {}
        for number, row in enumerate(chunk, start=report.rows + 1):
            problem = row if isinstance(row, Problem) else None
            values = {} if isinstance(row, Problem) else _filled(row)
            problem = problem or check_row(values, region)
            if problem is None and values["uscc"] in good:
                problem = Problem("conflict", field="uscc", detail="the code stands in the file twice")
            if problem is not None:
                report.refuse(number, problem.field or "row", problem.detail)
            else:
                good[values["uscc"]] = (number, values)
        report.rows += len(chunk)
        with write() as session:
            _enter(session, rt, good, report, author)
    return report


def _filled(row: Row) -> dict[str, Any]:
    values = {**OPTIONAL, **{name: row[name] for name in (*COLUMNS, *OPTIONAL) if row.get(name) not in (None, "")}}
    values["operating_address"] = values["operating_address"] or values.get("registered_address", "")
    return values


def check_row(values: dict[str, Any], region: str) -> Problem | None:
    """Return what is wrong with a row, or None; numbers given as text become numbers."""
    for name in COLUMNS:
        if name not in values:
            return Problem("invalid-field", field=name, detail="is missing")
    for name, value in values.items():
        if name in ("lat", "lon"):
            continue
        if not isinstance(value, str) or len(value) > MAX_LABEL_CHARS or UNSTORABLE.search(value):
            return Problem("invalid-field", field=name, detail=f"is not a text of up to {MAX_LABEL_CHARS} characters")
    if reason := check_uscc(values["uscc"]):
        return Problem("invalid-field", field="uscc", detail=reason)
    if reason := check_known_region(values["region"]):
        return Problem("invalid-field", field="region", detail=reason)
    if not values["region"].startswith(region):
        return Problem("invalid-field", field="region", detail="outside your region")
    for name, table in CODED.items():
        if (values[name] or name != "sector") and code_table(table).find(values[name]) is None:
            return Problem("invalid-field", field=name, detail=f"not in the code table {table}")
    return _check_position(values)


def _check_position(values: dict[str, Any]) -> Problem | None:
    if values["datum"] not in DATUMS:
        return Problem("invalid-field", field="datum", detail=f"must be one of {', '.join(DATUMS)}")
    for name, most in (("lat", 90.0), ("lon", 180.0)):
        try:
            number = float(values[name])
        except (TypeError, ValueError):
            return Problem("invalid-field", field=name, detail="is not a number")
        if not -most <= number <= most:
            return Problem("invalid-field", field=name, detail="is out of range", limit=most)
        values[name] = number
    return None


def _enter(
    session: Session, rt: Runtime, good: Mapping[str, tuple[int, dict[str, Any]]], report: ImportReport, author: str
) -> None:
    known = entities_by_uscc(session, list(good))
    fresh = [Entity(id=rt.new_id(), **values) for code, (_, values) in good.items() if code not in known]
    add_entities(session, rt, fresh, author=author)
    report.entered += len(fresh)
    for code, entity in known.items():
        number, values = good[code]
        try:
            changed = change_entity(session, rt, entity, values, author=author, reason="import")
        except Problem as problem:
            report.refuse(number, problem.field or "uscc", problem.detail)
            continue
        report.changed += changed
        report.unchanged += not changed
