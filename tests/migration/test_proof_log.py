"""Migrating a proof log that was stored node by node."""

from pathlib import Path

from alembic import command
from sqlalchemy import text

from server.config import load_settings
from server.migrating import alembic_config
from server.runtime import build_runtime
from sync.merkle import HASH_BYTES, Frontier, leaf_hash, root_at
from sync.tiles import offset_of, tile_of

LEAVES = 600
INSERT = "INSERT INTO proof_leaf (\"index\", kind, ref, hash, data) VALUES (:i, 'evidence', :i, :h, '')"


def test_nodes_become_tiles(tmp_path: Path) -> None:
    """After the revision the tree read from the tiles is the tree of the stored leaves, and no node row is left."""
    rt = build_runtime(load_settings({"FIELDPROOF_HOME": str(tmp_path)}))
    frontier, rows = Frontier(), []
    for index in range(LEAVES):
        found = leaf_hash(b"%d" % index)
        frontier.append(found)
        rows.append({"i": index, "h": found})
    with rt.db.engine.connect() as connection:
        command.upgrade(alembic_config(connection), "0006")
        connection.execute(text(INSERT), rows)
        connection.commit()
        command.upgrade(alembic_config(connection), "0007")
        connection.commit()
        stored = connection.execute(text('SELECT level, "index", data FROM proof_tile'))
        tiles = {(level, index): data for level, index, data in stored}
    rt.db.dispose()

    def reader(level: int, index: int) -> bytes:
        start = offset_of(level, index)
        return bytes(tiles[tile_of(level, index)][start : start + HASH_BYTES])

    assert root_at(LEAVES, reader) == frontier.root()
