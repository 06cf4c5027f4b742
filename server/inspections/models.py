"""Tables of inspections: typed views of the synced records, for queries. The records stay the truth."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Date, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime


class Task(Base):
    """Work that was given to two officers."""

    __tablename__ = "task"
    __table_args__ = (Index(None, "status", "region"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    origin: Mapped[str] = mapped_column(String(8))
    lead: Mapped[str | None] = mapped_column(String(36), unique=True)
    """A lead becomes a task once."""
    entity: Mapped[str] = mapped_column(String(36), index=True)
    inspection: Mapped[str] = mapped_column(String(36))
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Inspection(Base):
    """One visit."""

    __tablename__ = "inspection"
    __table_args__ = (Index(None, "status", "check_after"), Index(None, "region"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str | None] = mapped_column(String(36), index=True)
    entity: Mapped[str | None] = mapped_column(String(36), index=True)
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    result: Mapped[str | None] = mapped_column(String(20))
    inspected_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    submitted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    behavior: Mapped[str | None] = mapped_column(String(36))
    check_after: Mapped[datetime] = mapped_column(UtcDateTime)
    """When closing is to be tried next."""
    blockers: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue)
    """What kept it from closing at the last try."""
    visit_reason: Mapped[str | None] = mapped_column(String(20))
    """Code of the table `visit_reason`; none: by plan."""
    marks: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue, default=list, server_default="[]")
    """Which limits on visits it broke, see `inspections.limits`."""
    excuse: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    """What a person at the desk said about that: code, reason, author, time."""
    noticed_on: Mapped[date | None] = mapped_column(Date)
    """When the firm's notice with its rating token was printed; the token itself is not kept."""


class VisitFiling(Base):
    """The plan of a visit (入企检查备案), filed before it."""

    __tablename__ = "visit_filing"
    __table_args__ = (Index(None, "region", "filed_at"),)

    inspection: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(36))
    entity: Mapped[str] = mapped_column(String(36), index=True)
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    reason: Mapped[str] = mapped_column(String(20))
    """Code of the table `visit_reason`."""
    visit_from: Mapped[datetime] = mapped_column(UtcDateTime)
    visit_until: Mapped[datetime] = mapped_column(UtcDateTime)
    filed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    """When the platform had it."""


class Rectification(Base):
    """An order to put something right, as its synced record says, and how far the loop has got."""

    __tablename__ = "rectification"
    __table_args__ = (Index(None, "state", "deadline"), Index(None, "region"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    inspection: Mapped[str | None] = mapped_column(String(36), index=True)
    entity: Mapped[str | None] = mapped_column(String(36), index=True)
    answer: Mapped[str | None] = mapped_column(String(36))
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    requirement: Mapped[str | None] = mapped_column(Text)
    """None while it is in conflict."""
    deadline: Mapped[datetime | None] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(12))
    """See `inspections.lifecycles`."""
    outcome: Mapped[str | None] = mapped_column(String(16))
    """What the re-check found; none while officers disagree."""
    task: Mapped[str | None] = mapped_column(String(36), index=True)
    """The task for the re-check."""
    recheck: Mapped[str | None] = mapped_column(String(36), index=True)
    """The inspection opened for the re-check."""
    proceeding: Mapped[str | None] = mapped_column(String(36))
    """The penalty that followed."""
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    overdue_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was noticed that the deadline had passed without a report."""
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
