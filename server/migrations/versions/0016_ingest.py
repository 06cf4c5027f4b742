"""Readings lie in partitions on PostgreSQL, one for each month of data time."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply the revision."""
    if op.get_bind().dialect.name != "postgresql":
        return
    _replace('PARTITION BY RANGE ("at")', "CREATE TABLE reading_other PARTITION OF reading DEFAULT")


def downgrade() -> None:
    """Undo the revision."""
    if op.get_bind().dialect.name == "postgresql":
        _replace("")


def _replace(how: str, *then: str) -> None:
    """Make the table of readings anew in another way, and move all rows."""
    op.execute("ALTER TABLE reading RENAME TO old_reading")
    op.execute("ALTER TABLE old_reading DROP CONSTRAINT pk_reading")
    op.execute(f"CREATE TABLE reading (LIKE old_reading INCLUDING DEFAULTS) {how}")
    op.execute('ALTER TABLE reading ADD CONSTRAINT pk_reading PRIMARY KEY ("at", sensor_id, factor, kind)')
    for statement in then:
        op.execute(statement)
    op.execute("INSERT INTO reading SELECT * FROM old_reading")
    op.execute("DROP TABLE old_reading")
