"""Tables of the proof log.

Rows of leaves and heads are only ever added, tiles only grow. Waiting leaves are a set without order of its own:
whatever has committed is visible to the sequencer, so a transaction that commits late is late, and never skipped.
"""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime

MAX_KIND_CHARS = 32
MAX_REF_CHARS = 128


class ProofLog(Base):
    """One row: the log's name and how many leaves it has. The sequencer locks it, and updates it last."""

    __tablename__ = "proof_log"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    origin: Mapped[str] = mapped_column(String(200))
    size: Mapped[int] = mapped_column(BigInteger)


class PendingLeaf(Base):
    """A leaf that has committed with its cause and has no place in the tree yet."""

    __tablename__ = "proof_pending"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(MAX_KIND_CHARS))
    ref: Mapped[str] = mapped_column(String(MAX_REF_CHARS))
    data: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class Leaf(Base):
    """One leaf: the exact bytes that are hashed, which hold commitments and pseudonymous ids only."""

    __tablename__ = "proof_leaf"
    __table_args__ = (Index(None, "kind", "ref"), Index(None, "kind", "index"))

    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(MAX_KIND_CHARS))
    ref: Mapped[str] = mapped_column(String(MAX_REF_CHARS))
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    """SHA-256(0x00 || data)."""
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Tile(Base):
    """A block of the tree's nodes, which only ever grows; see `sync.tiles`. Level 0 has the hashes of the leaves."""

    __tablename__ = "proof_tile"

    level: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    index: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Head(Base):
    """A signed tree head. Head times never run backwards, whatever the clock does."""

    __tablename__ = "proof_head"
    __table_args__ = (Index(None, "at_ms"),)

    size: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(LargeBinary)
    at_ms: Mapped[int] = mapped_column(BigInteger)
    """Unix time in milliseconds; part of what is signed."""
    key_id: Mapped[str] = mapped_column(String(8))
    """Hex id of the signing key, as in the checkpoint."""
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    """Ed25519 over the checkpoint's body."""
    verifier: Mapped[str] = mapped_column(Text)
    """The public key as a verifier line, so that heads of a former key stay checkable here."""


class Timestamp(Base):
    """What a time-stamping authority answered for a head (RFC 3161)."""

    __tablename__ = "proof_timestamp"

    size: Mapped[int] = mapped_column(ForeignKey("proof_head.size"), primary_key=True, autoincrement=False)
    stamped_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    """The time the authority states."""
    authority: Mapped[str] = mapped_column(Text)
    """Address it was asked at."""
    answer: Mapped[bytes] = mapped_column(LargeBinary)
    """DER of the TimeStampResp."""


class Cosignature(Base):
    """A witness's signature on a head."""

    __tablename__ = "proof_cosignature"

    size: Mapped[int] = mapped_column(ForeignKey("proof_head.size"), primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    signature: Mapped[bytes] = mapped_column(LargeBinary)
    """Eight bytes of time and the Ed25519 signature."""
    at_s: Mapped[int] = mapped_column(BigInteger)
    """Unix time in seconds, by the witness's clock; signed."""
