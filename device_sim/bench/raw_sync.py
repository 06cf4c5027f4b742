"""The limit of a push and of a pull: the rows that the product stored, written and read by the bare SQLite driver.

The limit starts from a copy of the product's database as it was before the pushes, so tables, indexes, foreign keys and
size are the same, and writes the very rows that the product wrote, one transaction for each segment.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from device_sim.bench.measurement import Measurement

PRAGMAS = (
    "page_size=8192",
    "journal_mode=WAL",
    "synchronous=FULL",
    "foreign_keys=ON",
    "cache_size=-32768",
    "wal_autocheckpoint=4000",
)
"""The product's own settings (server/db/engine.py)."""
BUSY_TIMEOUT_S = 30.0
MOVED = ("position", "deleted", "conflict_fields", "line")
"""Columns of a record that an update writes."""

SegmentKey = tuple[str, int, int]
"""Journal, first and last number."""
Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class Batch:
    """What one segment wrote, table by table, in an order that foreign keys allow."""

    acts: int
    writes: tuple[tuple[str, Rows], ...]


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database with the product's settings and the driver that it prefers."""
    try:
        driver: Any = import_module("pysqlite3.dbapi2")
    except ImportError:
        driver = sqlite3
    mode = "ro" if read_only else "rwc"
    connection: sqlite3.Connection = driver.connect(
        f"file:{path}?mode={mode}", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
    )
    for pragma in () if read_only else PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def copy_database(source: Path, target: Path) -> None:
    """Copy a database as it is now, while other programs use it."""
    reader, writer = connect(source, read_only=True), connect(target)
    reader.backup(writer)
    reader.close()
    writer.close()


def raw_push(before: Path, after: Path, segments: Sequence[SegmentKey]) -> Measurement:
    """Write into `before` what the segments added to `after`: `executemany`, one durable transaction a segment."""
    connection, reader = connect(before), connect(after, read_only=True)
    batches = [_batch(reader, connection, key) for key in segments]
    reader.close()
    latencies = []
    started, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        begun = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        for statement, rows in batch.writes:
            connection.executemany(statement, rows)
        connection.execute("COMMIT")
        latencies.append(time.perf_counter() - begun)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    connection.close()
    count = sum(batch.acts for batch in batches)
    note = f"{count:,} acts; durable: SQLite WAL, FULL; executemany, 1 thread; CPU: {1000 * cpu / count:.3f} ms an act"
    return Measurement(count, seconds, latencies, 0.0, note)


def _batch(reader: sqlite3.Connection, before: sqlite3.Connection, key: SegmentKey) -> Batch:
    journal, first, last = key
    acts = reader.execute("SELECT * FROM act WHERE journal = ? AND seq BETWEEN ? AND ?", key).fetchall()
    named = "id IN (SELECT record FROM act WHERE journal = ? AND seq BETWEEN ? AND ?)"
    records = _all(reader, "synced_record", named, key)
    known = {record[1] for record in records if _all(before, "synced_record", "id = ?", (record[1],))}

    def changed(table: str) -> Rows:
        """The rows of the segment's records that the product really wrote."""
        there = {row for record in records for row in _all(before, table, "id = ?", (record[1],))}
        return [row for row in _all(reader, table, named, key) if row not in there]

    return Batch(
        len(acts),
        (
            _journal(reader, journal, last),
            (_insert(reader, "act"), acts),
            (_insert(reader, "synced_record"), [record for record in records if record[1] not in known]),
            _moved(reader, [record for record in records if record[1] in known]),
            (_insert(reader, "record_assignee", "OR IGNORE"), changed("record_assignee")),
            (_upsert(reader, "inspection"), changed("inspection")),
            (
                _insert(reader, "segment_signature"),
                _all(reader, "segment_signature", "journal = ? AND first = ? AND last = ?", (journal, first, last)),
            ),
        ),
    )


def _moved(reader: sqlite3.Connection, records: Rows) -> tuple[str, Rows]:
    """Records that were there: what the product writes of them, which is no column of their place."""
    names = [name for name, _ in _columns(reader, "synced_record")]
    written = [names.index(name) for name in (*MOVED, "kind", "id")]
    sets = ", ".join(f'"{name}" = ?' for name in MOVED)
    statement = f"UPDATE synced_record SET {sets} WHERE kind = ? AND id = ?"  # noqa: S608 - names from here
    return statement, [tuple(record[place] for place in written) for record in records]


def _journal(reader: sqlite3.Connection, journal: str, last: int) -> tuple[str, Rows]:
    """The journal's row as it stood after this segment."""
    head = reader.execute("SELECT hash FROM act WHERE journal = ? AND seq = ?", (journal, last)).fetchone()[0]
    columns = [name for name, _ in _columns(reader, "journal")]
    row = dict(zip(columns, _all(reader, "journal", "id = ?", (journal,))[0], strict=True))
    row |= {"head_seq": last, "head_hash": head}
    return _upsert(reader, "journal"), [tuple(row.values())]


def _all(reader: sqlite3.Connection, table: str, condition: str, values: tuple[Any, ...]) -> Rows:
    return reader.execute(f"SELECT * FROM {table} WHERE {condition}", values).fetchall()  # noqa: S608 - names from here


def _columns(reader: sqlite3.Connection, table: str) -> list[tuple[str, bool]]:
    """Names of a table's columns, and whether each is part of the primary key."""
    return [(row[1], bool(row[5])) for row in reader.execute(f"PRAGMA table_info({table})")]


def _insert(reader: sqlite3.Connection, table: str, how: str = "") -> str:
    columns = [f'"{name}"' for name, _ in _columns(reader, table)]
    return f"INSERT {how} INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


def _upsert(reader: sqlite3.Connection, table: str) -> str:
    columns = _columns(reader, table)
    keys = ", ".join(f'"{name}"' for name, is_key in columns if is_key)
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name, is_key in columns if not is_key)
    return f"{_insert(reader, table)} ON CONFLICT ({keys}) DO UPDATE SET {changes}"


def raw_pull(database: Path, page: int, again: int) -> Measurement:
    """Read all records in the order of the feed, page by page, and join each page's bytes as a reply would."""
    connection = connect(database, read_only=True)
    latencies: list[float] = []
    started = time.perf_counter()
    count = sum(_read_feed(connection, page, latencies.append) for _ in range(again))
    seconds = time.perf_counter() - started
    connection.close()
    return Measurement(
        count, seconds, latencies, 0.0, f"{count:,} records; the stored bytes, {page:,} a page, 1 thread"
    )


def _read_feed(connection: sqlite3.Connection, page: int, took: Callable[[float], None]) -> int:
    return sum(_pages(connection, page, took))


def _pages(connection: sqlite3.Connection, page: int, took: Callable[[float], None]) -> Iterator[int]:
    after, query = 0, "SELECT position, line FROM synced_record WHERE position > ? ORDER BY position LIMIT ?"
    while True:
        begun = time.perf_counter()
        rows = connection.execute(query, (after, page)).fetchall()
        b"\n".join(row[1] for row in rows)
        took(time.perf_counter() - begun)
        yield len(rows)
        if len(rows) < page:
            return
        after = rows[-1][0]
