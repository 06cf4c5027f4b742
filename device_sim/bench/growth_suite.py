"""`bench growth`: the rate of pushes into a database of 10,000 records, and of a million, in the same run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from device_sim.bench.frame import Case, Options, Suite
from device_sim.bench.installation import Installation, new_id, running
from device_sim.bench.measurement import PRODUCT, Measurement
from device_sim.bench.raw_sync import connect
from device_sim.bench.sync_suite import DEVICES, SyncBench

SMALL, LARGE = 10_000, 1_000_000
CHUNK = 50_000
ACTS_PER_SEGMENT = 200
IDS = "printf('%s-7%03x-8%03x-%012x', substr(:prefix, 1, 13), (i >> 24) & 4095, (i >> 12) & 4095, i)"
"""Ids that come before those of today's pushes, in ascending order, as those of former years would."""
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)"
COPIES = {
    "act": {"journal": ":journal", "seq": "i", "record": IDS},
    "synced_record": {"id": IDS, "position": ":position + i"},
    "record_assignee": {"id": IDS},
    "inspection": {"id": IDS},
}
"""What differs in the copies of a record's rows, table by table."""
CHOSEN = {"act": "record", "synced_record": "id", "record_assignee": "id", "inspection": "id"}


def fill(database: Path, record: str, wanted: int) -> int:
    """Bring a database to so many inspections by copies of one record's rows, under ids of their own; returns how many
    were copied.
    """
    connection = connect(database)
    (present,) = connection.execute("SELECT count(*) FROM inspection").fetchone()
    (position,) = connection.execute("SELECT position FROM server_state").fetchone()
    (journal,) = connection.execute("SELECT journal FROM act WHERE record = ?", (record,)).fetchone()
    copied = new_id()
    connection.execute(
        "INSERT INTO journal SELECT ?, device, ?, head_hash, parent, parent_seq, started_at FROM journal WHERE id = ?",
        (copied, wanted, journal),
    )
    values = {"journal": copied, "prefix": copied, "position": position, "record": record}
    for first in range(present + 1, wanted + 1, CHUNK):
        last = min(first + CHUNK - 1, wanted)
        connection.execute("BEGIN IMMEDIATE")
        for table, changes in COPIES.items():
            connection.execute(_copy(connection, table, changes), {**values, "first": first, "last": last})
        connection.execute("UPDATE server_state SET position = ?", (position + last,))
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return max(wanted - int(present), 0)


def _copy(connection: sqlite3.Connection, table: str, changes: Mapping[str, str]) -> str:
    """Return the statement that copies a record's rows of a table for each number."""
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    values = ", ".join(changes.get(name, f'one."{name}"') for name in names)
    listed = ", ".join(f'"{name}"' for name in names)
    chosen = f"one.{CHOSEN[table]} = :record"
    return f"{NUMBERS} INSERT INTO {table} ({listed}) SELECT {values} FROM n, {table} AS one WHERE {chosen}"  # noqa: S608 - names from here


def _push(bench: SyncBench, case: str, stored: int) -> Measurement:
    database = bench.platform.database
    bench.applied += fill(database, bench.done["warm-up"].segments[0].records[0], stored)
    measured = bench.push(case, ACTS_PER_SEGMENT)
    size_mb = database.stat().st_size / 1e6
    return replace(measured, note=f"{stored:,} records stored, {size_mb:,.0f} MB; {measured.note}", limited=False)


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with running(Installation(folder / "home", devices_wanted=DEVICES + 1)) as platform:
        bench = SyncBench(platform, replace(options, records=0), folder, keeps_copies=False)
        bench.warm_up()
        yield [
            Case(PRODUCT, "push-small", "records", partial(_push, bench, "push-small", SMALL)),
            Case(PRODUCT, "push-large", "records", partial(_push, bench, "push-large", options.size(LARGE))),
        ]


GROWTH = Suite(
    name="growth",
    about="8 devices push new inspections, 200 acts a request, into a small database and a large one; no limit",
    cases={
        "push-small": f"into {SMALL:,} stored records",
        "push-large": f"into {LARGE:,} stored records, or as many as --records says",
    },
    open=_open,
)
