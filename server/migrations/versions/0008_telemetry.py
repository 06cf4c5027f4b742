"""Telemetry: registry, rules, aggregates."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    with op.batch_alter_table("reading", table_kwargs={"sqlite_with_rowid": False}) as batch:
        batch.drop_constraint(op.f("fk_reading_sensor_id"), type_="foreignkey")
    op.add_column("sensor_progress", sa.Column("newest", sa.Text(), server_default="{}", nullable=False))


def downgrade() -> None:
    """Take the revision back."""
    op.drop_column("sensor_progress", "newest")
    with op.batch_alter_table("reading", table_kwargs={"sqlite_with_rowid": False}) as batch:
        batch.create_foreign_key(op.f("fk_reading_sensor_id"), "sensor", ["sensor_id"], ["id"])
