"""The table of leads."""

from datetime import datetime
from typing import Any

from sqlalchemy import Float, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime


class Lead(Base):
    """A suspicion that an officer must verify. What it was opened on never changes; its episode's course does."""

    __tablename__ = "lead"
    __table_args__ = (Index("ix_lead_status_id", "status", "id"),)

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
    """A status of `service.STATUSES`."""
    task_id: Mapped[str | None] = mapped_column(String(36))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    pushed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    category: Mapped[str] = mapped_column(String(16), default="breach", server_default="breach")
    """What is suspected: a key of `server.telemetry.rules.CATEGORIES`."""
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its episode turned out not to be supported by the data as they are now; null while it is."""
