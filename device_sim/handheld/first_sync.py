"""The first sync: the shared part of the scope as one file, resumed after a cut; the feed goes on from its cursor."""

from __future__ import annotations

import gzip
import shutil
import zlib
from collections.abc import Iterator
from contextlib import closing

from sqlite_utils import Database

from device_sim.handheld.link import Again, Link, Refused
from device_sim.handheld.store import HandheldStore

SNAPSHOT_PATH = "/api/v1/sync/snapshot"
TAG = "snapshot-tag"
"""Name of the stored value that says which file was begun."""
ROWS_AT_ONCE = 1_000
COPY_BYTES = 1024 * 1024


class FirstSync:
    """Loads the snapshot into an empty store."""

    def __init__(self, store: HandheldStore, link: Link) -> None:
        self.store, self.link = store, link
        self.packed = store.folder / "snapshot.db.gz"
        self.unpacked = store.folder / "snapshot.db"

    def load(self) -> tuple[str, int]:
        """Load everything and its cursor, in one save; returns the epoch and how many records came.

        ("", 0) where the server says that the feed alone is as quick. What was received is kept over cuts and restarts.
        Raises `Refused` and `Unreachable`.
        """
        if not self.link.attempt(self._fetch):
            return "", 0
        try:
            with closing(Database(self.unpacked)) as snapshot:
                about = dict(snapshot.execute("SELECT name, value FROM about").fetchall())
                with self.store.saving():
                    count = self.store.records.load(_rows_of(snapshot))
                    self.store.put("cursor", about["cursor"])
        finally:
            self._forget()
        self.link.counts["snapshots"] += 1
        return about["epoch"], count

    def _fetch(self) -> bool:
        """One attempt to have the whole file, unpacked; False when there is none."""
        if not self._receive():
            return False
        try:
            self._unpack()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            self._forget()
            raise Again("the snapshot is damaged") from error
        return True

    def _receive(self) -> bool:
        """One attempt to receive the rest of the file; False when there is none."""
        begun = self.packed.stat().st_size if self.packed.exists() else 0
        tag = self.store.get(TAG)
        headers = {"Accept-Encoding": "identity"}
        if begun and tag:
            headers |= {"Range": f"bytes={begun}-", "If-Range": tag}
        try:
            with self.link.streamed("GET", SNAPSHOT_PATH, headers=headers) as response:
                if response.status_code == 204:
                    return False
                self.link.counts["snapshot_requests"] += 1
                resumed = response.status_code == 206
                self.link.counts["snapshot_resumes"] += resumed
                if not resumed:
                    self._forget()
                    self.store.put(TAG, response.headers.get("ETag", ""))
                with self.packed.open("ab") as out:
                    for piece in response.iter_raw():
                        self.link.counts["snapshot_bytes"] += len(piece)
                        out.write(piece)
        except Refused as error:
            if error.status != 416:
                raise
            # Nothing is missing, or the file is another one by now: unpacking tells which.
        return True

    def _unpack(self) -> None:
        with gzip.open(self.packed, "rb") as source, self.unpacked.open("wb") as target:
            shutil.copyfileobj(source, target, COPY_BYTES)

    def _forget(self) -> None:
        self.packed.unlink(missing_ok=True)
        self.unpacked.unlink(missing_ok=True)


def _rows_of(snapshot: Database) -> Iterator[tuple[str, str, int, bytes]]:
    found = snapshot.execute("SELECT kind, id, position, line FROM records")
    while rows := found.fetchmany(ROWS_AT_ONCE):
        yield from rows
