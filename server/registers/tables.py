"""Reading and writing tables as CSV, JSON, JSON lines and XLSX, row by row and within limits.

A row that cannot be read stands as a `Problem` in its place; a file that cannot be read at all raises one. An XLSX is
an archive: how much it says it unpacks to is looked at first, and its reader never unpacks more than it says.
"""

import csv
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import IO, Any, BinaryIO
from xml.etree.ElementTree import ParseError

from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.utils.exceptions import InvalidFileException

from server.errors import Problem
from server.registers.definition import BEIJING
from server.web.body import parse_json

CSV, JSON, JSONL = "text/csv", "application/json", "application/x-ndjson"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
FORMATS = {"csv": CSV, "json": JSON, "jsonl": JSONL, "xlsx": XLSX}
"""Media types by the name of the format."""
JOIN = "|"
"""Between the members of a list in one cell."""
MAX_LINE_CHARS = 64 * 1024
MAX_COLUMNS = 64
MAX_JSON_BYTES = 8 * 1024 * 1024
"""A JSON file is read as a whole; JSON lines have no such limit."""
MAX_XLSX_BYTES = 32 * 1024 * 1024
MAX_XLSX_UNPACKED_BYTES = 512 * 1024 * 1024
MAX_XLSX_PARTS = 1_000
MAX_XLSX_ROWS = 200_000
COPY_BYTES = 1024 * 1024

Row = Mapping[str, Any]


def read_rows(stream: BinaryIO | IO[bytes], media_type: str, needed: Sequence[str] = ()) -> Iterator[Row | Problem]:
    """Read the rows of a file: members by name, those that say nothing left out.

    Args:
        stream: the file.
        media_type: one of :data:`FORMATS`.
        needed: columns that a table must have.

    Raises:
        Problem: the file as a whole cannot be read, at once or when the fault is met.
    """
    reader = READERS.get(media_type)
    if reader is None:
        raise Problem("unsupported-media-type", detail=f"must be one of {', '.join(FORMATS.values())}")
    return reader(stream, needed)


def _read_csv(stream: BinaryIO | IO[bytes], needed: Sequence[str]) -> Iterator[Row | Problem]:
    """UTF-8, with or without a byte-order mark; the first line names the columns."""
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="strict", newline="")
    rows = csv.reader(_limited(text))
    try:
        names = next(rows, [])
        _check_columns(names, needed)
        for values in rows:
            if len(values) == len(names):
                yield {name: value.strip() for name, value in zip(names, values, strict=True) if value}
            elif values:
                yield Problem("invalid-field", field="row", detail="the row has not as many values as the header")
    except (UnicodeDecodeError, csv.Error) as error:
        raise Problem("bad-request", detail=f"not a CSV in UTF-8: {error}") from error


def _check_columns(names: Sequence[str | None], needed: Sequence[str]) -> None:
    if missing := [name for name in needed if name not in names]:
        raise Problem("invalid-field", field=missing[0], detail="the column is missing")
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise Problem("invalid-field", field=twice, detail="the column stands in the file twice")
    if len(names) > MAX_COLUMNS:
        raise Problem("limit-exceeded", field="columns", detail="too many columns", limit=MAX_COLUMNS)


