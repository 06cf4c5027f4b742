"""Filed visits, codes at doors, marks of broken limits, and ratings."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

JSON = sa.JSON().with_variant(JSONB(), "postgresql")
INSTANT = sa.DateTime(timezone=True)
COLUMNS = (
    ("visit_reason", sa.String(20), None),
    ("marks", JSON, "[]"),
    ("excuse", JSON, None),
    ("noticed_on", sa.Date(), None),
)  # fmt: skip


def upgrade() -> None:
    """Apply the revision."""
    for name, kind, default in COLUMNS:
        op.add_column("inspection", sa.Column(name, kind, nullable=default is None, server_default=default))
    op.create_table(
        "visit_filing",
        sa.Column("inspection", sa.String(36), nullable=False),
        sa.Column("task", sa.String(36), nullable=False),
        sa.Column("entity", sa.String(36), nullable=False),
        sa.Column("region", sa.String(9), nullable=False),
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(20), nullable=False),
        sa.Column("visit_from", INSTANT, nullable=False),
        sa.Column("visit_until", INSTANT, nullable=False),
        sa.Column("filed_at", INSTANT, nullable=False),
        sa.PrimaryKeyConstraint("inspection", name=op.f("pk_visit_filing")),
    )
    op.create_index(op.f("ix_visit_filing_entity"), "visit_filing", ["entity"])
    op.create_index(op.f("ix_visit_filing_region_filed_at"), "visit_filing", ["region", "filed_at"])
    op.create_table(
        "entity_door",
        sa.Column("entity", sa.String(36), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(64), nullable=False),
        sa.Column("issued_at", INSTANT, nullable=False),
        sa.ForeignKeyConstraint(["entity"], ["entity.id"], name=op.f("fk_entity_door_entity_entity")),
        sa.PrimaryKeyConstraint("entity", name=op.f("pk_entity_door")),
    )
    op.create_table(
        "spent_rating_token",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_spent_rating_token")),
    )
    op.create_table(
        "rating_count",
        sa.Column("department", sa.String(32), nullable=False),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("measure", sa.String(8), nullable=False),
        sa.Column("value", sa.String(20), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("department", "month", "measure", "value", name=op.f("pk_rating_count")),
    )
    _file_former_tasks()


def _file_former_tasks() -> None:
    """A task that was given out before counts as filed when it was made; reasons follow from where tasks come from."""
    op.execute(
        "INSERT INTO visit_filing (inspection, task, entity, region, department, reason, visit_from, visit_until, filed_at) "
        "SELECT inspection, min(id), min(entity), min(region), min(department), "
        "min(CASE origin WHEN 'lead' THEN '03' WHEN 'recheck' THEN '04' ELSE '01' END), "
        "min(created_at), max(due_at), min(created_at) FROM task GROUP BY inspection"
    )
    op.execute(
        "UPDATE inspection SET visit_reason = (SELECT CASE task.origin WHEN 'lead' THEN '03' ELSE '04' END FROM task "
        "WHERE task.id = inspection.task) WHERE task IN (SELECT id FROM task WHERE origin IN ('lead', 'recheck'))"
    )


def downgrade() -> None:
    """Undo the revision."""
    for table in ("rating_count", "spent_rating_token", "entity_door", "visit_filing"):
        op.drop_table(table)
    for name, _, _ in reversed(COLUMNS):
        op.drop_column("inspection", name)
