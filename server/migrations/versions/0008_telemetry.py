"""Telemetry: compact readings, registry, rules, aggregates."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

FACTORS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
FLAGS = "NFMSDCTB"
REASONS = ("missing", "flagged", "below-range", "above-range", "in-the-future", "too-old", "off-the-hour")


def upgrade() -> None:
    """Apply the revision."""
    op.add_column("sensor_progress", sa.Column("newest", sa.Text(), server_default="{}", nullable=False))
    _compact_readings()


def downgrade() -> None:
    """Take the revision back."""
    _spell_readings_out()
    op.drop_column("sensor_progress", "newest")


def _compact_readings() -> None:
    """Readings hold numbers instead of texts, and no longer refer to the sensor's row."""
    op.rename_table("reading", "old_reading")
    _free_the_key("old_reading")
    op.create_table(
        "reading",
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("factor", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("flag", sa.SmallInteger(), nullable=False),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.SmallInteger(), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("skew_ms", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("at", "sensor_id", "factor", "kind", name=op.f("pk_reading")),
        sqlite_with_rowid=False,
    )
    op.execute(
        f"INSERT INTO reading SELECT {_micros('at')}, sensor_id, {_number('factor', FACTORS)}, 1, value, "  # noqa: S608
        f"{_number('flag', FLAGS)}, valid, {_number('reason', REASONS)}, seq, {_micros('received_at')}, NULL FROM old_reading"
    )
    op.drop_table("old_reading")


def _spell_readings_out() -> None:
    op.rename_table("reading", "compact_reading")
    _free_the_key("compact_reading")
    op.create_table(
        "reading",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("factor", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("unit", sa.String(length=64), nullable=False),
        sa.Column("flag", sa.String(length=1), nullable=False),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sensor_id"], ["sensor.id"], name=op.f("fk_reading_sensor_id")),
        sa.PrimaryKeyConstraint("at", "sensor_id", "factor", "kind", name=op.f("pk_reading")),
        sqlite_with_rowid=False,
    )
    # what the earlier form cannot say is left out: other factors, other kinds, later reasons
    op.execute(
        f"INSERT INTO reading SELECT {_instant('at')}, sensor_id, {_code('factor', FACTORS)}, 'hour', value, 'ug/m3', "  # noqa: S608
        f"{_code('flag', FLAGS)}, valid, {_code('reason', REASONS)}, seq, {_instant('received_at')} "
        f"FROM compact_reading WHERE kind = 1 AND factor <= {len(FACTORS)} AND coalesce(reason, 1) <= {len(REASONS)}"
    )
    op.drop_table("compact_reading")


def _on_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"


def _free_the_key(table: str) -> None:
    """On PostgreSQL a renamed table's key keeps its name, which the new table needs."""
    if not _on_sqlite():
        op.execute(f"ALTER TABLE {table} RENAME CONSTRAINT pk_reading TO pk_{table}")


def _micros(column: str) -> str:
    if _on_sqlite():
        return f"CAST(strftime('%s', {column}) AS INTEGER) * 1000000 + CAST(substr({column}, 21, 6) AS INTEGER)"
    return f"CAST(round(extract(epoch from {column}) * 1000000) AS BIGINT)"


def _instant(column: str) -> str:
    if _on_sqlite():
        return f"strftime('%Y-%m-%d %H:%M:%S', {column} / 1000000, 'unixepoch') || printf('.%06d', {column} % 1000000)"
    return f"to_timestamp({column} / 1000000) + ({column} % 1000000) * interval '1 microsecond'"


def _number(column: str, codes: tuple[str, ...] | str) -> str:
    return f"CASE {column} " + " ".join(f"WHEN '{code}' THEN {number}" for number, code in enumerate(codes, 1)) + " END"


def _code(column: str, codes: tuple[str, ...] | str) -> str:
    return f"CASE {column} " + " ".join(f"WHEN {number} THEN '{code}'" for number, code in enumerate(codes, 1)) + " END"
