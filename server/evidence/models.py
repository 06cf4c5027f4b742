"""Tables of evidence: declared records, uploads, stored blobs, chain of custody."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime

ID_CHARS = 36
HASH_CHARS = 64

# states of an upload
OPEN = "open"
RECEIVED = "received"
WAITING = "waiting"
STORED = "stored"
QUARANTINED = "quarantined"
LOST = "lost"
PART = "part"
"""A finished partial upload: it waits for the upload that puts its parts together."""
UNSETTLED = (RECEIVED, WAITING)
FINISHED = (RECEIVED, WAITING, STORED)

# statuses of evidence; `waiting` is also what a device is told of a finished upload that nothing declares yet
DECLARED = "declared"
VERIFIED = "verified"
REJECTED = "rejected"
ERASED = "erased"


class Evidence(Base):
    """One evidence record as its device declared it, and how far its bytes have got."""

    __tablename__ = "evidence"
    __table_args__ = (
        Index("ix_evidence_device_sha256", "device", "sha256"),
        Index("ix_evidence_sha256", "sha256"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    inspection: Mapped[str | None] = mapped_column(String(ID_CHARS), index=True)
    region: Mapped[str] = mapped_column(String(12))
    department: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(String(ID_CHARS))
    act_hash: Mapped[str] = mapped_column(String(HASH_CHARS))
    """The stored act that declares the hashes."""
    status: Mapped[str] = mapped_column(String(16))
    sha256: Mapped[str | None] = mapped_column(String(HASH_CHARS))
    sm3: Mapped[str | None] = mapped_column(String(HASH_CHARS))
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)
    media_type: Mapped[str | None] = mapped_column(String(100))
    captured_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    position: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    file_name: Mapped[str | None] = mapped_column(String(255))
    caption: Mapped[str | None] = mapped_column(Text)
    declared_at: Mapped[datetime] = mapped_column(UtcDateTime)
    verified_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    withdrawn_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    examined_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    derived_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its derivatives were made; null: they are due (once it is examined)."""
    closed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """When its inspection was closed: sealing and retention count from here."""
    sealed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    flags: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue, default=list)
    custody_count: Mapped[int] = mapped_column(default=0)
    custody_head: Mapped[str] = mapped_column(String(HASH_CHARS), default="")


Index(
    "ix_evidence_unexamined",
    Evidence.verified_at,
    sqlite_where=Evidence.examined_at.is_(None),
    postgresql_where=Evidence.examined_at.is_(None),
)


Index(
    "ix_evidence_underived",
    Evidence.examined_at,
    sqlite_where=Evidence.derived_at.is_(None),
    postgresql_where=Evidence.derived_at.is_(None),
)
Index(
    "ix_evidence_unsealed",
    Evidence.closed_at,
    sqlite_where=Evidence.sealed_at.is_(None),
    postgresql_where=Evidence.sealed_at.is_(None),
)


class Upload(Base):
    """One resumable upload of one device. `offset_bytes` counts only what is durable on disk.

    A partial upload has no record of its own: its `evidence` is empty.
    """

    __tablename__ = "evidence_uploads"
    __table_args__ = (
        Index("ix_evidence_uploads_device_state", "device", "state"),
        Index("ix_evidence_uploads_state_expires", "state", "expires_at"),
    )

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    device: Mapped[str] = mapped_column(String(ID_CHARS))
    evidence: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    state: Mapped[str] = mapped_column(String(16))
    length_bytes: Mapped[int] = mapped_column(BigInteger)
    offset_bytes: Mapped[int] = mapped_column(BigInteger)
    file_name: Mapped[str | None] = mapped_column(String(255))
    announced_sha256: Mapped[str | None] = mapped_column(String(HASH_CHARS))
    """What the upload's own metadata says; the declaration in the journal decides, not this."""
    concat: Mapped[str | None] = mapped_column(Text)
    """The `Upload-Concat` it was created with: `partial`, or `final;` and the ids of its parts."""
    sha256: Mapped[str | None] = mapped_column(String(HASH_CHARS))
    sm3: Mapped[str | None] = mapped_column(String(HASH_CHARS))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    received_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class Blob(Base):
    """One stored content, shared by every evidence record with these bytes."""

    __tablename__ = "evidence_blobs"

    sha256: Mapped[str] = mapped_column(String(HASH_CHARS), primary_key=True)
    sm3: Mapped[str] = mapped_column(String(HASH_CHARS))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    stored_at: Mapped[datetime] = mapped_column(UtcDateTime)
    facts: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    """What the examination found, in the JSON form of `facts.MediaFacts`; null until examined."""
    phash: Mapped[str | None] = mapped_column(String(16))
    """Perceptual hash of a picture."""
    doomed_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    """When the last record that used it was erased: its bytes are to be destroyed."""
    destroyed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PictureBand(Base):
    """A quarter of a picture's perceptual hash: pictures that differ in at most three bits share one."""

    __tablename__ = "evidence_picture_bands"

    band: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(String(HASH_CHARS), primary_key=True)


class Derivative(Base):
    """A thumbnail or watermarked copy of one record, kept in the store by its own hash; can be made again."""

    __tablename__ = "evidence_derivatives"

    evidence: Mapped[str] = mapped_column(ForeignKey("evidence.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(HASH_CHARS), index=True)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    made_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LegalHold(Base):
    """An order that nothing of an inspection's evidence may be destroyed, until it is lifted."""

    __tablename__ = "evidence_holds"

    id: Mapped[str] = mapped_column(String(ID_CHARS), primary_key=True)
    inspection: Mapped[str] = mapped_column(String(ID_CHARS), index=True)
    reason: Mapped[str] = mapped_column(Text)
    placed_by: Mapped[str] = mapped_column(String(64))
    placed_at: Mapped[datetime] = mapped_column(UtcDateTime)
    lifted_by: Mapped[str | None] = mapped_column(String(64))
    lifted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class CustodyEntry(Base):
    """One entry of a record's chain of custody; `body` is the exact bytes that were hashed."""

    __tablename__ = "evidence_custody"

    evidence: Mapped[str] = mapped_column(ForeignKey("evidence.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[str] = mapped_column(String(HASH_CHARS))
