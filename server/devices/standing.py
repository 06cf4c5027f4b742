"""What a device may do now. An active one syncs; one that was revoked, is to be wiped or is too old only hands in.

Handing in is one right with its own tokens: push, ask after one's acts, upload their evidence, say that one is wiped.
Nothing that officers wrote is lost by taking the rest away.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.orm import Session

from server.devices.models import Device
from server.errors import Problem
from server.web.auth import HAND_IN, Principal, region_prefix

MAX_SEALED_ACTS = 10_000
"""Acts that a revoked device may hand in to quarantine."""
HANDING_IN = ("active", "revoked", "wiping")
"""Statuses of devices that may hand in."""


def load_principal(session: Session, subject: str) -> Principal:
    """Return the caller that an active device is.

    Raises:
        Problem: `unauthenticated` if it is not active (any more).
    """
    device = session.get(Device, subject)
    if device is None or device.status != "active":
        raise Problem("unauthenticated", detail="this device is not active")
    return _principal(device)


def load_handing_in(session: Session, subject: str) -> Principal:
    """Return the caller that a device is which may only hand in.

    Raises:
        Problem: `unauthenticated` if it may not even do that.
    """
    device = session.get(Device, subject)
    if device is None or device.status not in HANDING_IN:
        raise Problem("unauthenticated", detail="this device may not hand in anything any more")
    return replace(_principal(device), role=HAND_IN, restriction=restriction(device) or "client-too-old")


def load_author(session: Session, device_id: str, received_at: datetime | None = None) -> Principal:
    """Return the caller that a device was when an act of it arrived, whatever has become of it since.

    Raises:
        Problem: `device-revoked` if the act came after the revocation (only where `received_at` is given).
    """
    device = session.get_one(Device, device_id)
    if received_at is not None and device.revoked_at is not None and received_at >= device.revoked_at:
        raise revoked_problem()
    return _principal(device)


def lock_for_push(session: Session, caller: Principal) -> Device:
    """Return the pushing device, locked, if it still may push: revoking it waits for this push, or stops it.

    Raises:
        Problem: `unauthenticated`.
    """
    device = session.get(Device, caller.subject, with_for_update=True, populate_existing=True)
    allowed = HANDING_IN if caller.role == HAND_IN else ("active",)
    if device is None or device.status not in allowed:
        raise Problem("unauthenticated", detail="this device may not push any more")
    return device


def restriction(device: Device) -> str | None:
    """Return the code of the problem that keeps a device from syncing; None when it may sync."""
    if device.revoked_at is not None:
        return "device-revoked"
    return "device-wiping" if device.status == "wiping" else None


def revoked_problem() -> Problem:
    """Return the problem of acts that a revoked device hands in."""
    return Problem("device-revoked", detail="handed in after the device was revoked; the office decides on it")


def seal(device: Device, count: int) -> None:
    """Count acts that a revoked device hands in.

    Raises:
        Problem: `limit-exceeded`.
    """
    if device.sealed_acts + count > MAX_SEALED_ACTS:
        raise Problem("limit-exceeded", detail="a revoked device has handed in too much", limit=MAX_SEALED_ACTS)
    device.sealed_acts += count


def _principal(device: Device) -> Principal:
    return Principal(
        device.id, "device", region_prefix(device.region), device.department, device.officers, device.id
    )  # fmt: skip
