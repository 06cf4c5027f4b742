"""Decisions, history and erasure."""

import sqlalchemy as sa
from alembic import op

from server.db.base import JsonValue, UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

CONFLICT_COLUMNS = (
    ("held", sa.String(64)),
    ("reverted_at", UtcDateTime()),
    ("reverted_by", sa.String(64)),
    ("revert_reason", sa.Text()),
    ("follows", sa.String(36)),
    ("restated", JsonValue),
)
TABLES = ("erasure_notice", "erased_act", "erased_record", "erasure_order", "overdue_act", "act_ruling")


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("conflict") as batch:
        for name, kind in CONFLICT_COLUMNS:
            batch.add_column(sa.Column(name, kind, nullable=True))
    with op.batch_alter_table("behavior") as batch:
        batch.add_column(sa.Column("personal", sa.LargeBinary(), nullable=True))
        batch.add_column(sa.Column("erased_by", sa.String(36), nullable=True))
    with op.batch_alter_table("server_state") as batch:
        batch.add_column(sa.Column("erasures", sa.BigInteger(), server_default="0", nullable=False))
    op.create_table(
        "act_ruling",
        sa.Column("journal", sa.String(36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("ruling", sa.String(12), nullable=False),
        sa.Column("ruled_by", sa.String(64), nullable=False),
        sa.Column("ruled_at", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("mended_by", sa.String(64), nullable=True),
        sa.PrimaryKeyConstraint("journal", "seq", name=op.f("pk_act_ruling")),
    )
    op.create_table(
        "overdue_act",
        sa.Column("journal", sa.String(36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("overdue_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("journal", "seq", name=op.f("pk_overdue_act")),
    )
    _create_erasure()


def _create_erasure() -> None:
    op.create_table(
        "erasure_order",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("basis", sa.String(200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("records", JsonValue, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("requested_by", sa.String(64), nullable=False),
        sa.Column("requested_at", UtcDateTime(), nullable=False),
        sa.Column("decided_by", sa.String(64), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("executed_at", UtcDateTime(), nullable=True),
        sa.Column("shredded_at", UtcDateTime(), nullable=True),
        sa.Column("acts", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasure_order")),
    )
    op.create_index(op.f("ix_erasure_order_status"), "erasure_order", ["status"])
    op.create_table(
        "erased_record",
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("record", sa.String(64), nullable=False),
        sa.Column("order", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("kind", "record", name=op.f("pk_erased_record")),
    )
    op.create_table(
        "erased_act",
        sa.Column("journal", sa.String(36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("order", sa.String(36), nullable=False),
        sa.Column("fields", JsonValue, nullable=False),
        sa.PrimaryKeyConstraint("journal", "seq", name=op.f("pk_erased_act")),
    )
    op.create_index(op.f("ix_erased_act_order"), "erased_act", ["order"])
    op.create_table(
        "erasure_notice",
        sa.Column("device", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("record", sa.String(64), nullable=False),
        sa.Column("order", sa.String(36), nullable=False),
        sa.Column("acknowledged_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["device"], ["device.id"], name=op.f("fk_erasure_notice_device_device")),
        sa.PrimaryKeyConstraint("device", "kind", "record", name=op.f("pk_erasure_notice")),
    )
    op.create_index(op.f("ix_erasure_notice_order"), "erasure_notice", ["order"])


def downgrade() -> None:
    """Take the revision back."""
    for table in TABLES:
        op.drop_table(table)
    with op.batch_alter_table("behavior") as batch:
        batch.drop_column("erased_by")
        batch.drop_column("personal")
    with op.batch_alter_table("server_state") as batch:
        batch.drop_column("erasures")
    with op.batch_alter_table("conflict") as batch:
        for name, _ in CONFLICT_COLUMNS:
            batch.drop_column(name)
