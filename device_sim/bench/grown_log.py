"""A proof log made large at once, to measure appending and proving on top of it.

The sequencer would take minutes for millions of leaves. This writes the rows that it would write (leaves, tiles, size)
straight into the database with the same tree and the same tiles; only the heads on the way are left out. The leaves
that are measured go through the sequencer itself, which continues this tree and signs its head.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from sqlite3 import Connection

from sync.merkle import HASH_BYTES, Frontier, leaf_hash
from sync.tiles import TilePlace, TileWriter, offset_of, open_tiles, tile_of

CHUNK_LEAVES = 50_000
"""Leaves written in one transaction."""
WAITING = "INSERT INTO proof_pending (kind, ref, data, at) VALUES ('journal-head', ?, ?, ?)"
AT = "2026-03-02 09:00:00.000000"
LEAVES = "INSERT INTO proof_leaf (\"index\", kind, ref, hash, data) VALUES (?, 'journal-head', ?, ?, ?)"
TILES = "INSERT INTO proof_tile VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET data = excluded.data"


def leaf_bytes(index: int) -> bytes:
    """Return the bytes of one leaf, as long as a journal head's."""
    head = hashlib.sha256(str(index).encode()).hexdigest()
    return json.dumps({"journal": f"bench-{index:030d}", "seq": index, "head": head}, separators=(",", ":")).encode()


def let_wait(database: Connection, indexes: Iterable[int]) -> None:
    """Put leaves where committing transactions leave them for the sequencer."""
    database.execute("BEGIN IMMEDIATE")
    database.executemany(WAITING, [(_ref(index), leaf_bytes(index), AT) for index in indexes])
    database.execute("COMMIT")


def log_size(database: Connection) -> int:
    """Return how many leaves the log has; 0 for one that has not begun."""
    row = database.execute("SELECT size FROM proof_log").fetchone()
    return int(row[0]) if row else 0


def grow(database: Connection, size: int) -> None:
    """Let a log that has begun have `size` leaves; nobody else may be appending."""
    while (have := log_size(database)) < size:
        _append(database, have, min(size, have + CHUNK_LEAVES))


def _append(database: Connection, have: int, size: int) -> None:
    def node(level: int, index: int) -> bytes:
        start = offset_of(level, index)
        return _tile(database, tile_of(level, index))[start : start + HASH_BYTES]

    frontier = Frontier.load(have, node)
    writer = TileWriter({place: _tile(database, place) for place in open_tiles(have)})
    rows = []
    for index in range(have, size):
        data = leaf_bytes(index)
        hashed = leaf_hash(data)
        writer.add(frontier.append(hashed))
        rows.append((index, _ref(index), hashed, data))
    database.execute("BEGIN IMMEDIATE")
    database.executemany(LEAVES, rows)
    database.executemany(TILES, [(level, index, bytes(data)) for (level, index), data in writer.tiles.items()])
    database.execute("UPDATE proof_log SET size = ?", (size,))
    database.execute("COMMIT")


def _tile(database: Connection, place: TilePlace) -> bytes:
    query = 'SELECT data FROM proof_tile WHERE level = ? AND "index" = ?'
    return bytes(database.execute(query, place).fetchone()[0])


def _ref(index: int) -> str:
    return f"bench:{index:08d}"
