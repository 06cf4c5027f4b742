"""The central system's own database: behaviors, heads it has checked, findings, and where it stands.

SQLite through sqlite-utils, WAL with `synchronous=FULL`: a page, its head and the cursor behind it are one transaction,
so that a kill at any moment neither loses a behavior nor takes one twice.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlite_utils import Database
from sqlite_utils.db import Table

from sync.digest import SetDigest, digest_of

_TABLES: dict[str, tuple[dict[str, type], tuple[str, ...]]] = {
    "settings": ({"name": str, "value": str}, ("name",)),
    "behaviors": (
        {
            "id": str, "version": int, "generation": int, "position": int, "operation": str, "batch": str, "at_ms": int,
            "region": str, "department": str, "leaf_hash": bytes, "leaf": str, "content": str, "personal": str,
            "proved": int,
        },
        ("id", "version"),
    ),
    "heads": ({"size": int, "root": str, "at_ms": int, "key_id": str, "signature": str}, ("size",)),
    "findings": ({"number": int, "finding": str}, ("number",)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredBehavior:
    """One version of a behavior with the exact texts that were hashed; `proved`: its inclusion proof verified."""

    id: str
    version: int
    generation: int
    position: int
    operation: str
    batch: str
    at_ms: int
    region: str
    department: str
    leaf_hash: bytes
    leaf: str
    content: str
    personal: str | None
    proved: bool

    @property
    def ref(self) -> str:
        """How digests name it."""
        return f"{self.id}:{self.version}"


class StoreInUse(Exception):
    """Another pull has the store open: two that continue from one cursor would take every behavior twice."""


class CentralStore:
    """Everything the central system keeps, in one file. Opening an existing file continues where it was left."""

    def __init__(self, path: Path) -> None:
        """Open the store for this process alone, until it is closed or the process ends.

        Raises:
            StoreInUse: another process has it open.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise StoreInUse(f"{path}: another pull is using this store") from error
        self.db = Database(path, strict=True)
        self.db.enable_wal()
        self.db.execute("PRAGMA synchronous=FULL")
        with self.db.atomic():
            for name, (columns, key) in _TABLES.items():
                self._table(name).create(columns, pk=key if len(key) > 1 else key[0], if_not_exists=True)

    def close(self) -> None:
        """Close the database; whatever was saved stays."""
        self.db.close()
        os.close(self._lock)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Everything inside is saved together, durably at the end, or not at all."""
        with self.db.atomic():
            yield

    def get(self, name: str) -> str:
        """A single value; empty when it was never set."""
        rows = self._rows("SELECT value FROM settings WHERE name = ?", name)
        return str(rows[0][0]) if rows else ""

    def number(self, name: str) -> int:
        """A single number; 0 when it was never set."""
        return int(self.get(name) or 0)

    def put(self, name: str, value: str | int) -> None:
        """Set a single value."""
        self._table("settings").upsert({"name": name, "value": str(value)}, pk="name")

    def known(self, refs: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, bytes]]:
        """Generation and leaf hash of those (id, version) that are here."""
        found = {}
        for ref in refs:
            for generation, leaf_hash in self._rows(
                "SELECT generation, leaf_hash FROM behaviors WHERE id = ? AND version = ?", *ref
            ):
                found[ref] = (generation, leaf_hash)
        return found

    def keep(self, behaviors: Sequence[StoredBehavior]) -> None:
        """Keep behaviors; a row of an earlier generation gives way."""
        if behaviors:
            self._table("behaviors").upsert_all(
                [asdict(row) | {"proved": int(row.proved)} for row in behaviors], pk=("id", "version")
            )

    def keep_head(self, size: int, root: str, at_ms: int, key_id: str, signature: str) -> None:
        """Keep a head that was checked."""
        row = {"size": size, "root": root, "at_ms": at_ms, "key_id": key_id, "signature": signature}
        self._table("heads").upsert(row, pk="size")

    def forget_heads(self) -> None:
        """The log they belong to is closed; its successor's first leaf holds the last of them."""
        self.db.execute("DELETE FROM heads")

    def newest_head(self) -> tuple[int, str]:
        """Size and root of the largest head that was checked; (0, "") before the first."""
        rows = self._rows("SELECT size, root FROM heads ORDER BY size DESC LIMIT 1")
        return (rows[0][0], rows[0][1]) if rows else (0, "")

    def head_count(self) -> int:
        """How many different heads were checked."""
        return int(self._rows("SELECT count(*) FROM heads")[0][0])

    def counts(self, generation: int) -> tuple[int, int]:
        """Behavior versions of a generation, and how many of them are proved."""
        pulled, proved = self._rows(
            "SELECT count(*), coalesce(sum(proved), 0) FROM behaviors WHERE generation = ?", generation
        )[0]
        return pulled, proved

    def digest(self, generation: int) -> SetDigest:
        """Digest of all behavior versions of a generation, recomputed from what is here."""
        rows = self._rows("SELECT id || ':' || version, leaf_hash FROM behaviors WHERE generation = ?", generation)
        return digest_of((ref, leaf_hash) for ref, leaf_hash in rows)

    def note(self, finding: str) -> None:
        """Keep a finding."""
        self.db.execute(
            "INSERT INTO findings (number, finding) SELECT coalesce(max(number), 0) + 1, ? FROM findings", (finding,)
        )

    def findings(self) -> list[str]:
        """Everything that was wrong so far, in order."""
        return [row[0] for row in self._rows("SELECT finding FROM findings ORDER BY number")]

    def _table(self, name: str) -> Table:
        return self.db.table(name)

    def _rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - SQLite's own value types
        return list(self.db.execute(sql, values).fetchall())
