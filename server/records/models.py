"""Tables of the synced records.

The feed is the table of records itself, ordered by `position`: a record moves to the end when it changes, so a reader
sees each at its newest place, and compaction has nothing to do.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, ForeignKeyConstraint, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime

PART, WAITING = text("parent IS NOT NULL"), text("waiting_for IS NOT NULL")
"""What the indexes of columns that are mostly empty hold."""


class ServerState(Base):
    """One row: the server's epoch and its counters. Updated last in every transaction that feeds."""

    __tablename__ = "server_state"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    epoch: Mapped[str] = mapped_column(String(36))
    position: Mapped[int] = mapped_column(BigInteger)
    office_seq: Mapped[int] = mapped_column(BigInteger)
    erasures: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """Records whose personal data was lawfully erased; 0: no arriving act need be looked at for that."""
    leaves_expired_to: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    """Position up to which leaves may have been forgotten: a cursor before it ends with a comparison of digests."""


SHARED = text("NOT assigned")
"""Records that are assigned to nobody: few among many, and read alone for first syncs and digests."""


class SyncedRecord(Base):
    """The merged state of one record."""

    __tablename__ = "synced_record"
    __table_args__ = (
        Index(None, "position", unique=True),
        Index(None, "parent", sqlite_where=PART, postgresql_where=PART),
        Index(None, "kind", "region"),
        Index("ix_synced_record_shared", "position", sqlite_where=text("assigned = 0"), postgresql_where=SHARED),
    )

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger)
    region: Mapped[str] = mapped_column(String(9))
    """Division code; empty: for every region."""
    department: Mapped[str] = mapped_column(String(32))
    """Department code; empty: for every department."""
    assigned: Mapped[bool] = mapped_column(Boolean)
    """Whether only its assignees see it."""
    parent: Mapped[str | None] = mapped_column(String(36))
    """Id of the inspection it belongs to, if it belongs to one."""
    deleted: Mapped[bool] = mapped_column(Boolean)
    conflict_fields: Mapped[list[str]] = mapped_column(JsonValue)
    line: Mapped[bytes] = mapped_column(LargeBinary)
    """The record as it is served, without the line feed."""


class RecordAssignee(Base):
    """Who a record is assigned to. A former assignee stays, inactive: acts written before the change still land."""

    __tablename__ = "record_assignee"
    __table_args__ = (
        ForeignKeyConstraint(["kind", "id"], ["synced_record.kind", "synced_record.id"]),
        Index(None, "officer"),
    )

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    officer: Mapped[str] = mapped_column(String(36), primary_key=True)
    active: Mapped[bool] = mapped_column(Boolean)


class RecordLeave(Base):
    """A record left a scope at a position: whoever could see it as it was placed before is told, unless it is back."""

    __tablename__ = "record_leave"
    __table_args__ = (Index(None, "kind", "id"), Index(None, "at"))

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """The record's position in the feed when it left."""
    officer: Mapped[str] = mapped_column(String(36), primary_key=True)
    """A former assignee; empty when the record was not assigned to anyone before."""
    kind: Mapped[str] = mapped_column(String(32))
    id: Mapped[str] = mapped_column(String(36))
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Act(Base):
    """One act, as the bytes that arrived; office acts carry the epoch as their journal."""

    __tablename__ = "act"
    __table_args__ = (
        Index(None, "kind", "record"),
        Index(None, "waiting_for", sqlite_where=WAITING, postgresql_where=WAITING),
        Index(None, "journal", "status_position"),
        Index(None, "status"),
    )

    journal: Mapped[str] = mapped_column(String(36), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    hash: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(64))
    record: Mapped[str] = mapped_column(String(64))
    device: Mapped[str | None] = mapped_column(String(36))
    author: Mapped[str] = mapped_column(String(64))
    """Officer id, or account id for office acts."""
    header: Mapped[bytes] = mapped_column(LargeBinary)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    personal: Mapped[bytes] = mapped_column(LargeBinary)
    received_at: Mapped[datetime] = mapped_column(UtcDateTime)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    """Corrected time of the act, stamped once at acceptance."""
    verdict: Mapped[str] = mapped_column(String(12))
    """The first verdict; never changes."""
    status: Mapped[str] = mapped_column(String(12))
    """What became of it since; rises, never falls, and resolutions leave it."""
    status_position: Mapped[int] = mapped_column(BigInteger)
    """Feed position at which the status last changed."""
    waiting_for: Mapped[str | None] = mapped_column(String(64))
    """What a held act waits for: a dot, or a record as `kind/id`."""
    problem: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    receipt: Mapped[bytes] = mapped_column(LargeBinary)
    """The stored receipt; empty for office acts."""


class Conflict(Base):
    """A field that people must decide."""

    __tablename__ = "conflict"
    __table_args__ = (Index(None, "status", "region"), Index(None, "kind", "record", "field"))

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    record: Mapped[str] = mapped_column(String(36))
    field: Mapped[str] = mapped_column(String(64))
    region: Mapped[str] = mapped_column(String(9))
    department: Mapped[str] = mapped_column(String(32))
    opened_at: Mapped[datetime] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(12))
    """open; decided (by a person); dissolved (the sides' own later acts agree); reverted (a decision was undone)."""
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(Text)
    decision: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    """`{"dot": the decision's dot, "value": what was decided, "sides": [the sides as they stood]}`."""
    held: Mapped[str | None] = mapped_column(String(64))
    """Dot of an act that waited too long for its cause: its value is one side, although it is in no record yet."""
    reverted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reverted_by: Mapped[str | None] = mapped_column(String(64))
    revert_reason: Mapped[str | None] = mapped_column(Text)
    follows: Mapped[str | None] = mapped_column(String(36))
    """The conflict whose decision was undone; this one opened instead."""
    restated: Mapped[dict[str, str] | None] = mapped_column(JsonValue)
    """For each side that the office wrote again when it undid a decision: the dot of the act that it repeats."""
