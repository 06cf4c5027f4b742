"""Telemetry: compact readings, registry, rules, aggregates."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

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
    _add_registry()
    _add_aggregates()


def downgrade() -> None:
    """Take the revision back."""
    for table in ("tier_horizon", "stale_span", "live_hour", "aggregate"):
        op.drop_table(table)
    _drop_registry()
    _spell_readings_out()
    op.drop_column("sensor_progress", "newest")


def _add_registry() -> None:
    op.create_table(
        "device_type",
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("title_zh", sa.String(length=200), nullable=False),
        sa.Column("title_en", sa.String(length=200), nullable=False),
        sa.Column("channels", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_device_type")),
    )
    with op.batch_alter_table("sensor") as batch:
        batch.add_column(sa.Column("device_type", sa.String(length=64), nullable=True))
        batch.create_foreign_key(op.f("fk_sensor_device_type"), "device_type", ["device_type"], ["code"])
    _of_a_sensor(
        "sensor_period",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("starts_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("note", sa.String(length=500), nullable=False),
    )
    _of_a_sensor(
        "sensor_credential",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("digest", sa.String(length=200), nullable=False),
        sa.Column("nats_digest", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
    )
    _of_a_sensor(
        "sensor_command",
        sa.Column("name", sa.String(length=16), nullable=False),
        sa.Column("parameters", sa.JSON().with_variant(JSONB(), "postgresql"), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("asked_by", sa.String(length=64), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answer", sa.String(length=500), nullable=False),
    )
    op.create_index("ix_sensor_command_status_id", "sensor_command", ["status", "id"])
    op.create_table(
        "sensor_presence",
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("online", sa.Boolean(), nullable=False),
        sa.Column("since_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sensor_id"], ["sensor.id"], name=op.f("fk_sensor_presence_sensor_id")),
        sa.PrimaryKeyConstraint("sensor_id", name=op.f("pk_sensor_presence")),
    )
    op.create_table(
        "sequence_gap",
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("given_up_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sensor_id"], ["sensor.id"], name=op.f("fk_sequence_gap_sensor_id")),
        sa.PrimaryKeyConstraint("sensor_id", "first_seq", name=op.f("pk_sequence_gap")),
    )


def _add_aggregates() -> None:
    op.create_table(
        "aggregate",
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("factor", sa.SmallInteger(), nullable=False),
        sa.Column("tier", sa.SmallInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("mean", sa.Float(), nullable=True),
        sa.Column("low", sa.Float(), nullable=True),
        sa.Column("high", sa.Float(), nullable=True),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("valid", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("sensor_id", "factor", "tier", "at", name=op.f("pk_aggregate")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_aggregate_tier_at", "aggregate", ["tier", "at"])
    op.create_table(
        "live_hour",
        sa.Column("at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("at", name=op.f("pk_live_hour")),
    )
    op.create_table(
        "stale_span",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("tier", sa.SmallInteger(), nullable=False),
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stale_span")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_stale_span_tier_first", "stale_span", ["tier", "first"])
    op.create_table(
        "tier_horizon",
        sa.Column("tier", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("cleared_to", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tier", name=op.f("pk_tier_horizon")),
    )
    # what is stored already was never aggregated
    op.execute(
        "INSERT INTO stale_span (tier, sensor_id, first, last) "
        "SELECT 1, '', min(at), max(at) FROM reading HAVING count(*) > 0"
    )


def _drop_registry() -> None:
    for table in ("sequence_gap", "sensor_presence", "sensor_command", "sensor_credential", "sensor_period"):
        op.drop_table(table)
    with op.batch_alter_table("sensor") as batch:
        batch.drop_constraint(op.f("fk_sensor_device_type"), type_="foreignkey")
        batch.drop_column("device_type")
    op.drop_table("device_type")


def _of_a_sensor(table: str, *columns: sa.Column[Any]) -> None:
    """Create a table whose rows have an id and belong to a sensor."""
    op.create_table(
        table,
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("sensor_id", sa.String(length=64), nullable=False),
        *columns,
        sa.ForeignKeyConstraint(["sensor_id"], ["sensor.id"], name=op.f(f"fk_{table}_sensor_id")),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    op.create_index(op.f(f"ix_{table}_sensor_id"), table, ["sensor_id"])


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
