"""Tables of telemetry.

Readings are keyed by time first, so that rows arrive at the end of the key and pages fill, and hold numbers instead of
texts: a row takes some forty bytes, and storing one a microsecond.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    DDL,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    event,
)
from sqlalchemy.orm import Mapped, mapped_column

from schemas.telemetry import FACTOR_NUMBERS, FLAG_NUMBERS, KIND_NUMBERS, REASON_NUMBERS, TIER_NUMBERS
from server.db.base import Base, CodeNumber, JsonValue, UtcDateTime, UtcMicros
from server.telemetry.rule_models import CODE_CHARS, ID_CHARS
from server.telemetry.rule_models import DETAIL_CHARS as DETAIL_CHARS
from server.telemetry.rule_models import JudgedTo as JudgedTo
from server.telemetry.rule_models import JudgingSpan as JudgingSpan
from server.telemetry.rule_models import RuleState as RuleState
from server.telemetry.rule_models import RuleVersion as RuleVersion
from server.telemetry.rule_models import StoredEpisode as StoredEpisode

REASON_CHARS = 32
TOPIC_CHARS = 512


class Sensor(Base):
    """A registered sensor at a regulated entity; its MQTT user may publish on its own topic only."""

    __tablename__ = "sensor"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    entity_id: Mapped[str] = mapped_column(String(36), index=True)
    region: Mapped[str] = mapped_column(String(9), index=True)
    department: Mapped[str] = mapped_column(String(64))
    lat: Mapped[float] = mapped_column(Float)
    lon: Mapped[float] = mapped_column(Float)
    datum: Mapped[str] = mapped_column(String(16))
    channels: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    """Factor → {"low", "high"}: what the sensor measures, and within which range it is believed."""
    mqtt_user: Mapped[str] = mapped_column(String(ID_CHARS), unique=True)
    device_type: Mapped[str | None] = mapped_column(String(CODE_CHARS), ForeignKey("device_type.code"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class DeviceType(Base):
    """A type of sensor: what its channels measure."""

    __tablename__ = "device_type"

    code: Mapped[str] = mapped_column(String(CODE_CHARS), primary_key=True)
    title_zh: Mapped[str] = mapped_column(String(200))
    title_en: Mapped[str] = mapped_column(String(200))
    channels: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    """Factor → {"low", "high", "unit", "precision", "interval_s"}; what a channel leaves out is the factor's usual."""


class SensorPeriod(Base):
    """A time in which nothing a sensor says counts: it is calibrated, maintained, or not in service."""

    __tablename__ = "sensor_period"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    """A key of `registry.PERIODS`."""
    starts_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Not included; null while it lasts."""
    note: Mapped[str] = mapped_column(String(DETAIL_CHARS))


class SensorCredential(Base):
    """How a sensor proves to the broker who it is: a token (kept as digests only) or a client certificate."""

    __tablename__ = "sensor_credential"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    """`token` or `certificate`."""
    digest: Mapped[str] = mapped_column(String(200))
    """Of a token: PBKDF2 as mosquitto's password file has it; of a certificate: the SHA-256 of its DER form."""
    nats_digest: Mapped[str] = mapped_column(String(200))
    """Of a token: bcrypt, as NATS takes it; empty for a certificate."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class SensorPresence(Base):
    """Whether a sensor is connected to its broker, as its own words and its last will say."""

    __tablename__ = "sensor_presence"

    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), primary_key=True)
    online: Mapped[bool] = mapped_column(Boolean)
    since_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SensorCommand(Base):
    """Something asked of a sensor over the broker, and what it answered."""

    __tablename__ = "sensor_command"
    __table_args__ = (Index("ix_sensor_command_status_id", "status", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), index=True)
    name: Mapped[str] = mapped_column(String(16))
    """`set-interval` or `history`."""
    parameters: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    status: Mapped[str] = mapped_column(String(16))
    """asked → sent → done, refused or expired."""
    asked_by: Mapped[str] = mapped_column(String(64))
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    answered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    answer: Mapped[str] = mapped_column(String(DETAIL_CHARS))


class SequenceGap(Base):
    """Missing numbers of a sensor: its messages from `first_seq` to `last_seq` were given up and never came."""

    __tablename__ = "sequence_gap"

    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), primary_key=True)
    first_seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    last_seq: Mapped[int] = mapped_column(BigInteger)
    given_up_at: Mapped[datetime] = mapped_column(UtcDateTime)


class StoredReading(Base):
    """One reading, valid or not: exactly one row for each sensor, factor, data time and kind."""

    __tablename__ = "reading"
    __table_args__ = ({"sqlite_with_rowid": False, "postgresql_partition_by": 'RANGE ("at")'},)

    at: Mapped[datetime] = mapped_column(UtcMicros, primary_key=True)
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    """No reference: it would be looked up for every row, and sensors are never deleted."""
    factor: Mapped[str] = mapped_column(CodeNumber(FACTOR_NUMBERS), primary_key=True)
    kind: Mapped[str] = mapped_column(CodeNumber(KIND_NUMBERS), primary_key=True)
    value: Mapped[float | None] = mapped_column(Float)
    """In the factor's unit."""
    flag: Mapped[str] = mapped_column(CodeNumber(FLAG_NUMBERS))
    valid: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str | None] = mapped_column(CodeNumber(REASON_NUMBERS))
    """Why it is invalid; null when valid."""
    seq: Mapped[int] = mapped_column(BigInteger)
    """Number of the first message, in the sensor's own order, that said it."""
    received_at: Mapped[datetime] = mapped_column(UtcMicros)
    skew_ms: Mapped[int | None] = mapped_column(Integer)
    """By how much the sensor's clock lay behind ours when it sent this, if it said so; the data time is kept raw."""


