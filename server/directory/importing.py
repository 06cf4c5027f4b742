"""Importing and exporting the directory as JSON, CSV or XLSX; what is exported and imported again changes nothing.

Every code of a file becomes a draft of a new version, is unchanged, or is refused with the reason; one refused row
never stops the others. In a table an item is one row, and a checklist is one row for each line, one after another.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from sqlalchemy.orm import Session

from server.directory.contents import ITEMS, check_content
from server.directory.lifecycle import PUBLISHED, WITHDRAWN
from server.directory.models import DirectoryVersion
from server.directory.versions import Draft, check_draft, check_register, enter_draft, newest
from server.errors import Problem
from server.registers.tables import CSV, JOIN, JSON, XLSX, read_rows, write_rows
from server.runtime import Runtime
from server.web.body import parse_json
from server.web.principal import Principal

MAX_ROWS = 20_000
"""Rows in one file."""
ITEM_COLUMNS = ("code", "name", "item_type", "basis", "department", "level", "sector")
HEAD_COLUMNS = ("code", "name", "item")
LINE_COLUMNS = ("number", "text", "method", "basis", "penalty_basis", "outcomes", "asked_when", "evidence", "knowledge")
LISTS = ("outcomes", "evidence", "knowledge")
BESIDE = "旁边的行无法读取 / a row beside it cannot be read"
MAX_COLUMN_CHARS = 64
OPTIONAL = {"knowledge"}
"""Columns that a file may lack."""
TableRow = dict[str, str] | Problem


@dataclass(frozen=True)
class Entry:
    """A code of the file: the number of its first row (the first row of data is 1), its content, and why not."""

    row: int
    code: str
    content: dict[str, Any]
    problem: Problem | None = None
    """Set for what cannot be read."""


@dataclass(frozen=True)
class RowReport:
    """What becomes of a code: `drafted` as a version, `unchanged`, or `refused` for a field and reason."""

    row: int
    code: str
    outcome: str
    version: int | None = None
    field: str = ""
    reason: str = ""


@dataclass
class DirectoryImport:
    """What becomes of a file. A dry run says the same and changes nothing."""

    dry_run: bool
    drafted: int = 0
    unchanged: int = 0
    refused: int = 0
    rows: list[RowReport] = field(default_factory=list)

    def add(self, report: RowReport) -> None:
        """Count and list a code."""
        setattr(self, report.outcome, getattr(self, report.outcome) + 1)
        self.rows.append(report)


def import_directory(
    session: Session, rt: Runtime, register: str, data: bytes, media_type: str, *, caller: Principal, reason: str,
    dry_run: bool,
) -> DirectoryImport:  # fmt: skip
    """Import a file as drafts, which await review like all others.

    Raises:
        Problem: the file as a whole cannot be read; nothing is entered then.
    """
    check_register(register)
    entries = read_entries(register, data, media_type)
    report, seen = DirectoryImport(dry_run), set()
    named: dict[str, str] = {}

    for entry in entries:
        try:
            if entry.problem is not None:
                raise entry.problem
            if entry.code in seen:
                raise Problem("conflict", field="code", detail="编码重复 / the code stands in the file twice")
            seen.add(entry.code)
            content = check_content(register, entry.code, entry.content)
            if register == ITEMS and (other := named.setdefault(content["name"], entry.code)) != entry.code:
                raise Problem("conflict", field="name", detail=f"the item {other} has this name")
            draft = Draft(register, entry.code, content, 0, caller.subject, reason)
            report.add(_take(session, rt, entry.row, draft, caller=caller, dry_run=dry_run))
        except Problem as problem:
            row = entry.row + _line_of(problem.field or "") if media_type != JSON else entry.row
            where, why = problem.field or "row", problem.detail
            report.add(RowReport(row, entry.code, "refused", field=where, reason=why))
    return report


def _take(session: Session, rt: Runtime, row: int, draft: Draft, *, caller: Principal, dry_run: bool) -> RowReport:
    last = newest(session, draft.register, draft.code)
    if last is not None and last.state != WITHDRAWN and last.content == draft.content:
        return RowReport(row, draft.code, "unchanged", last.version)
    draft = replace(draft, base=last.version if last else 0)
    if dry_run:
        check_draft(session, caller, draft)
    else:
        enter_draft(session, rt, draft, caller=caller)
    return RowReport(row, draft.code, "drafted", draft.base + 1)


def _line_of(path: str) -> int:
    """How many rows below a checklist's first row a fault stands."""
    parts = path.split(".")
    return int(parts[1]) if len(parts) > 1 and parts[0] == "sub_items" and parts[1].isdigit() else 0


