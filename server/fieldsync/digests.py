"""The server's side of comparing digests: for each part of a scope a small index of what was served, kept by the feed.

A scope has two parts: what is assigned to nobody, which all officers of a region and department share, and what is
assigned to the device's own officers. The index of a part is a SQLite file beside the database, not in it: it follows
the feed when somebody asks, in proportion to what changed since, and writing records costs nothing more for it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Select, bindparam, exists, not_, select
from sqlalchemy.orm import Session

from server.db.engine import sqlite_module
from server.errors import Problem
from server.fieldsync.cache import locked, name_of, tidy
from server.records.feed import QUERIES_KEPT, FeedScope, assigned_part, leave_of, shared_part
from server.records.models import RecordLeave, SyncedRecord
from server.records.service import PresentState, read_state
from server.runtime import Runtime
from sync.digest import LEAF_DIGITS, STATE_BYTES, LeafChanges, Pair, SetDigest, range_key, split_leaves, split_range

MAX_INDEX_FILES = 1_000
MAX_INDEX_BYTES = 4 * 1024**3
ROWS_AT_ONCE = 1_000
BUSY_TIMEOUT_S = 30
SCHEMA = """
BEGIN;
CREATE TABLE place (only_one INTEGER PRIMARY KEY CHECK (only_one = 1), position INTEGER, boot TEXT);
CREATE TABLE leaves (leaf TEXT PRIMARY KEY, count INTEGER, state BLOB) WITHOUT ROWID;
CREATE TABLE pairs (id TEXT PRIMARY KEY, leaf TEXT, hash BLOB) WITHOUT ROWID;
CREATE INDEX pairs_of_leaf ON pairs (leaf);
PRAGMA user_version = 1;
COMMIT;
"""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT = BOOT_ID.read_text().strip() if BOOT_ID.exists() else str(uuid4())
"""Names this run of the machine. Indexes are written without waiting for the disk: a process that dies leaves them
whole, a power cut may not. So those of an earlier run (where runs have no name: of another process) are not used."""


@dataclass(frozen=True)
class Part:
    """One part of a scope, and where its index lies; without officers it is what is assigned to nobody."""

    path: Path
    scope: FeedScope


@dataclass
class Tree:
    """Digests of all that a scope sees at one position, range by range."""

    session: Session
    """The snapshot that the digests are of."""
    epoch: str
    position: int
    leaves: dict[str, SetDigest] = field(default_factory=dict)
    """Digests of the smallest ranges that have one."""
    indexes: list[Any] = field(default_factory=list)
    """Connections to the indexes."""

    def split(self, prefix: str) -> Mapping[str, SetDigest]:
        """Return the digests of the ranges just below one, those without pairs left out."""
        if len(prefix) < LEAF_DIGITS:
            return split_leaves(self.leaves, prefix)
        return split_range(self.pairs(prefix), prefix)

    def pairs(self, prefix: str) -> list[Pair]:
        """Return the pairs of a range, in order of id."""
        first = prefix[:LEAF_DIGITS]
        found: list[Pair] = []
        for index in self.indexes:
            rows = index.execute("SELECT id, hash FROM pairs WHERE leaf >= ? AND leaf < ?", (first, first + "g"))
            found += [(name, content) for name, content in rows if range_key(name).startswith(prefix)]
        return sorted(found)


@contextmanager
def digest_tree(rt: Runtime, scope: FeedScope) -> Iterator[Tree]:
    """Bring the indexes of a scope's parts up to now and open them together with the snapshot they stand for.

    The files are locked before the snapshot is taken, so that no index is ever ahead of it.
    """
    with rt.db.read() as session:
        parts = _parts(rt, scope, read_state(session).epoch)
    with ExitStack() as stack:
        for path in sorted(part.path for part in parts):
            stack.enter_context(locked(path))
        session = stack.enter_context(rt.db.read())
        state = read_state(session)
        tree = Tree(session, state.epoch, state.position)
        for part in parts:
            index = stack.enter_context(_opened(part.path))
            _follow(session, index, part, state)
            tree.indexes.append(index)
            for leaf, count, content in index.execute("SELECT leaf, count, state FROM leaves"):
                digest = SetDigest(count, int.from_bytes(content, "big"))
                tree.leaves[leaf] = tree.leaves.get(leaf, SetDigest()).combine(digest)
        yield tree
    tidy(rt.settings.home / "digests", "*.db", MAX_INDEX_FILES, MAX_INDEX_BYTES)


def _parts(rt: Runtime, scope: FeedScope, epoch: str) -> list[Part]:
    folder, shared = rt.settings.home / "digests", scope.shared()
    both = [Part(folder / f"{name_of(shared, epoch)}.db", shared)]
    if scope.officers:
        both.append(Part(folder / f"{name_of(scope, epoch)}.db", scope))
    return both


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open an index, empty if there is none."""
    module = sqlite_module()
    index = module.connect(str(path), timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        index.execute("PRAGMA synchronous=OFF")
        if index.execute("PRAGMA user_version").fetchone() == (0,):
            index.executescript(SCHEMA)
        yield index
    except module.DatabaseError as error:
        path.unlink(missing_ok=True)  # whatever is wrong with it, it can be made again
        raise Problem("unavailable", detail=f"an index of the feed is being made anew: {error}") from error
    finally:
        index.close()


def _follow(session: Session, index: Any, part: Part, state: PresentState) -> None:  # noqa: ANN401 - of either driver
    """Take everything that entered, changed in or left a part since the index's position into the index."""
    if _position(index) == state.position:
        part.path.touch()
        return
    index.execute("BEGIN IMMEDIATE")
    position = _position(index)
    if not state.leaves_expired_to <= position <= state.position:
        position = 0
    if not position:
        index.execute("DELETE FROM pairs")
        index.execute("DELETE FROM leaves")
    changes = LeafChanges()
    if position:
        for name in _left(session, part, position):
            _replace(index, changes, name, None)
    with session.connection().execute(_changed(part.scope), {"after": position}) as rows:
        for some in rows.partitions():
            found_pairs = [(f"{kind}/{record_id}", hashlib.sha256(line).digest()) for kind, record_id, line in some]
            if position:
                for name, content in found_pairs:
                    _replace(index, changes, name, content)
            else:
                fresh = [(name, changes.replace(name, None, content), content) for name, content in found_pairs]
                index.executemany("INSERT INTO pairs VALUES (?, ?, ?)", fresh)
    _write_leaves(index, changes)
    index.execute("INSERT OR REPLACE INTO place VALUES (1, ?, ?)", (state.position, BOOT))
    index.execute("COMMIT")


def _position(index: Any) -> int:  # noqa: ANN401 - of either driver
    found = index.execute("SELECT position FROM place WHERE boot = ?", (BOOT,)).fetchone()
    return int(found[0]) if found else 0


def _left(session: Session, part: Part, after: int) -> Iterator[str]:
    for kind, record_id in session.connection().execute(_left_query(part.scope), {"after": after}):
        yield f"{kind}/{record_id}"


def _sees(scope: FeedScope) -> ColumnElement[bool]:
    return assigned_part(scope) if scope.officers else shared_part(scope)


@lru_cache(maxsize=QUERIES_KEPT)
def _changed(scope: FeedScope) -> Select[str, str, bytes]:
    query = select(SyncedRecord.kind, SyncedRecord.id, SyncedRecord.line)
    wanted = query.where(SyncedRecord.position > bindparam("after"), _sees(scope))
    return wanted.execution_options(yield_per=ROWS_AT_ONCE)


@lru_cache(maxsize=QUERIES_KEPT)
def _left_query(scope: FeedScope) -> Select[str, str]:
    back = exists().where(SyncedRecord.kind == RecordLeave.kind, SyncedRecord.id == RecordLeave.id, _sees(scope))
    told = (RecordLeave.position > bindparam("after"), leave_of(scope), not_(back))
    return select(RecordLeave.kind, RecordLeave.id).where(*told).distinct()


def _replace(index: Any, changes: LeafChanges, name: str, content: bytes | None) -> None:  # noqa: ANN401 - of either driver
    before = index.execute("SELECT hash FROM pairs WHERE id = ?", (name,)).fetchone()
    if content is None:
        if before:
            changes.replace(name, before[0], None)
            index.execute("DELETE FROM pairs WHERE id = ?", (name,))
        return
    leaf = changes.replace(name, before[0] if before else None, content)
    index.execute("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", (name, leaf, content))


def _write_leaves(index: Any, changes: LeafChanges) -> None:  # noqa: ANN401 - of either driver
    for leaf, change in changes.by_leaf.items():
        row = index.execute("SELECT count, state FROM leaves WHERE leaf = ?", (leaf,)).fetchone()
        kept = SetDigest(row[0], int.from_bytes(row[1], "big")) if row else SetDigest()
        digest = kept.combine(change)
        content = digest.state.to_bytes(STATE_BYTES, "big")
        index.execute("INSERT OR REPLACE INTO leaves VALUES (?, ?, ?)", (leaf, digest.count, content))
