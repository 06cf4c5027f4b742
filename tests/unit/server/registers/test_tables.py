"""Tables of every format: what is written is read again; what is too much or no table is refused."""

import io
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from openpyxl import Workbook

from server.errors import Problem
from server.registers import tables
from server.registers.tables import CSV, FORMATS, JSON, XLSX, read_rows, write_rows

COLUMNS = ("number", "name", "scope", "note")
ROWS: list[dict[str, Any]] = [
    {"number": "1", "name": '样例"店", 一', "scope": ["market", "drugs"], "note": "=1+1"},
    {"number": "420106000000000017", "name": "两\n行", "scope": [], "note": None},
]


@pytest.mark.parametrize("media_type", FORMATS.values(), ids=FORMATS)
def test_what_is_written_is_read_again(media_type: str) -> None:
    """Quotes, line breaks, long numbers and what looks like a formula come back as the texts they were."""
    file = io.BytesIO()
    assert write_rows(file, media_type, COLUMNS, ROWS) == 2
    file.seek(0)
    read = list(read_rows(file, media_type, ("number",)))
    for row, again in zip(ROWS, read, strict=True):
        assert not isinstance(again, Problem)
        texts = {name: tables.flat(value) for name, value in again.items()}
        assert texts == {name: text for name in COLUMNS if (text := tables.flat(row[name]))}


def sheet(*rows: tuple[object, ...]) -> bytes:
    """An XLSX with these rows."""
    book, file = Workbook(), io.BytesIO()
    for row in rows:
        book.active.append(row)
    book.save(file)
    return file.getvalue()


def read(data: bytes, media_type: str = XLSX, needed: tuple[str, ...] = ()) -> list[tables.Row | Problem]:
    """All rows of a file."""
    return list(read_rows(io.BytesIO(data), media_type, needed))


def test_cells_become_the_texts_of_a_csv() -> None:
    """Whole numbers lose their point, days their midnight; a time without a zone is Beijing's; empty rows are none."""
    at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC).replace(tzinfo=None)
    day = datetime(2026, 3, 2, tzinfo=UTC).replace(tzinfo=None)
    rows = read(sheet(("a", "b", "c", "d"), (1.0, day, at, True), (None, None), (2, "", " x ", 1.5)))
    assert rows == [
        {"a": "1", "b": "2026-03-02", "c": "2026-03-02T01:30:00+00:00", "d": "true"}, {"a": "2", "c": "x", "d": "1.5"},
    ]  # fmt: skip


def test_a_row_that_is_too_long_is_told_and_stops_no_other() -> None:
    """A value under no column is a fault of its row, in a sheet and in a CSV."""
    faults = read(sheet(("a",), (1, 2), (3,)))
    assert isinstance(faults[0], Problem)
    assert faults[1] == {"a": "3"}
    faults = read(b"a\n1,2\n3\n", CSV)
    assert isinstance(faults[0], Problem)
    assert faults[1] == {"a": "3"}


def repacked(data: bytes, change: Callable[[str, bytes], bytes], extra: int = 0) -> bytes:
    """An XLSX whose parts are changed, with further parts."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for number in range(extra):
            new.writestr(f"x{number}", b"")
    return out.getvalue()


def test_archives_that_unpack_to_too_much_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bomb is refused by what it says it unpacks to, by its parts, by its size; none of it is unpacked before."""
    small = sheet(("a",), (1,))
    monkeypatch.setattr(tables, "MAX_XLSX_UNPACKED_BYTES", 100_000)
    bomb = repacked(small, lambda name, data: data + b" " * 1_000_000 if "sheet1" in name else data)
    assert len(bomb) < 20_000
    with pytest.raises(Problem, match="unpacks") as caught:
        read(bomb)
    assert (caught.value.code, caught.value.limit) == ("too-large", 100_000)
    with pytest.raises(Problem, match="too many parts"):
        read(repacked(small, lambda _, data: data, extra=1_000))
    monkeypatch.setattr(tables, "MAX_XLSX_BYTES", 1_000)
    with pytest.raises(Problem) as caught:
        read(small)
    assert (caught.value.code, caught.value.limit) == ("too-large", 1_000)


def test_entities_in_xml_are_refused() -> None:
    """A part that declares a document type is not parsed."""
    laughs = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">]>'
    with pytest.raises(Problem, match="document type"):
        read(repacked(sheet(("a",)), lambda name, data: laughs + data if "sheet1" in name else data))


def test_too_many_rows_and_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows far below, and columns far to the right, are not filled up with emptiness."""
    monkeypatch.setattr(tables, "MAX_XLSX_ROWS", 2)
    with pytest.raises(Problem, match="as CSV") as caught:
        read(sheet(("a",), (1,), (2,), (3,)))
    assert caught.value.limit == 2
    far = repacked(sheet(("a",), (1,)), lambda _, data: data.replace(b'r="2"', b'r="999999"'))
    with pytest.raises(Problem, match="as CSV"):
        read(far)
    with pytest.raises(Problem, match="columns"):
        read(sheet(tuple(f"c{n}" for n in range(tables.MAX_COLUMNS + 1))))


@pytest.mark.parametrize(
    ("data", "media_type", "code"),
    [
        (b"", XLSX, "bad-request"), (b"PK\3\4 no archive", XLSX, "bad-request"), (sheet(("b",)), XLSX, "invalid-field"),
        (b"\xff\xfe", CSV, "bad-request"), (b"{}", JSON, "bad-request"),
        (b"[", JSON, "malformed-json"), (b"x", "text/plain", "unsupported-media-type"),
        (b"a," + b"x" * 70_000, CSV, "too-large"), (b"x" * 70_000, FORMATS["jsonl"], "too-large"),
    ],
    ids=[str(n) for n in range(9)],
)  # fmt: skip
def test_what_is_no_table(data: bytes, media_type: str, code: str) -> None:
    """Files that are none, in none of the formats, or without the needed column answer with a problem."""
    with pytest.raises(Problem) as caught:
        read(data, media_type, ("a",))
    assert caught.value.code == code


def test_faulty_lines_of_json() -> None:
    """A line that is no object is told in its place; numbers that JSON does not have are refused as everywhere."""
    rows = read(b'{"a":1}\n[]\n\n{"a":NaN}\n{"a":2}', FORMATS["jsonl"])
    assert [isinstance(row, Problem) for row in rows] == [False, True, True, False]
    assert [isinstance(row, Problem) for row in read(b'[{"a":1},3]', JSON)] == [False, True]
