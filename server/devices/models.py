"""Tables of handhelds."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from server.db.base import Base, JsonValue, UtcDateTime


class Device(Base):
    """An enrolled handheld."""

    __tablename__ = "device"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    name: Mapped[str] = mapped_column(String(64))
    public_key: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    """Raw Ed25519 public key, 32 bytes; the one that is valid now."""
    key_number: Mapped[int] = mapped_column(Integer, default=1, server_default="1")
    """1 for the key of the enrolment, one more with each change."""
    officer: Mapped[str] = mapped_column(ForeignKey("officer.id"))
    """Who enrolled it."""
    shared_with: Mapped[list[str]] = mapped_column(JsonValue, default=list, server_default="[]")
    """Ids of further officers who work on it."""
    region: Mapped[str] = mapped_column(String(9), index=True)
    department: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(10))
    """pending, active, revoked, wiping (told to erase itself) or wiped (has said that it did)."""
    enrolled_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(String(36))
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    """Acts that arrive after this are quarantined; stays when the device is wiped."""
    wipe_ordered_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    wiped_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    wipe_report: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    """What the device said when it erased itself: `{"acts_lost", "files_lost", "signature", "key_number"}`."""
    last_seen_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_sync_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pending_acts: Mapped[int] = mapped_column(Integer)
    """Acts the device said it had still to push, when it was last heard of."""
    pending_files: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Evidence files it said it had still to upload."""
    sealed_acts: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    """Acts taken into quarantine since it was revoked."""
    client: Mapped[dict[str, Any] | None] = mapped_column(JsonValue)
    """What it announced at its last sign-in: `{"name", "version", "protocol", "kinds"}`."""
    boot: Mapped[str | None] = mapped_column(String(36))
    """The boot of its last segment; its row among the boots says more."""
    boot_exchange_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The server's time in the exchange that is kept for this boot."""
    wall_zero_ms: Mapped[int | None] = mapped_column(BigInteger)
    """What the wall clock said at the zero of the monotonic one: it changes only when someone sets the clock."""

    @property
    def officers(self) -> tuple[str, ...]:
        """Everyone who works on it, the one who enrolled it first."""
        return (self.officer, *self.shared_with)


class FormerKey(Base):
    """A key that a device has replaced, and the statement by which it did."""

    __tablename__ = "former_key"

    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    public_key: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    replaced_at: Mapped[datetime] = mapped_column(UtcDateTime)
    heads: Mapped[list[dict[str, Any]]] = mapped_column(JsonValue)
    """`{"journal", "seq", "hash"}`: the last act of each journal that this key still vouches for."""
    statement: Mapped[str] = mapped_column(Text)
    signature: Mapped[str] = mapped_column(String(128))
    """Over the statement, by this key."""
    proof: Mapped[str] = mapped_column(String(128))
    """Over the statement, by the key that follows."""


class DeviceBoot(Base):
    """One start of a device, as far as its clocks go; raw readings stay in the acts and segments themselves."""

    __tablename__ = "device_boot"

    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    boot: Mapped[str] = mapped_column(String(36), primary_key=True)
    first_heard_at: Mapped[datetime] = mapped_column(UtcDateTime)
    sent_mono_ms: Mapped[int | None] = mapped_column(BigInteger)
    server_ms: Mapped[int | None] = mapped_column(BigInteger)
    received_mono_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The exchange that ties its monotonic clock to the server's; null without one."""
    wall_off_ms: Mapped[int] = mapped_column(BigInteger)
    """How far the wall clock was ahead of the server's when first heard of (9 years: a clock set to 2035)."""
    steps: Mapped[int] = mapped_column(Integer)
    """How often the wall clock was set within this boot."""
    largest_step_ms: Mapped[int] = mapped_column(BigInteger)
    """The furthest it was moved at once; below zero: back."""


class DeviceNonce(Base):
    """A nonce used in a device's sign-in; a signed request counts once."""

    __tablename__ = "device_nonce"

    device: Mapped[str] = mapped_column(ForeignKey("device.id"), primary_key=True)
    nonce: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
