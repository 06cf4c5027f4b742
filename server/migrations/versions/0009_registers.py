"""The base registers: grades, merges and search of entities; officers' scope and avoidance; sectors; draws."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from server.entities.models import DROP_SEARCH, MAKE_SEARCH

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """Apply the revision."""
    for name, length, default in (
        ("entity_type", 2, "01"), ("sector", 32, ""), ("status", 8, "active"), ("risk", 1, "B"), ("credit", 1, "B"),
    ):  # fmt: skip
        op.add_column("entity", sa.Column(name, sa.String(length), nullable=False, server_default=default))
    op.add_column("entity", sa.Column("merged_into", sa.String(36), nullable=True))
    op.create_index(op.f("ix_entity_merged_into"), "entity", ["merged_into"])
    op.create_table(
        "entity_grade",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("entity", sa.String(36), nullable=False),
        sa.Column("kind", sa.String(8), nullable=False),
        sa.Column("before", sa.String(1), nullable=False),
        sa.Column("grade", sa.String(1), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["entity"], ["entity.id"], name=op.f("fk_entity_grade_entity")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_entity_grade")),
    )
    op.create_index(op.f("ix_entity_grade_entity"), "entity_grade", ["entity"])
    for statement in MAKE_SEARCH[op.get_bind().dialect.name]:
        op.execute(statement)
    op.add_column("supervision_item", sa.Column("sector", sa.String(32), nullable=False, server_default=""))
    op.add_column(
        "officer",
        sa.Column(
            "certificate_valid_from", sa.DateTime(timezone=True), nullable=False, server_default="1970-01-01 00:00:00"
        ),
    )
    op.add_column("officer", sa.Column("scope", JSON, nullable=False, server_default="[]"))
    op.create_table(
        "officer_avoidance",
        sa.Column("officer", sa.String(36), nullable=False),
        sa.Column("other", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["officer"], ["officer.id"], name=op.f("fk_officer_avoidance_officer")),
        sa.PrimaryKeyConstraint("officer", "other", name=op.f("pk_officer_avoidance")),
    )
    op.create_index(op.f("ix_officer_avoidance_other"), "officer_avoidance", ["other"])


def downgrade() -> None:
    """Take the revision back."""
    op.drop_table("officer_avoidance")
    for table, columns in (
        ("officer", ("scope", "certificate_valid_from")),
        ("supervision_item", ("sector",)),
    ):
        for column in columns:
            op.drop_column(table, column)
    for statement in DROP_SEARCH[op.get_bind().dialect.name]:
        op.execute(statement)
    op.drop_table("entity_grade")
    op.drop_index(op.f("ix_entity_merged_into"), "entity")
    for column in ("merged_into", "credit", "risk", "status", "sector", "entity_type"):
        op.drop_column("entity", column)
