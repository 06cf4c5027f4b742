"""Plans of double-random inspection, their batches, files, visits and substitutions."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)
TABLES = ("officer_substitution", "drawn_visit", "draw_file_part", "draw_batch", "draw_plan")


def upgrade() -> None:
    """Apply the revision."""
    op.create_table(
        "draw_plan",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("number", sa.String(32), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("year", sa.Integer(), nullable=False),
        sa.Column("quarter", sa.Integer(), nullable=True),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("joint", JSON, nullable=False),
        sa.Column("item", sa.String(36), nullable=False),
        sa.Column("sector", sa.String(32), nullable=False),
        sa.Column("rules", JSON, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("created_at", INSTANT, nullable=False),
        sa.Column("approver", sa.String(64), nullable=True),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draw_plan")),
        sa.UniqueConstraint("number", name=op.f("uq_draw_plan_number")),
    )
    op.create_index(op.f("ix_draw_plan_region_department"), "draw_plan", ["region", "department"])
    _make_batches()
    _make_visits()


def _make_batches() -> None:
    op.create_table(
        "draw_batch",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("plan", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("checklist", sa.String(36), nullable=False),
        sa.Column("visits_from", sa.Date(), nullable=False),
        sa.Column("visits_until", sa.Date(), nullable=False),
        sa.Column("announcement", JSON, nullable=False),
        sa.Column("announcement_sha256", sa.String(64), nullable=False),
        sa.Column("announced_at", INSTANT, nullable=False),
        sa.Column("draw_not_before", INSTANT, nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("beacon_value", sa.String(256), nullable=False),
        sa.Column("drawn_at", INSTANT, nullable=True),
        sa.Column("summary", JSON, nullable=True),
        sa.Column("file_sha256", sa.String(64), nullable=True),
        sa.Column("published_at", INSTANT, nullable=True),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.ForeignKeyConstraint(["plan"], ["draw_plan.id"], name=op.f("fk_draw_batch_plan_draw_plan")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_draw_batch")),
        sa.UniqueConstraint("plan", "number", name=op.f("uq_draw_batch_plan_number")),
    )
    op.create_index(op.f("ix_draw_batch_state"), "draw_batch", ["state"])
    op.create_table(
        "draw_file_part",
        sa.Column("batch", sa.String(36), nullable=False),
        sa.Column("section", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("first", sa.String(36), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["draw_batch.id"], name=op.f("fk_draw_file_part_batch_draw_batch")),
        sa.PrimaryKeyConstraint("batch", "section", "number", name=op.f("pk_draw_file_part")),
    )


def _make_visits() -> None:
    op.create_table(
        "drawn_visit",
        sa.Column("batch", sa.String(36), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("entity", sa.String(36), nullable=False),
        sa.Column("stratum", sa.String(64), nullable=False),
        sa.Column("officers", JSON, nullable=False),
        sa.Column("unable", JSON, nullable=False),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("fault", sa.String(500), nullable=True),
        sa.Column("task", sa.String(36), nullable=True),
        sa.Column("inspection", sa.String(36), nullable=True),
        sa.Column("result", sa.String(4), nullable=True),
        sa.Column("reason", sa.String(1000), nullable=False),
        sa.Column("settled_at", INSTANT, nullable=True),
        sa.Column("due_on", sa.Date(), nullable=True),
        sa.Column("provisional", sa.Boolean(), nullable=False),
        sa.Column("overdue_at", INSTANT, nullable=True),
        sa.Column("published_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(["batch"], ["draw_batch.id"], name=op.f("fk_drawn_visit_batch_draw_batch")),
        sa.PrimaryKeyConstraint("batch", "place", name=op.f("pk_drawn_visit")),
        sa.UniqueConstraint("batch", "entity", name=op.f("uq_drawn_visit_batch_entity")),
    )
    for columns in (("entity",), ("task",), ("inspection",), ("due_on",), ("state", "fault")):
        op.create_index(op.f(f"ix_drawn_visit_{'_'.join(columns)}"), "drawn_visit", list(columns))
    op.create_table(
        "officer_substitution",
        sa.Column("batch", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("before", JSON, nullable=False),
        sa.Column("line", sa.LargeBinary(), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["draw_batch.id"], name=op.f("fk_officer_substitution_batch_draw_batch")),
        sa.PrimaryKeyConstraint("batch", "number", name=op.f("pk_officer_substitution")),
    )


def downgrade() -> None:
    """Undo the revision."""
    for name in TABLES:
        op.drop_table(name)
