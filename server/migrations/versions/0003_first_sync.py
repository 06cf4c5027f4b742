"""Leaves: who is told that a record has left their scope, and how far those notes reach back; shared records alone."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "record_leave",
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("officer", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("region", sa.String(length=9), nullable=False),
        sa.Column("department", sa.String(length=32), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("position", "officer", name=op.f("pk_record_leave")),
    )
    op.create_index(op.f("ix_record_leave_kind_id"), "record_leave", ["kind", "id"])
    op.create_index(op.f("ix_record_leave_at"), "record_leave", ["at"])
    op.create_index(
        "ix_synced_record_shared",
        "synced_record",
        ["position"],
        sqlite_where=sa.text("assigned = 0"),
        postgresql_where=sa.text("NOT assigned"),
    )
    with op.batch_alter_table("server_state") as table:
        table.add_column(sa.Column("leaves_expired_to", sa.BigInteger(), server_default="0", nullable=False))


def downgrade() -> None:
    """Take the revision back."""
    with op.batch_alter_table("server_state") as table:
        table.drop_column("leaves_expired_to")
    op.drop_index("ix_synced_record_shared", table_name="synced_record")
    op.drop_index(op.f("ix_record_leave_at"), table_name="record_leave")
    op.drop_index(op.f("ix_record_leave_kind_id"), table_name="record_leave")
    op.drop_table("record_leave")
