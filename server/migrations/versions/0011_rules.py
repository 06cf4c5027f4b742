"""Rules of off-site supervision: measures, life cycle, hours to look at again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

DURATIONS = ("window_hours", "min_valid_hours", "max_silence_hours")
JSON = sa.JSON().with_variant(JSONB(), "postgresql")
ADDED = (
    "measure",
    "category",
    "settings",
    "entity_id",
    "status",
    "author",
    "reason",
    "decided_by",
    "decided_at",
    "decision",
)


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("rule_version") as batch:
        for name in DURATIONS:
            batch.alter_column(name, existing_type=sa.Integer(), type_=sa.Float(), existing_nullable=False)
        batch.add_column(sa.Column("measure", sa.String(length=16), server_default="level", nullable=False))
        batch.add_column(sa.Column("category", sa.String(length=16), server_default="breach", nullable=False))
        batch.add_column(sa.Column("settings", JSON, server_default="{}", nullable=False))
        batch.add_column(sa.Column("entity_id", sa.String(length=36), server_default="", nullable=False))
        batch.add_column(sa.Column("status", sa.String(length=16), server_default="active", nullable=False))
        batch.add_column(sa.Column("author", sa.String(length=64), server_default="system", nullable=False))
        batch.add_column(sa.Column("reason", sa.String(length=500), server_default="", nullable=False))
        batch.add_column(sa.Column("decided_by", sa.String(length=64), nullable=True))
        batch.add_column(sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True))
        batch.add_column(sa.Column("decision", sa.String(length=500), server_default="", nullable=False))
        batch.add_column(sa.Column("preview", JSON, nullable=True))
    op.add_column("episode", sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("lead") as batch:
        batch.add_column(sa.Column("category", sa.String(length=16), server_default="breach", nullable=False))
        batch.add_column(sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "judging_span",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rule_id", sa.String(length=36), nullable=False),
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judging_span")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_judging_span_first", "judging_span", ["first"], unique=False)
    op.create_table(
        "judged_to",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_judged_to")),
    )


def downgrade() -> None:
    """Take the revision back; rules that only this one can hold go, with their states and episodes."""
    op.drop_table("judged_to")
    op.drop_table("judging_span")
    gone = "SELECT id FROM rule_version WHERE measure <> 'level' OR status = 'draft' OR entity_id <> ''"
    for table in ("rule_state", "episode"):
        op.execute(f"DELETE FROM {table} WHERE rule_id IN ({gone})")  # noqa: S608 - fixed names
    op.execute("DELETE FROM rule_version WHERE measure <> 'level' OR status = 'draft' OR entity_id <> ''")
    with op.batch_alter_table("lead") as batch:
        batch.drop_column("withdrawn_at")
        batch.drop_column("category")
    op.drop_column("episode", "withdrawn_at")
    with op.batch_alter_table("rule_version") as batch:
        for name in reversed(ADDED):
            batch.drop_column(name)
        for name in DURATIONS:
            batch.alter_column(name, existing_type=sa.Float(), type_=sa.Integer(), existing_nullable=False)
