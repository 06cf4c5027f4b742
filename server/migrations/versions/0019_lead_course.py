"""The course of leads: deadlines, escalation, outcome, the sealed extract, and every step."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply the revision; leads that are under way are due at once, so that somebody looks at them."""
    for column in _columns():
        op.add_column("lead", column)
    op.create_index(op.f("ix_lead_escalate_at"), "lead", ["escalate_at"])
    op.create_index(op.f("ix_lead_rule_code_rule_version"), "lead", ["rule_code", "rule_version"])
    op.create_table(
        "lead_step",
        sa.Column("lead_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        sa.Column("target", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("noted_at", INSTANT, nullable=False),
        sa.Column("due_at", INSTANT, nullable=True),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("detail", JSON, nullable=False),
        sa.ForeignKeyConstraint(["lead_id"], ["lead.id"], name=op.f("fk_lead_step_lead_id_lead")),
        sa.PrimaryKeyConstraint("lead_id", "number", name=op.f("pk_lead_step")),
    )
    op.execute("UPDATE lead SET outcome = status WHERE status IN ('confirmed', 'refuted', 'partly')")
    since = "COALESCE(pushed_at, created_at)"
    op.execute(f"UPDATE lead SET due_at = {since}, escalate_at = {since} WHERE status <> 'closed'")  # noqa: S608 - fixed


def downgrade() -> None:
    """Undo the revision."""
    op.drop_table("lead_step")
    op.drop_index(op.f("ix_lead_rule_code_rule_version"), "lead")
    op.drop_index(op.f("ix_lead_escalate_at"), "lead")
    for column in reversed(_columns()):
        op.drop_column("lead", column.name)


def _columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("disposal", sa.String(16), nullable=True),
        sa.Column("behavior_id", sa.String(36), nullable=True),
        sa.Column("due_at", INSTANT, nullable=True),
        sa.Column("escalate_at", INSTANT, nullable=True),
        sa.Column("escalation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("held_up", sa.String(500), server_default="", nullable=False),
        sa.Column("extract_id", sa.String(36), nullable=True),
        sa.Column("extract_sha256", sa.String(64), nullable=True),
        sa.Column("extract_sm3", sa.String(64), nullable=True),
        sa.Column("extract_size_bytes", sa.BigInteger(), nullable=True),
    )
