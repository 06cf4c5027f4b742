"""Tables of field sync."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime


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