OTHER_MONTHS = "reading_other"
"""The partition of readings whose month has none of its own (`partitions`)."""
event.listen(
    StoredReading.__table__,
    "after_create",
    DDL(f"CREATE TABLE {OTHER_MONTHS} PARTITION OF reading DEFAULT").execute_if(dialect="postgresql"),  # type: ignore[no-untyped-call]
)


class StoredAggregate(Base):
    """What a sensor's readings of one minute, hour or day come to (`averaging`)."""

    __tablename__ = "aggregate"
    __table_args__ = (Index("ix_aggregate_tier_at", "tier", "at"), {"sqlite_with_rowid": False})

    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    factor: Mapped[str] = mapped_column(CodeNumber(FACTOR_NUMBERS), primary_key=True)
    tier: Mapped[str] = mapped_column(CodeNumber(TIER_NUMBERS), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcMicros, primary_key=True)
    """When the period began."""
    mean: Mapped[float | None] = mapped_column(Float)
    low: Mapped[float | None] = mapped_column(Float)
    high: Mapped[float | None] = mapped_column(Float)
    """Null, all three, if nothing in the period was valid."""
    share: Mapped[float] = mapped_column(Float)
    """Which part of the period valid data stand for, 0 to 1."""
    valid: Mapped[bool] = mapped_column(Boolean)
    """Whether that is enough."""


class LiveHour(Base):
    """An hour that readings are still coming for; it is aggregated when it is over."""

    __tablename__ = "live_hour"

    at: Mapped[datetime] = mapped_column(UtcMicros, primary_key=True)


class StaleSpan(Base):
    """Data times whose aggregates are not, or no longer, what the readings say. Rows are only added and removed."""

    __tablename__ = "stale_span"
    __table_args__ = (Index("ix_stale_span_tier_first", "tier", "first"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    tier: Mapped[str] = mapped_column(CodeNumber(TIER_NUMBERS))
    """`hour` stands for its minutes too."""
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS))
    """Empty: every sensor."""
    first: Mapped[datetime] = mapped_column(UtcMicros)
    last: Mapped[datetime] = mapped_column(UtcMicros)
    """Included."""


class TierHorizon(Base):
    """How far a tier was cleared away: rows of data times before `cleared_to` are gone; what lies before is final."""

    __tablename__ = "tier_horizon"

    tier: Mapped[str] = mapped_column(CodeNumber(TIER_NUMBERS), primary_key=True)
    cleared_to: Mapped[datetime] = mapped_column(UtcMicros)


class SensorProgress(Base):
    """How far a sensor's messages are complete: rules run over the gap-free beginning only."""

    __tablename__ = "sensor_progress"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own form

    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), primary_key=True)
    complete_seq: Mapped[int] = mapped_column(BigInteger)
    """Every message up to this one has been taken in (or was given up as a gap)."""
    held: Mapped[int] = mapped_column(Integer)
    """How many of its messages wait in `held_message`."""
    skipped: Mapped[int] = mapped_column(BigInteger)
    """Messages given up as gaps."""
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    newest: Mapped[str] = mapped_column(Text, default="{}", server_default="{}")
    """JSON, channel → the newest data time stored; whatever is newer cannot be stored yet (`ordinary`)."""


class HeldMessage(Base):
    """A message taken in while an earlier one of its sensor is missing: stored, but not yet judged by rules."""

    __tablename__ = "held_message"

    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    held_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    keys: Mapped[list[list[str]]] = mapped_column(JsonValue)
    """Keys of its readings: [data time, factor, kind]."""


class DeadLetter(Base):
    """Something received that is no stored reading: kept with its reason, for a person and for replay."""

    __tablename__ = "dead_letter"
    __table_args__ = (Index("ix_dead_letter_status_id", "status", "id"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    identity: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 of what was said: a redelivery makes no second row."""
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    topic: Mapped[str] = mapped_column(String(TOPIC_CHARS))
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    """The sensor the topic names; empty when it names none. No reference: the sensor may be unknown."""
    seq: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(String(REASON_CHARS))
    detail: Mapped[str] = mapped_column(String(DETAIL_CHARS))
    factor: Mapped[str] = mapped_column(String(CODE_CHARS))
    time: Mapped[str] = mapped_column(String(CODE_CHARS))
    readings: Mapped[int] = mapped_column(Integer)
    """For how many readings it stands; an unreadable message counts as one."""
    whole: Mapped[bool] = mapped_column(Boolean)
    """Whether the payload is a whole message or one reading of it."""
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    status: Mapped[str] = mapped_column(String(16))
    """open → requested (a person asked for a replay) → replayed, or open again with the new reason."""
    replayed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class IngestCounter(Base):
    """A running total, raised in the transaction that it counts."""

    __tablename__ = "ingest_counter"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
