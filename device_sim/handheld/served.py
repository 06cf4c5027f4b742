"""The records as the server last served them: lines byte for byte, what has left, and running digests of it all."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlite_utils import Database

from sync.digest import (
    LEAF_DIGITS,
    STATE_BYTES,
    LeafChanges,
    Pair,
    SetDigest,
    leaf_of,
    range_key,
    record_pair,
    split_leaves,
    split_range,
    total,
)

LEAVES = 16**LEAF_DIGITS
ROWS_AT_ONCE = 1_000
TABLES: dict[str, tuple[dict[str, type], tuple[str, ...]]] = {
    "records": ({"kind": str, "id": str, "position": int, "line": bytes, "leaf": str}, ("kind", "id")),
    "departed": ({"kind": str, "id": str, "position": int}, ("kind", "id")),
    "digests": ({"leaf": str, "count": int, "state": bytes}, ("leaf",)),
}
"""Columns and primary keys; `leaf` is the smallest range of ids with a running digest that a record lies in."""
RULES = ("CREATE INDEX IF NOT EXISTS records_of_leaf ON records (leaf)",)


@dataclass(frozen=True, slots=True)
class ServedRecord:
    """A record as the server last served it: its feed position and the line byte for byte; b"": it has left."""

    kind: str
    id: str
    position: int
    line: bytes

    @property
    def name(self) -> str:
        """What it is called in digests."""
        return f"{self.kind}/{self.id}"


class ServedRecords:
    """The pulled records of one handheld, in its database."""

    def __init__(self, db: Database) -> None:
        """Use the tables in `db`; rows of an older version of this program get their ranges now."""
        self.db = db
        for row in db.execute("SELECT count(*) FROM records WHERE leaf IS NULL").fetchall():
            if row[0]:
                self._sort_in()

    def _sort_in(self) -> None:
        with self.db.atomic():
            for kind, record in self.db.execute("SELECT kind, id FROM records").fetchall():
                where = (leaf_of(f"{kind}/{record}"), kind, record)
                self.db.execute("UPDATE records SET leaf = ? WHERE kind = ? AND id = ?", where)
            self.scrub()

    # Keeping what was served.

    def keep(self, served: Iterable[ServedRecord], *, anew: bool = False) -> int:
        """Keep served records and drop what has left, streamed; returns how many lines there were.

        An older position never replaces a newer one, except `anew`: where the copies were found to differ, the server's
        word counts, whatever its position.
        """
        changes = LeafChanges()
        count = 0
        for count, record in enumerate(served, start=1):  # noqa: B007 - the last number is the count
            self._keep(record, changes, anew=anew)
        self._write(changes)
        return count

    def _keep(self, record: ServedRecord, changes: LeafChanges, *, anew: bool) -> None:
        key = (record.kind, record.id)
        kept = self.db.execute("SELECT position, line FROM records WHERE kind = ? AND id = ?", key).fetchone()
        if kept and kept[0] > record.position and not anew:
            return
        before = hashlib.sha256(kept[1]).digest() if kept else None
        if not record.line:
            if kept:
                changes.replace(record.name, before, None)
                self.db.execute("DELETE FROM records WHERE kind = ? AND id = ?", key)
            self.db.execute("INSERT OR REPLACE INTO departed VALUES (?, ?, ?)", (*key, record.position))
            return
        leaf = changes.replace(record.name, before, hashlib.sha256(record.line).digest())
        row = (*key, record.position, record.line, leaf)
        self.db.execute("INSERT OR REPLACE INTO records (kind, id, position, line, leaf) VALUES (?, ?, ?, ?, ?)", row)
        self.db.execute("DELETE FROM departed WHERE kind = ? AND id = ?", key)

    def load(self, rows: Iterable[tuple[str, str, int, bytes]]) -> int:
        """Take in a first copy, (kind, id, position, line) each, into empty tables; returns how many."""
        changes = LeafChanges()
        added = 0
        for kind, record, position, line in rows:
            leaf = changes.replace(f"{kind}/{record}", None, hashlib.sha256(line).digest())
            self.db.execute(
                "INSERT INTO records (kind, id, position, line, leaf) VALUES (?, ?, ?, ?, ?)",
                (kind, record, position, line, leaf),
            )
            added += 1
        self._write(changes)
        return added

    def _write(self, changes: LeafChanges) -> None:
        for leaf, change in changes.by_leaf.items():
            row = self.db.execute("SELECT count, state FROM digests WHERE leaf = ?", (leaf,)).fetchone()
            kept = SetDigest(row[0], int.from_bytes(row[1], "big")) if row else SetDigest()
            self._put(leaf, kept.combine(change))

    def _put(self, leaf: str, digest: SetDigest) -> None:
        content = digest.state.to_bytes(STATE_BYTES, "big")
        self.db.execute("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", (leaf, digest.count, content))

    # Reading.

    def get(self, kind: str, record: str) -> ServedRecord | None:
        """A record as last served."""
        sql = "SELECT kind, id, position, line FROM records WHERE kind = ? AND id = ?"
        row = self.db.execute(sql, (kind, record)).fetchone()
        return ServedRecord(*row) if row else None

    def departed_at(self, kind: str, record: str) -> int:
        """Position at which a record left this device's scope; 0 if it has not."""
        row = self.db.execute("SELECT position FROM departed WHERE kind = ? AND id = ?", (kind, record)).fetchone()
        return int(row[0]) if row else 0

    def count(self) -> int:
        """How many records there are."""
        return int(self.db.execute("SELECT count(*) FROM records").fetchone()[0])

    # Digests.

    def digest(self) -> SetDigest:
        """Digest of everything, from the running ones."""
        return total(self._leaves())

    def split(self, prefix: str) -> Mapping[str, SetDigest]:
        """Digests of the ranges just below one, those without records left out."""
        if len(prefix) < LEAF_DIGITS:
            return split_leaves(self._leaves(), prefix)
        return split_range(self.pairs(prefix), prefix)

    def pairs(self, prefix: str) -> list[Pair]:
        """The pairs of a range, from the lines themselves, in order."""
        first = prefix[:LEAF_DIGITS]
        rows = self.db.execute("SELECT kind, id, line FROM records WHERE leaf >= ? AND leaf < ?", (first, first + "g"))
        pairs = [record_pair(*row) for row in rows.fetchall()]
        return sorted(pair for pair in pairs if range_key(pair[0]).startswith(prefix))

    def scrub(self, first: int = 0, last: int = LEAVES - 1) -> list[str]:
        """Take the running digests of some ranges again from the lines; returns the ranges that were not right.

        Running digests follow what was served; only reading the lines again finds what the storage did to them.
        """
        found: dict[str, SetDigest] = {}
        misplaced: list[tuple[str, str, str]] = []
        span = (f"{first:0{LEAF_DIGITS}x}", f"{last:0{LEAF_DIGITS}x}")
        rows = self.db.execute("SELECT kind, id, line, leaf FROM records WHERE leaf BETWEEN ? AND ?", span)
        while some := rows.fetchmany(ROWS_AT_ONCE):
            for kind, record, line, leaf in some:
                name, content = record_pair(kind, record, line)
                if leaf_of(name) == leaf:
                    found[leaf] = found.get(leaf, SetDigest()).add(name, content)
                else:
                    misplaced.append((leaf_of(name), kind, record))
        for one in misplaced:
            self.db.execute("UPDATE records SET leaf = ? WHERE kind = ? AND id = ?", one)
        kept = {leaf: digest for leaf, digest in self._leaves().items() if span[0] <= leaf <= span[1]}
        wrong = [one for one in found.keys() | kept.keys() if found.get(one, SetDigest()) != kept.get(one, SetDigest())]
        for leaf in wrong:
            self._put(leaf, found.get(leaf, SetDigest()))
        return self.scrub() if misplaced else sorted(wrong)

    def _leaves(self) -> dict[str, SetDigest]:
        rows = self.db.execute("SELECT leaf, count, state FROM digests").fetchall()
        return {leaf: SetDigest(count, int.from_bytes(state, "big")) for leaf, count, state in rows}
