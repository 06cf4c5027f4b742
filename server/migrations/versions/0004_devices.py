"""Keys, officers and clocks of devices."""

import sqlalchemy as sa
from alembic import op

from server.db.base import JsonValue, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COUNTS = ("pending_files", "sealed_acts")
OPTIONAL = (
    ("revoked_at", UtcDateTime()),
    ("wipe_ordered_at", UtcDateTime()),
    ("wiped_at", UtcDateTime()),
    ("wipe_report", JsonValue),
    ("client", JsonValue),
    ("boot", sa.String(36)),
    ("boot_exchange_ms", sa.BigInteger()),
    ("wall_zero_ms", sa.BigInteger()),
)


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("device") as batch:
        batch.add_column(sa.Column("key_number", sa.Integer(), server_default="1", nullable=False))
        batch.add_column(sa.Column("shared_with", JsonValue, server_default="[]", nullable=False))
        for name in COUNTS:
            batch.add_column(sa.Column(name, sa.Integer(), server_default="0", nullable=False))
        for name, kind in OPTIONAL:
            batch.add_column(sa.Column(name, kind, nullable=True))
    # When a device was revoked before, nothing says: from now on its acts are quarantined.
    op.execute("UPDATE device SET revoked_at = CURRENT_TIMESTAMP WHERE status = 'revoked'")
    with op.batch_alter_table("segment_signature") as batch:
        batch.add_column(sa.Column("clocks", JsonValue, server_default="[]", nullable=False))
    op.create_table(
        "former_key",
        sa.Column("device", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("replaced_at", UtcDateTime(), nullable=False),
        sa.Column("heads", JsonValue, nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("signature", sa.String(128), nullable=False),
        sa.Column("proof", sa.String(128), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_former_key_device_device")),
        sa.PrimaryKeyConstraint("device", "number", name=op.f("pk_former_key")),
        sa.UniqueConstraint("public_key", name=op.f("uq_former_key_public_key")),
    )
    op.create_table(
        "device_boot",
        sa.Column("device", sa.String(36), nullable=False),
        sa.Column("boot", sa.String(36), nullable=False),
        sa.Column("first_heard_at", UtcDateTime(), nullable=False),
        sa.Column("sent_mono_ms", sa.BigInteger(), nullable=True),
        sa.Column("server_ms", sa.BigInteger(), nullable=True),
        sa.Column("received_mono_ms", sa.BigInteger(), nullable=True),
        sa.Column("wall_off_ms", sa.BigInteger(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("largest_step_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_device_boot_device_device")),
        sa.PrimaryKeyConstraint("device", "boot", name=op.f("pk_device_boot")),
    )


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("device_boot")
    op.drop_table("former_key")
    with op.batch_alter_table("segment_signature") as batch:
        batch.drop_column("clocks")
    with op.batch_alter_table("device") as batch:
        for name in ("key_number", "shared_with", *COUNTS, *(name for name, _ in OPTIONAL)):
            batch.drop_column(name)
