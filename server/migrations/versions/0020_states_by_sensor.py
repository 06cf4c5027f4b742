"""What is known of a sensor lies together, in the order of sensors: its progress, and what its rules remember."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("rule_state", "state", type_=sa.Text(), postgresql_using="state::text")
        _change_key("sensor_id", "rule_id")
        return
    _make_states("sensor_id", "rule_id", state=sa.Text(), rowid=False)
    _make_progress(rowid=False)


def downgrade() -> None:
    """Undo the revision."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("rule_state", "state", type_=sa.dialects.postgresql.JSONB(), postgresql_using="state::jsonb")
        _change_key("rule_id", "sensor_id")
        return
    _make_states("rule_id", "sensor_id", state=sa.JSON(), rowid=True)
    _make_progress(rowid=True)


def _change_key(*columns: str) -> None:
    op.drop_constraint("pk_rule_state", "rule_state")
    op.create_primary_key("pk_rule_state", "rule_state", list(columns))


def _make_states(*key: str, state: sa.Text | sa.JSON, rowid: bool) -> None:
    """Make the rules' memory anew with the key's columns in this order."""
    lengths = {"rule_id": 36, "sensor_id": 64}
    op.create_table(
        "new_rule_state",
        *(sa.Column(name, sa.String(length=lengths[name]), nullable=False) for name in key),
        sa.Column("state", state, nullable=False),
        sa.ForeignKeyConstraint(["rule_id"], ["rule_version.id"], name=op.f("fk_rule_state_rule_id")),
        sa.ForeignKeyConstraint(["sensor_id"], ["sensor.id"], name=op.f("fk_rule_state_sensor_id")),
        sa.PrimaryKeyConstraint(*key, name=op.f("pk_rule_state")),
        sqlite_with_rowid=rowid,
    )
    _move("rule_state", "rule_id, sensor_id, state", ", ".join(key))


def _make_progress(*, rowid: bool) -> None:
    op.create_table(
        "new_sensor_progress",
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("complete_seq", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("newest", sa.Text(), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["sensor_id"], ["sensor.id"], name=op.f("fk_sensor_progress_sensor_id")),
        sa.PrimaryKeyConstraint("sensor_id", name=op.f("pk_sensor_progress")),
        sqlite_with_rowid=rowid,
    )
    _move("sensor_progress", "sensor_id, complete_seq, held, skipped, last_seen_at, newest", "sensor_id")


def _move(table: str, columns: str, order: str) -> None:
    """Put a new table with all rows of the old one in its place."""
    op.execute(f"INSERT INTO new_{table} ({columns}) SELECT {columns} FROM {table} ORDER BY {order}")  # noqa: S608
    op.drop_table(table)
    op.rename_table(f"new_{table}", table)
