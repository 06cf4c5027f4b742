"""Tables of field sync."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime


class Journal(Base):
    """A device's journal, as far as the server has it without a gap."""

    __tablename__ = "journal"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    device: Mapped[str] = mapped_column(ForeignKey("device.id"), index=True)
    head_seq: Mapped[int] = mapped_column(BigInteger)
    head_hash: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str | None] = mapped_column(String(36))
    """Journal it continues after a fork."""
    parent_seq: Mapped[int | None] = mapped_column(BigInteger)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SegmentSignature(Base):
    """The signature of a pushed segment: proof that the device vouched for its journal up to this act."""

    __tablename__ = "segment_signature"

    journal: Mapped[str] = mapped_column(ForeignKey("journal.id"), primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    first: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    statement: Mapped[str] = mapped_column(String(500))
    signature: Mapped[str] = mapped_column(String(128))
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    clocks: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue, default=list, server_default="[]")
    """How the times of its acts were corrected, for each boot: `{"boot", "basis", "offset_ms", "reference_ms",
    "error_ms"}`. Of several segments with an act, the one received first stamped it."""


class ActRuling(Base):
    """What a person did about a quarantined act. Its bytes stay; from here on nothing waits for it."""

    __tablename__ = "act_ruling"

    journal: Mapped[str] = mapped_column(String(36), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    ruling: Mapped[str] = mapped_column(String(12))
    """mended or dismissed."""
    ruled_by: Mapped[str] = mapped_column(String(64))
    ruled_at: Mapped[datetime] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text)
    mended_by: Mapped[str | None] = mapped_column(String(64))
    """Dot of the office act that says it right."""


class OverdueAct(Base):
    """A held act that has waited longer than it should; gone from here as soon as it waits no more."""

    __tablename__ = "overdue_act"

    journal: Mapped[str] = mapped_column(String(36), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    overdue_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ErasureOrder(Base):
    """An order to destroy what personal data is in some records: asked for by one person, approved by another."""

    __tablename__ = "erasure_order"
    __table_args__ = (Index(None, "status"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    basis: Mapped[str] = mapped_column(String(200))
    """Legal basis, as it is cited."""
    reason: Mapped[str] = mapped_column(Text)
    records: Mapped[list[list[str]]] = mapped_column(JsonValue)
    """[kind, id] of each record."""
    status: Mapped[str] = mapped_column(String(12))
    """requested; refused; approved; executed."""
    requested_by: Mapped[str] = mapped_column(String(64))
    requested_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(String(64))
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    executed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    shredded_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When the freed bytes were overwritten in the database's files."""
    acts: Mapped[int] = mapped_column(Integer)
    """Acts whose personal part was destroyed."""


class ErasedRecord(Base):
    """A record that holds no personal data any more, and takes none: what arrives later is destroyed on arrival."""

    __tablename__ = "erased_record"

    kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    record: Mapped[str] = mapped_column(String(64), primary_key=True)
    order: Mapped[str] = mapped_column(String(36))


class ErasedAct(Base):
    """An act whose personal part was destroyed, and which fields it had set: they read as null under its dot."""

    __tablename__ = "erased_act"
    __table_args__ = (Index(None, "order"),)

    journal: Mapped[str] = mapped_column(String(36), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    order: Mapped[str] = mapped_column(String(36))
    fields: Mapped[list[str]] = mapped_column(JsonValue)


class ErasureNotice(Base):
    """That a device is to destroy the personal parts of its own acts on a record; repeated until it says it has."""

    __tablename__ = "erasure_notice"

    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(64), primary_key=True)
    record: Mapped[str] = mapped_column(String(64), primary_key=True)
    order: Mapped[str] = mapped_column(String(36), index=True)
    acknowledged_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
