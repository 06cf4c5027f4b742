"""Tables of leads and of the steps of their course."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime

HELD_UP_CHARS = 500
REASON_CHARS = 1_000


class Lead(Base):
    """A suspicion that an officer must verify. What it was opened on never changes; its episode's course does."""

    __tablename__ = "lead"
    __table_args__ = (
        Index("ix_lead_status_id", "status", "id"),
        Index(None, "escalate_at"),
        Index(None, "rule_code", "rule_version"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    source: Mapped[str] = mapped_column(String(16))
    """Where the suspicion comes from; so far always `telemetry`."""
    episode_key: Mapped[str] = mapped_column(String(160), unique=True)
    """Names the episode for ever: one lead each."""
    sensor_id: Mapped[str] = mapped_column(String(64), index=True)
    entity_id: Mapped[str] = mapped_column(String(36), index=True)
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(64))
    rule_code: Mapped[str] = mapped_column(String(64))
    rule_version: Mapped[int] = mapped_column(Integer)
    factor: Mapped[str] = mapped_column(String(64))
    unit: Mapped[str] = mapped_column(String(64))
    threshold: Mapped[float] = mapped_column(Float)
    title_zh: Mapped[str] = mapped_column(String(300))
    title_en: Mapped[str] = mapped_column(String(300))
    explanation_zh: Mapped[str] = mapped_column(String(1000))
    explanation_en: Mapped[str] = mapped_column(String(1000))
    extract: Mapped[list[list[Any]]] = mapped_column(JsonValue)
    """The valid means it was opened on: [data time, value]."""
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    confirmed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    peak: Mapped[float] = mapped_column(Float)
    status: Mapped[str] = mapped_column(String(16))
    """A state of `lifecycle.LEAD`."""
    task_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    pushed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    category: Mapped[str] = mapped_column(String(16), default="breach", server_default="breach")
    """What is suspected: a key of `server.telemetry.rules.CATEGORIES`."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its episode turned out not to be supported by the data as they are now; null while it is."""
    outcome: Mapped[str | None] = mapped_column(String(16))
    """What verifying came to: one of `lifecycle.OUTCOMES`."""
    disposal: Mapped[str | None] = mapped_column(String(16))
    """Code of the table `lead_disposal`."""
    behavior_id: Mapped[str | None] = mapped_column(String(36))
    """The supervision behavior that it became."""
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the next step is due; null when none is."""
    escalate_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it rises a level if nothing happens until then; null when it cannot rise."""
    escalation: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """How far it has risen in its present state: a key of `lifecycle.LEVELS`, or 0."""
    held_up: Mapped[str] = mapped_column(String(HELD_UP_CHARS), default="", server_default="")
    """Why the platform could not take its own next step at the last try; empty: nothing is in the way."""
    extract_id: Mapped[str | None] = mapped_column(String(36))
    """The evidence record that its readings are sealed in."""
    extract_sha256: Mapped[str | None] = mapped_column(String(64))
    extract_sm3: Mapped[str | None] = mapped_column(String(64))
    extract_size_bytes: Mapped[int | None] = mapped_column(BigInteger)


class LeadStep(Base):
    """One step of a lead's course: what, who, and when. Rows are only ever added."""

    __tablename__ = "lead_step"

    lead_id: Mapped[str] = mapped_column(String(36), ForeignKey("lead.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    action: Mapped[str] = mapped_column(String(16))
    """An action of `lifecycle.LEAD`, or `open` or `escalate`."""
    source: Mapped[str] = mapped_column(String(16))
    """The state before; empty for the first step."""
    target: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(64))
    """Officer or account id, or `system`."""
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When it was done: on the handheld, by its corrected clock."""
    noted_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the platform learned of it."""
    due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was due; null when it was not."""
    reason: Mapped[str] = mapped_column(String(REASON_CHARS))
    detail: Mapped[dict[str, Any]] = mapped_column(JsonValue)
