"""Proof log: tiles, witnesses, time stamps."""

import sqlalchemy as sa
from alembic import op

from sync.merkle import Frontier
from sync.tiles import TILE_BYTES, TileWriter

CHUNK = 5_000
"""Leaves read at a time."""

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "proof_tile",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_proof_tile")),
    )
    _fill_tiles()
    op.drop_table("proof_node")
    op.create_table(
        "proof_timestamp",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("stamped_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("authority", sa.Text(), nullable=False),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["proof_head.size"], name=op.f("fk_proof_timestamp_size")),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_proof_timestamp")),
    )
    op.create_index(op.f("ix_proof_timestamp_stamped_at"), "proof_timestamp", ["stamped_at"])
    op.create_table(
        "proof_cosignature",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("at_s", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["size"], ["proof_head.size"], name=op.f("fk_proof_cosignature_size")),
        sa.PrimaryKeyConstraint("size", "name", "key_id", name=op.f("pk_proof_cosignature")),
    )


def _fill_tiles() -> None:
    """Append the hashes of all leaves again, in order; a tile is written and forgotten once it is full."""
    leaf = sa.table("proof_leaf", sa.column("index", sa.BigInteger), sa.column("hash", sa.LargeBinary))
    tile = sa.table(
        "proof_tile",
        sa.column("level", sa.Integer),
        sa.column("index", sa.BigInteger),
        sa.column("data", sa.LargeBinary),
    )
    connection = op.get_bind()
    frontier, writer, after = Frontier(), TileWriter({}), -1
    while True:
        query = sa.select(leaf.c.index, leaf.c.hash).where(leaf.c.index > after).order_by(leaf.c.index).limit(CHUNK)
        rows = connection.execute(query).all()
        for place, leaf_hash in rows:
            after = place
            writer.add(frontier.append(leaf_hash))
        done = [at for at, data in writer.tiles.items() if len(data) == TILE_BYTES or not rows]
        if done:
            values = [{"level": at[0], "index": at[1], "data": bytes(writer.tiles.pop(at))} for at in done]
            connection.execute(tile.insert(), values)
        if not rows:
            return


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("proof_cosignature")
    op.drop_table("proof_timestamp")
    op.create_table(
        "proof_node",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("index", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "index", name=op.f("pk_proof_node")),
    )
    op.drop_table("proof_tile")
