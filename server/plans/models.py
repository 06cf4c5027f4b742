"""Tables of plans, their batches, the published files piece by piece, the drawn visits and the substitutions."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Boolean, Date, ForeignKey, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime


class DrawPlan(Base):
    """A plan for a year or a quarter: what a department inspects by lot, and by which rules."""

    __tablename__ = "draw_plan"
    __table_args__ = (Index(None, "region", "department"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[str] = mapped_column(String(32), unique=True)
    title: Mapped[str] = mapped_column(String(200))
    year: Mapped[int] = mapped_column(Integer)
    quarter: Mapped[int | None] = mapped_column(Integer)
    """1 to 4; none: the whole year."""
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    joint: Mapped[list[str]] = mapped_column(JsonValue)
    """Names of the departments that go along (联合抽查); the officers drawn are those of `department`."""
    item: Mapped[str] = mapped_column(String(36))
    sector: Mapped[str] = mapped_column(String(32))
    rules: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    """Strata, tickets by credit grade, frequency cap, officers, slack and capacity: see `plans.rules`."""
    state: Mapped[str] = mapped_column(String(12))
    author: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    approver: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(1000))


class DrawBatch(Base):
    """One draw of a plan, from its announcement to the publication of its results."""

    __tablename__ = "draw_batch"
    __table_args__ = (UniqueConstraint("plan", "number"), Index(None, "state"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    plan: Mapped[str] = mapped_column(ForeignKey("draw_plan.id"))
    number: Mapped[int] = mapped_column(Integer)
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(12))
    checklist: Mapped[str] = mapped_column(String(36))
    """The version announced; the tasks go by the version in force when they are given out."""
    visits_from: Mapped[date] = mapped_column(Date)
    visits_until: Mapped[date] = mapped_column(Date)
    announcement: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    announcement_sha256: Mapped[str] = mapped_column(String(64))
    """Of the file's first line."""
    announced_at: Mapped[datetime] = mapped_column(UtcDateTime)
    draw_not_before: Mapped[datetime] = mapped_column(UtcDateTime)
    secret: Mapped[str] = mapped_column(String(64))
    """Shown to nobody before the draw."""
    beacon_value: Mapped[str] = mapped_column(String(256))
    drawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    summary: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    file_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of the whole file, with the substitutions so far."""
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    author: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(1000))
    """Why it was withdrawn."""


class DrawFilePart(Base):
    """A piece of a batch's published file: whole lines of one section, compressed."""

    __tablename__ = "draw_file_part"

    batch: Mapped[str] = mapped_column(ForeignKey("draw_batch.id"), primary_key=True)
    section: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Place of the section in the file, from 0."""
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    first: Mapped[str] = mapped_column(String(36))
    """First column of its first line: rosters are in order of id, so that one line is found without reading all."""
    data: Mapped[bytes] = mapped_column(LargeBinary)


class DrawnVisit(Base):
    """An entity that was drawn, with the officers drawn for it, its task and its result."""

    __tablename__ = "drawn_visit"
    __table_args__ = (UniqueConstraint("batch", "entity"), Index(None, "state", "fault"), Index(None, "due_on"))

    batch: Mapped[str] = mapped_column(ForeignKey("draw_batch.id"), primary_key=True)
    place: Mapped[int] = mapped_column(Integer, primary_key=True)
    """Place in the order of the draw, from 0."""
    entity: Mapped[str] = mapped_column(String(36), index=True)
    stratum: Mapped[str] = mapped_column(String(64))
    officers: Mapped[list[str]] = mapped_column(JsonValue)
    """Who goes now; empty when too few may."""
    unable: Mapped[dict[str, str]] = mapped_column(JsonValue)
    """Officers who cannot do this visit, and why."""
    state: Mapped[str] = mapped_column(String(12))
    fault: Mapped[str | None] = mapped_column(String(500))
    """Why it could not be given out."""
    task: Mapped[str | None] = mapped_column(String(36), index=True)
    inspection: Mapped[str | None] = mapped_column(String(36), index=True)
    result: Mapped[str | None] = mapped_column(String(4))
    """Code of the table `double_random_result`."""
    reason: Mapped[str] = mapped_column(String(1000))
    """Why there is a result without a visit."""
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    due_on: Mapped[date | None] = mapped_column(Date)
    """By when the result must be published."""
    provisional: Mapped[bool] = mapped_column(Boolean)
    """The deadline crosses a year whose holidays were not known."""
    overdue_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class OfficerSubstitution(Base):
    """A line behind the file of a draw: officers who became unable, and who was drawn in their place."""

    __tablename__ = "officer_substitution"

    batch: Mapped[str] = mapped_column(ForeignKey("draw_batch.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    place: Mapped[int] = mapped_column(Integer)
    before: Mapped[list[str]] = mapped_column(JsonValue)
    line: Mapped[bytes] = mapped_column(LargeBinary)
    """The line as it is published."""
    actor: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
