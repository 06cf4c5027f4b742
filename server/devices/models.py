"""Tables of handhelds."""

from datetime import datetime

from sqlalchemy import ForeignKey, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, UtcDateTime


class Device(Base):
    """An enrolled handheld."""

    __tablename__ = "device"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    public_key: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """Raw Ed25519 public key, 32 bytes."""
    officer: Mapped[str] = mapped_column(ForeignKey("officer.id"))
    region: Mapped[str] = mapped_column(String(9), index=True)
    department: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(10))
    """pending, active or revoked."""
    enrolled_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(String(36))
    last_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_sync_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pending_acts: Mapped[int] = mapped_column(Integer)
    """Acts the device said it had still to push, at its last sync."""


class DeviceNonce(Base):
    """A nonce used in a device's sign-in; a signed request counts once."""

    __tablename__ = "device_nonce"

    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