def read_entries(register: str, data: bytes, media_type: str) -> list[Entry]:
    """Read a file.

    Raises:
        Problem: `unsupported-media-type`, `malformed-json`, `bad-request` or `limit-exceeded`.
    """
    if media_type == JSON:
        rows = parse_json(data)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Problem("bad-request", detail="a list of objects is wanted")
        entries = [
            Entry(number, str(row.get("code", "")), {name: value for name, value in row.items() if name != "code"})
            for number, row in enumerate(rows, start=1)
        ]
    elif media_type in (CSV, XLSX):
        rows = _table_rows(register, data, media_type)
        entries = list(_items(rows) if register == ITEMS else _checklists(rows))
    else:
        raise Problem("unsupported-media-type", detail=f"must be one of {JSON}, {CSV}, {XLSX}")
    if len(entries) > MAX_ROWS:
        raise Problem("limit-exceeded", field="rows", detail="too many rows", limit=MAX_ROWS)
    return entries


def _columns(register: str) -> tuple[str, ...]:
    return ITEM_COLUMNS if register == ITEMS else (*HEAD_COLUMNS, *LINE_COLUMNS)


def _table_rows(register: str, data: bytes, media_type: str) -> list[TableRow]:
    """The rows of a table with all its columns; a `Problem` stands for a row that cannot be read."""
    columns = _columns(register)
    rows: list[TableRow] = []
    for row in read_rows(io.BytesIO(data), media_type, [name for name in columns if name not in OPTIONAL]):
        unknown = [] if isinstance(row, Problem) else sorted(row.keys() - set(columns))
        if isinstance(row, Problem):
            rows.append(row)
        elif unknown:
            rows.append(Problem("invalid-field", field=unknown[0][:MAX_COLUMN_CHARS], detail="there is no such column"))
        else:
            rows.append({name: str(row.get(name, "")) for name in columns})
        if len(rows) > MAX_ROWS:
            raise Problem("limit-exceeded", field="rows", detail="too many rows", limit=MAX_ROWS)
    return rows


def _items(rows: Iterable[TableRow]) -> Iterator[Entry]:
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Problem):
            yield Entry(number, "", {}, row)
        else:
            yield Entry(number, row["code"], {name: row[name] for name in ITEM_COLUMNS[1:]})


def _checklists(rows: Iterable[TableRow]) -> Iterator[Entry]:
    """Rows with the same head, one after another, are one checklist; one beside a row that cannot be read is not
    taken, since that may be one of its lines.
    """
    grouped = groupby(enumerate(rows, start=1), key=lambda numbered: _head(numbered[1]))
    groups = [(head, list(lines)) for head, lines in grouped]
    for place, (head, lines) in enumerate(groups):
        first = lines[0][0]
        if head is None:
            yield from (Entry(number, "", {}, bad) for number, bad in lines if isinstance(bad, Problem))
            continue
        beside = (groups[other] for other in (place - 1, place + 1) if 0 <= other < len(groups))
        problem = (
            Problem("invalid-field", field="row", detail=BESIDE) if any(one is None for one, _ in beside) else None
        )
        code, name, item = head
        whole = [_line(row) for _, row in lines if not isinstance(row, Problem)]
        yield Entry(first, code, {"name": name, "item": item, "sub_items": whole}, problem)


def _head(row: TableRow) -> tuple[str, ...] | None:
    return None if isinstance(row, Problem) else tuple(row[name] for name in HEAD_COLUMNS)


def _line(row: Mapping[str, str]) -> dict[str, Any]:
    line: dict[str, Any] = {name: row[name] for name in LINE_COLUMNS}
    for name in LISTS:
        line[name] = [part.strip() for part in row[name].split(JOIN) if part.strip()]
    number, _, outcome = row["asked_when"].rpartition("=")
    line["asked_when"] = {"number": number, "outcome": outcome} if row["asked_when"].strip() else None
    return line


def export_directory(register: str, versions: Iterable[DirectoryVersion], media_type: str) -> bytes:
    """Return versions as a file, in the order given.

    Raises:
        Problem: `unsupported-media-type`.
    """
    rows = [{"code": one.code, **_ordered(register, one.content)} for one in versions if one.state == PUBLISHED]
    if media_type == JSON:
        return (json.dumps(rows, ensure_ascii=False, indent=2) + "\n").encode()
    columns = _columns(register)
    if media_type == XLSX:
        file = io.BytesIO()
        write_rows(file, XLSX, columns, rows if register == ITEMS else _lines(rows))
        return file.getvalue()
    if media_type != CSV:
        raise Problem("unsupported-media-type", detail=f"must be one of {JSON}, {CSV}, {XLSX}")
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows if register == ITEMS else _lines(rows))
    return out.getvalue().encode()


def _ordered(register: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its members in one order: databases keep none."""
    if register == ITEMS:
        return {name: content[name] for name in ITEM_COLUMNS if name in content}
    lines = [{name: line[name] for name in LINE_COLUMNS if name in line} for line in content["sub_items"]]
    for line in lines:
        if "asked_when" in line:
            line["asked_when"] = {name: line["asked_when"][name] for name in ("number", "outcome")}
    return {"name": content["name"], "item": content["item"], "sub_items": lines}


def _lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        for line in row["sub_items"]:
            flat = {name: row[name] for name in HEAD_COLUMNS} | line
            for name in LISTS:
                flat[name] = JOIN.join(line.get(name, ()))
            condition = line.get("asked_when")
            flat["asked_when"] = f"{condition['number']}={condition['outcome']}" if condition else ""
            yield flat
