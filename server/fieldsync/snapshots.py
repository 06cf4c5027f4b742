"""First syncs: what all officers of a region and department share, as one SQLite file that every new handheld loads.

The file is made in one read transaction, which holds up no writer, and carries the position it stands for as a cursor;
the feed goes on from there and brings what is assigned to the device's own officers. It is compressed once and kept.
"""

import gzip
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session
from sqlite_utils import Database

from server.fieldsync.cache import locked, name_of, tidy
from server.fieldsync.feed import ANYBODY, Place, cursor_key, scope_of
from server.records.feed import FeedScope, shared_part
from server.records.models import SyncedRecord
from server.records.service import server_state
from server.runtime import Runtime
from server.web.principal import Principal

MIN_RECORDS = 1_000
"""A part with fewer shared records comes by the feed as quickly."""
MAX_BEHIND = 50_000
"""Positions that a kept file may lie behind the feed."""
MAX_AGE_S = 86_400
"""A kept file is made anew after a day, long before leaves are forgotten."""
MAX_FILES = 200
MAX_BYTES = 8 * 1024**3
ROWS_AT_ONCE = 1_000
COPY_BYTES = 1024 * 1024
GZIP_LEVEL = 3
SUFFIX = ".db.gz"


@dataclass(frozen=True)
class Snapshot:
    """A finished file; its tag is its name and never stands for other bytes."""

    path: Path
    tag: str
    position: int
    made_ms: int


def snapshot_for(rt: Runtime, caller: Principal, known_tag: str = "") -> Snapshot | None:
    """Return the file for a device's first sync, made now if need be; None where the feed alone is as quick.

    Args:
        rt: the runtime.
        caller: the device.
        known_tag: the file that the device has begun to load; it gets that one as long as it is there.
    """
    with rt.db.read() as session:
        state, scope = server_state(session), scope_of(caller).shared()
        name, newest, oldest = name_of(scope, state.epoch), state.position, state.leaves_expired_to
        if not _is_worth_it(session, scope):
            return None
    folder = rt.settings.home / "snapshots"
    with locked(folder / name):
        kept = sorted(_kept(folder, name), key=lambda one: one.position)
        begun = [one for one in kept if one.tag == known_tag]
        fresh = [one for one in kept[-1:] if oldest <= one.position <= newest and _is_fresh(rt, one, newest)]
        if begun or fresh:
            found = (begun or fresh)[0]
            found.path.touch()
            return found
        made = _make(rt, scope, folder, name)
    tidy(folder, f"*{SUFFIX}", MAX_FILES, MAX_BYTES)
    return made


def _is_worth_it(session: Session, scope: FeedScope) -> bool:
    some = select(SyncedRecord.id).where(shared_part(scope)).limit(MIN_RECORDS).subquery()
    return session.execute(select(func.count()).select_from(some)).scalar_one() >= MIN_RECORDS


def _kept(folder: Path, name: str) -> Iterator[Snapshot]:
    for path in folder.glob(f"{name}-*{SUFFIX}"):
        tag = path.name.removesuffix(SUFFIX)
        _, position, made_ms = tag.split("-")
        yield Snapshot(path, tag, int(position), int(made_ms))


def _is_fresh(rt: Runtime, kept: Snapshot, newest: int) -> bool:
    return 0 <= rt.now_ms() - kept.made_ms <= MAX_AGE_S * 1000 and newest - kept.position <= MAX_BEHIND


def _make(rt: Runtime, scope: FeedScope, folder: Path, name: str) -> Snapshot | None:
    """Make the file; None if something was erased meanwhile, which it may hold."""
    partial = folder / f"{name}.part"
    partial.unlink(missing_ok=True)
    with rt.db.read() as session:
        state = server_state(session)
        cursor = Place(state.epoch, ANYBODY, scope).cursor(cursor_key(rt), state.position, whole=True)
        _fill(session, scope, partial, {"epoch": state.epoch, "position": str(state.position), "cursor": cursor})
        position, erasures = state.position, state.erasures
    tag = f"{name}-{position}-{rt.now_ms()}"
    packed = folder / f"{name}.packing"
    with partial.open("rb") as source, packed.open("wb") as out, gzip.GzipFile("", "wb", GZIP_LEVEL, out, 0) as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    partial.unlink()
    packed.rename(folder / f"{tag}{SUFFIX}")
    made = Snapshot(folder / f"{tag}{SUFFIX}", tag, position, rt.now_ms())
    with rt.db.read() as session:  # after it got its name: an erasure either is seen here or removes it
        if server_state(session).erasures != erasures:
            made.path.unlink(missing_ok=True)
            return None
    return made


def _fill(session: Session, scope: FeedScope, path: Path, about: dict[str, str]) -> None:
    """Write the file: table `about` with single values, table `records` as a handheld keeps them."""
    database = Database(path)
    try:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        database.table("about").create({"name": str, "value": str}, pk="name")
        database.table("records").create({"kind": str, "id": str, "position": int, "line": bytes}, pk=("kind", "id"))
        columns = (SyncedRecord.kind, SyncedRecord.id, SyncedRecord.position, SyncedRecord.line)
        query = select(*columns).where(shared_part(scope)).order_by(SyncedRecord.kind, SyncedRecord.id)
        count = 0
        with (
            session.connection().execute(query.execution_options(yield_per=ROWS_AT_ONCE)) as found,
            database.atomic(),
        ):
            for rows in found.partitions():
                database.conn.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", [tuple(row) for row in rows])
                count += len(rows)
            values = about | {"count": str(count)}
            database.table("about").insert_all({"name": name, "value": value} for name, value in values.items())
    finally:
        database.close()
