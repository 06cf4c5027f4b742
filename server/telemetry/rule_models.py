"""Tables of rules: versions, what they remember, the episodes they found, and the hours they are to look at."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime, UtcMicros

ID_CHARS = 64
CODE_CHARS = 64
DETAIL_CHARS = 500


class RuleVersion(Base):
    """One version of a rule: draft → active → superseded. Once active it never changes: a new version is added."""

    __tablename__ = "rule_version"
    __table_args__ = (UniqueConstraint("code", "version"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    code: Mapped[str] = mapped_column(String(CODE_CHARS))
    version: Mapped[int] = mapped_column(Integer)
    factor: Mapped[str] = mapped_column(String(CODE_CHARS))
    unit: Mapped[str] = mapped_column(String(CODE_CHARS))
    threshold: Mapped[float] = mapped_column(Float)
    clear_level: Mapped[float] = mapped_column(Float)
    window_hours: Mapped[float] = mapped_column(Float)
    min_valid_hours: Mapped[float] = mapped_column(Float)
    max_silence_hours: Mapped[float] = mapped_column(Float)
    measure: Mapped[str] = mapped_column(String(16), default="level", server_default="level")
    """What of the data is compared with the threshold: a key of `rules.MEASURES`."""
    category: Mapped[str] = mapped_column(String(16), default="breach", server_default="breach")
    """What its leads suspect: a key of `rules.CATEGORIES`."""
    settings: Mapped[dict[str, Any]] = mapped_column(JsonValue, default=dict, server_default="{}")
    """What else the measure needs, by the names of `rules.Rule`; what is left out is usual."""
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(64))
    entity_id: Mapped[str] = mapped_column(String(36), default="", server_default="")
    """One entity, or empty: every one."""
    effective_from: Mapped[datetime | None] = mapped_column(UtcDateTime)
    effective_to: Mapped[datetime | None] = mapped_column(UtcDateTime)
    title_zh: Mapped[str] = mapped_column(String(200))
    title_en: Mapped[str] = mapped_column(String(200))
    basis: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(16), default="active", server_default="active")
    author: Mapped[str] = mapped_column(String(64), default="system", server_default="system")
    reason: Mapped[str] = mapped_column(String(DETAIL_CHARS), default="", server_default="")
    """Why this version was written."""
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """By whom and when it was put in force; null while it is a draft, and for built-in rules."""
    decision: Mapped[str] = mapped_column(String(DETAIL_CHARS), default="", server_default="")
    """Why it was put in force, ended or discarded."""
    preview: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    """What the last back-test of the draft found: {"since", "until", "sensors", "episodes", "at"}."""


class RuleState(Base):
    """What a rule remembers of one sensor between batches."""

    __tablename__ = "rule_state"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own form

    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"), primary_key=True)
    """First in the key: a batch asks for all of its sensors' states, which lie together."""
    rule_id: Mapped[str] = mapped_column(String(36), ForeignKey("rule_version.id"), primary_key=True)
    state: Mapped[str] = mapped_column(Text)
    """JSON, see `rules.state_to_json`."""


class StoredEpisode(Base):
    """A confirmed episode of sustained exceedance; exactly one lead is opened for each."""

    __tablename__ = "episode"
    __table_args__ = (Index("ix_episode_rule_sensor", "rule_id", "sensor_id", "started_at"),)

    key: Mapped[str] = mapped_column(String(160), primary_key=True)
    rule_id: Mapped[str] = mapped_column(String(36), ForeignKey("rule_version.id"))
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS), ForeignKey("sensor.id"))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    confirmed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    peak: Mapped[float] = mapped_column(Float)
    means: Mapped[list[list[Any]]] = mapped_column(JsonValue)
    """The valid means on which it was confirmed: [time, value]."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it turned out that the data, as they are now, do not support it; null while it stands."""


class JudgingSpan(Base):
    """Hours that the rules of the worker are to look at (again). Rows are only added and removed."""

    __tablename__ = "judging_span"
    __table_args__ = (Index("ix_judging_span_first", "first"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    rule_id: Mapped[str] = mapped_column(String(36))
    """Empty: every rule."""
    sensor_id: Mapped[str] = mapped_column(String(ID_CHARS))
    """Empty: every sensor."""
    first: Mapped[datetime] = mapped_column(UtcMicros)
    last: Mapped[datetime] = mapped_column(UtcMicros)
    """Included."""


class JudgedTo(Base):
    """How far the worker's rules have come. One row."""

    __tablename__ = "judged_to"

    name: Mapped[str] = mapped_column(String(16), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcMicros)
    """Before this hour, the silence of sensors has been looked at."""
    turn: Mapped[int] = mapped_column(BigInteger, default=0)
    """Raised by every step: one that finds another number than it began with was overtaken."""
