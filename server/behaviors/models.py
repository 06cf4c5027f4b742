"""Tables of supervision behaviors, whose rows are only ever added, and of what leads to them and follows from them."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import Boolean, Date, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime


class Behavior(Base):
    """One version of a supervision behavior."""

    __tablename__ = "behavior"
    __table_args__ = (Index(None, "region", "created_at"), Index(None, "status"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    number: Mapped[str] = mapped_column(String(64), index=True)
    status: Mapped[str] = mapped_column(String(12))
    """current, or superseded by a later version."""
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    entity: Mapped[str | None] = mapped_column(String(36), index=True)
    inspection: Mapped[str | None] = mapped_column(String(36), index=True)
    result: Mapped[str] = mapped_column(String(32))
    inspected_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    line: Mapped[bytes] = mapped_column(LargeBinary)
    """The content as it is served and hashed: compact JSON with a salt and the national fields but personal ones."""
    personal: Mapped[bytes | None] = mapped_column(LargeBinary)
    """The personal fields, with a salt of their own; none for firms, and none once they were erased."""
    erased_by: Mapped[str | None] = mapped_column(String(36))
    """The order by which they were erased."""
    leaf: Mapped[bytes] = mapped_column(LargeBinary)
    """What the proof log holds of this version."""


class Proceeding(Base):
    """A penalty, coercion or other behavior on its way: from its draft until it is closed or withdrawn.

    Its id becomes the behavior's. Until it is issued its content is written here, and afterwards in the versions of the
    behavior alone.
    """

    __tablename__ = "proceeding"
    __table_args__ = (Index(None, "state", "region"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    revision: Mapped[int] = mapped_column(Integer)
    """Rises with each change: a change names the one it was made upon."""
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    entity: Mapped[str | None] = mapped_column(String(36), index=True)
    inspection: Mapped[str | None] = mapped_column(String(36), index=True)
    inspection_number: Mapped[str] = mapped_column(String(64))
    rectification: Mapped[str | None] = mapped_column(String(36), index=True)
    """The order that was not met, where one led to this."""
    content: Mapped[dict[str, Any]] = mapped_column(JsonValue)
    author: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProceedingStep(Base):
    """One step of a proceeding; rows are only ever added."""

    __tablename__ = "proceeding_step"

    proceeding: Mapped[str] = mapped_column(ForeignKey("proceeding.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    action: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(String(16))
    actor: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(1000))
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    version: Mapped[int | None] = mapped_column(Integer)
    """The version of the behavior that the step wrote."""


class LegalReview(Base):
    """One round of legal review of a major decision (重大执法决定法制审核)."""

    __tablename__ = "legal_review"

    proceeding: Mapped[str] = mapped_column(ForeignKey("proceeding.id"), primary_key=True)
    round: Mapped[int] = mapped_column(Integer, primary_key=True)
    criteria: Mapped[list[str]] = mapped_column(JsonValue)
    """Codes of the criteria that the decision meets."""
    content_sha256: Mapped[str] = mapped_column(String(64))
    """Of the content that was put before the reviewer."""
    requested_by: Mapped[str] = mapped_column(String(64))
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reviewer: Mapped[str | None] = mapped_column(String(64))
    certificate_number: Mapped[str | None] = mapped_column(String(64))
    """Of the reviewer's qualification, as it was then."""
    opinion: Mapped[str | None] = mapped_column(String(2))
    """Code of the table `review_opinion`."""
    reason: Mapped[str | None] = mapped_column(String(1000))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class LegalReviewer(Base):
    """An account whose holder is qualified to review decisions."""

    __tablename__ = "legal_reviewer"

    account: Mapped[str] = mapped_column(ForeignKey("account.id"), primary_key=True)
    certificate_number: Mapped[str] = mapped_column(String(64), unique=True)
    valid_until: Mapped[datetime] = mapped_column(UtcDateTime)
    author: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class ProcessRecording(Base):
    """A piece of verified evidence that shows a scene of a proceeding (执法全过程记录)."""

    __tablename__ = "process_recording"

    proceeding: Mapped[str] = mapped_column(ForeignKey("proceeding.id"), primary_key=True)
    scene: Mapped[str] = mapped_column(String(32), primary_key=True)
    evidence: Mapped[str] = mapped_column(String(36), primary_key=True)
    author: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Publication(Base):
    """By when a behavior must be published, and whether it is."""

    __tablename__ = "publication"
    __table_args__ = (Index(None, "state", "due_on"),)

    behavior: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    number: Mapped[str] = mapped_column(String(64), unique=True)
    state: Mapped[str] = mapped_column(String(12))
    since: Mapped[date] = mapped_column(Date)
    """The day from which the working days are counted, in China."""
    due_on: Mapped[date] = mapped_column(Date)
    provisional: Mapped[bool] = mapped_column(Boolean)
    """The deadline crosses a year whose holidays were not known; it is counted anew once they are."""
    overdue_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When it was noticed that the deadline had passed."""
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    actor: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(1000))