def _limited(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if len(line) > MAX_LINE_CHARS:
            raise Problem("too-large", detail="a line is too long", limit=MAX_LINE_CHARS)
        yield line


def _read_jsonl(stream: BinaryIO | IO[bytes], _needed: Sequence[str]) -> Iterator[Row | Problem]:
    """One JSON object a line."""
    while line := stream.readline(MAX_LINE_CHARS):
        if not line.endswith(b"\n") and len(line) == MAX_LINE_CHARS:
            raise Problem("too-large", detail="a line is too long", limit=MAX_LINE_CHARS)
        if not line.strip():
            continue
        try:
            row = parse_json(line.strip())
        except Problem as problem:
            yield Problem("invalid-field", field="row", detail=f"not JSON: {problem.detail}"[:200])
            continue
        yield row if isinstance(row, dict) else Problem("invalid-field", field="row", detail="not an object")


def _read_json(stream: BinaryIO | IO[bytes], _needed: Sequence[str]) -> Iterator[Row | Problem]:
    """A list of objects."""
    data = stream.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise Problem("too-large", detail="send many rows as JSON lines", limit=MAX_JSON_BYTES)
    rows = parse_json(data)
    if not isinstance(rows, list):
        raise Problem("bad-request", detail="a list of objects is wanted")
    for row in rows:
        yield row if isinstance(row, dict) else Problem("invalid-field", field="row", detail="not an object")


def _read_xlsx(stream: BinaryIO | IO[bytes], needed: Sequence[str]) -> Iterator[Row | Problem]:
    """The first sheet; its first row names the columns. Formulas count by the value that was stored with them."""
    with tempfile.SpooledTemporaryFile(COPY_BYTES) as file:
        size = 0
        while block := stream.read(COPY_BYTES):
            size += len(block)
            if size > MAX_XLSX_BYTES:
                raise Problem("too-large", detail="send many rows as CSV", limit=MAX_XLSX_BYTES)
            file.write(block)
        file.seek(0)
        try:
            yield from _sheet_rows(file, needed)
        except (
            zipfile.BadZipFile,
            InvalidFileException,
            ParseError,
            KeyError,
            ValueError,
            TypeError,
            EOFError,
        ) as error:
            raise Problem("bad-request", detail=f"not an XLSX file: {error}"[:300]) from error


def _sheet_rows(file: Any, needed: Sequence[str]) -> Iterator[Row | Problem]:  # noqa: ANN401 - a spooled file
    _check_archive(file)
    book = load_workbook(file, read_only=True, data_only=True, keep_links=False)
    try:
        sheet = book.worksheets[0] if book.worksheets else None
        if sheet is None:
            raise Problem("bad-request", detail="the file has no sheet")
        rows = sheet.iter_rows(min_row=1, max_row=MAX_XLSX_ROWS + 2, max_col=MAX_COLUMNS + 1, values_only=True)
        names = [cell_text(value) for value in next(rows, ())]
        while names and not names[-1]:
            names.pop()
        _check_columns(names, needed)
        for number, values in enumerate(rows, start=1):
            if number > MAX_XLSX_ROWS:
                raise Problem("limit-exceeded", field="rows", detail="send many rows as CSV", limit=MAX_XLSX_ROWS)
            texts = [cell_text(value) for value in values]
            if any(texts[len(names) :]):
                yield Problem("invalid-field", field="row", detail="the row has more values than the header")
            elif any(texts):
                yield {name: text for name, text in zip(names, texts, strict=False) if name and text}
    finally:
        book.close()


def _check_archive(file: Any) -> None:  # noqa: ANN401 - a spooled file
    """Refuse an archive that unpacks to more than a table of this size needs, before any of it is unpacked."""
    with zipfile.ZipFile(file) as archive:
        parts = archive.infolist()
        if len(parts) > MAX_XLSX_PARTS:
            raise Problem("too-large", detail="the archive has too many parts", limit=MAX_XLSX_PARTS)
        if sum(part.file_size for part in parts) > MAX_XLSX_UNPACKED_BYTES:
            raise Problem("too-large", detail="the archive unpacks to too much", limit=MAX_XLSX_UNPACKED_BYTES)
        for part in parts:
            _refuse_document_type(archive, part)
    file.seek(0)


def _refuse_document_type(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> None:
    """No part of a spreadsheet declares a document type; one that does wants entities expanded."""
    with archive.open(part) as stream:
        if b"<!DOCTYPE" in stream.read(4096).replace(b"\0", b""):
            raise Problem("bad-request", detail="a part of the archive declares a document type")


def cell_text(value: Any) -> str:  # noqa: ANN401 - what a cell holds
    """Return a cell as the text that a CSV would hold; times of day without a zone are Beijing's."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.replace(tzinfo=BEIJING).astimezone(UTC).isoformat()
        case date():
            return value.isoformat()
    return str(value).strip()


READERS: dict[str, Callable[[BinaryIO | IO[bytes], Sequence[str]], Iterator[Row | Problem]]] = {
    CSV: _read_csv, JSON: _read_json, JSONL: _read_jsonl, XLSX: _read_xlsx,
}  # fmt: skip


def flat(value: Any) -> str:  # noqa: ANN401 - any value of a row
    """Return a value as the text of one cell."""
    if value is None:
        return ""
    if isinstance(value, list):
        return JOIN.join(str(one) for one in value)
    return value.isoformat() if isinstance(value, date) else str(value)


def write_rows(file: IO[bytes], media_type: str, columns: Sequence[str], rows: Iterable[Row]) -> int:
    """Write rows as a file that :func:`read_rows` reads; returns how many.

    Raises:
        Problem: `unsupported-media-type`.
    """
    if media_type == XLSX:
        return _write_xlsx(file, columns, rows)
    count = 0
    if media_type == CSV:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        table = csv.writer(text, lineterminator="\n")
        table.writerow(columns)
        for count, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
            table.writerow([flat(row.get(name)) for name in columns])
        text.detach()
        return count
    if media_type not in (JSON, JSONL):
        raise Problem("unsupported-media-type", detail=f"must be one of {', '.join(FORMATS.values())}")
    file.write(b"[\n" if media_type == JSON else b"")
    for count, row in enumerate(rows, start=1):
        between = b",\n" if media_type == JSON and count > 1 else b"\n" if count > 1 else b""
        kept = {name: row[name] for name in columns if row.get(name) not in (None, "", [])}
        file.write(between + json.dumps(kept, ensure_ascii=False, default=flat).encode())
    file.write(b"\n]\n" if media_type == JSON else b"\n" if count else b"")
    return count


def _write_xlsx(file: IO[bytes], columns: Sequence[str], rows: Iterable[Row]) -> int:
    book = Workbook(write_only=True)
    sheet = book.create_sheet("fieldproof")
    sheet.append(list(columns))
    count = 0
    for count, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the count
        cells = []
        for name in columns:
            cell = WriteOnlyCell(sheet, flat(row.get(name)))
            cell.data_type = "s"  # a text that begins like a formula stays a text
            cells.append(cell)
        sheet.append(cells)
    book.save(file)
    return count
