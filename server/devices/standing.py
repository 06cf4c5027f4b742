"""What a device may do now. An active one syncs; one that was revoked, is to be wiped or is too old only hands in.

Handing in is one right with its own tokens: push, ask after one's acts, upload their evidence, say that one is wiped.
Nothing that officers wrote is lost by taking the rest away.
"""

from dataclasses import replace
from datetime import datetime
from typing import NamedTuple, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from server.db.prepared import Prepared
from server.devices.models import Device
from server.devices.negotiation import too_old
from server.errors import Problem
from server.web.auth import HAND_IN
from server.web.principal import Principal, region_prefix

MAX_SEALED_ACTS = 10_000
"""Acts that a revoked device may hand in to quarantine."""
HANDING_IN = ("active", "revoked", "wiping")
"""Statuses of devices that may hand in."""
_DEVICES = cast(Table, Device.__table__)


class Standing(NamedTuple):
    """What of a device's row says who the caller is and what it may do."""

    id: str
    status: str
    revoked_at: datetime | None
    region: str
    department: str
    officer: str
    shared_with: list[str]
    public_key: bytes
    key_number: int


_CALLER = Prepared(select(*(_DEVICES.c[name] for name in Standing._fields)).where(_DEVICES.c.id == bindparam("device")))
"""It is asked at each request."""
_CLIENT = select(_DEVICES.c.client).where(_DEVICES.c.id == bindparam("device"))


def load_principal(session: Session, subject: str) -> Principal:
    """Return the caller that an active device is.

    Raises:
        Problem: `unauthenticated` if it is not active (any more).
    """
    device = _row(session, subject)
    if device is None or device.status != "active":
        raise Problem("unauthenticated", detail="this device is not active")
    return _principal(device)


def load_handing_in(session: Session, subject: str) -> Principal:
    """Return the caller that a device is which may only hand in.

    Raises:
        Problem: `unauthenticated` if it may not even do that, or may do more again: it is to sign in anew.
    """
    device = _row(session, subject)
    if device is None or device.status not in HANDING_IN:
        raise Problem("unauthenticated", detail="this device may not hand in anything any more")
    code = restriction(device)
    if code is None:  # its program is too old, unless a restored server has forgotten what else the reason was
        client = session.connection().execute(_CLIENT, {"device": subject}).scalar_one()
        code = "client-too-old" if too_old(client) else None
    if code is None:
        raise Problem("unauthenticated", detail="this device may sync again: sign in anew")
    return replace(_principal(device), role=HAND_IN, restriction=code)


def load_author(session: Session, device_id: str, received_at: datetime | None = None) -> Principal:
    """Return the caller that a device was when an act of it arrived, whatever has become of it since.

    Raises:
        Problem: `device-revoked` if the act came after the revocation (only where `received_at` is given).
    """
    device = _row(session, device_id)
    if device is None:
        raise LookupError(f"no device {device_id}")
    if received_at is not None and device.revoked_at is not None and received_at >= device.revoked_at:
        raise revoked_problem()
    return _principal(device)


def restriction(device: Device | Standing) -> str | None:
    """Return the code of the problem that keeps a device from syncing; None when it may sync."""
    if device.revoked_at is not None:
        return "device-revoked"
    return "device-wiping" if device.status == "wiping" else None


def revoked_problem() -> Problem:
    """Return the problem of acts that a revoked device hands in."""
    return Problem("device-revoked", detail="handed in after the device was revoked; the office decides on it")


def _row(session: Session, device_id: str) -> Standing | None:
    row = _CALLER.row(session, {"device": device_id})
    return None if row is None else Standing(*row)


def _principal(device: Standing) -> Principal:
    officers = (device.officer, *device.shared_with)
    return Principal(
        device.id, "device", region_prefix(device.region), device.department, officers, device.id,
        public_key=device.public_key, key_number=device.key_number,
    )  # fmt: skip
