"""Enrolling, approving, revoking and signing in handhelds."""

import base64
import binascii
from datetime import timedelta

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.clock import to_ms
from server.devices.models import Device, DeviceNonce
from server.errors import Problem
from server.officers.service import get_officer
from server.runtime import Runtime
from server.web.auth import Principal, region_prefix
from sync.statements import enrol_statement, sign_in_statement

KEY_BYTES = 32
MAX_DEVICES_PER_OFFICER = 10
SIGN_IN_WINDOW_S = 300
"""How far the time in a device's sign-in may lie from the server's: clocks of handhelds drift, replays are old."""
CLOCK_HINT = "device clock is off; send server_ms back as at_ms"


def enrol(session: Session, rt: Runtime, officer_id: str, name: str, public_key: str, proof: str) -> Device:
    """Take in a device of a signed-in officer; it can do nothing until an operator approves it.

    Args:
        session: write session.
        rt: runtime.
        officer_id: the officer whose device it is.
        name: what people call the device.
        public_key: raw Ed25519 key, base64url without padding.
        proof: signature over :func:`sync.statements.enrol_statement`, base64url.

    Raises:
        Problem: `invalid-field`, `bad-signature`, `limit-exceeded`, `conflict` for a key that is enrolled already.
    """
    raw = decode_base64url("public_key", public_key)
    if len(raw) != KEY_BYTES:
        raise Problem("invalid-field", field="public_key", detail="an Ed25519 key has 32 bytes", limit=KEY_BYTES)
    verify_signature(raw, enrol_statement(public_key, officer_id), proof)
    officer = get_officer(session, officer_id)
    known = session.execute(select(Device).where(Device.public_key == raw)).scalar_one_or_none()
    if known is not None:
        if known.officer == officer_id:
            return known  # the reply to the first request was lost
        raise Problem("conflict", field="public_key", detail="this key is enrolled already")
    count = session.execute(
        select(func.count()).where(Device.officer == officer_id, Device.status != "revoked")
    ).scalar_one()
    if count >= MAX_DEVICES_PER_OFFICER:
        raise Problem("limit-exceeded", detail="too many devices", limit=MAX_DEVICES_PER_OFFICER)
    device = Device(
        id=rt.new_id(),
        name=name,
        public_key=raw,
        officer=officer_id,
        region=officer.region,
        department=officer.department,
        status="pending",
        enrolled_at=rt.now(),
        pending_acts=0,
    )
    session.add(device)
    session.flush()
    record_event(session, rt, officer_id, "device.enrol", "device", device.id)
    return device


def decide(session: Session, rt: Runtime, device_id: str, caller: Principal, status: str) -> Device:
    """Approve (`active`) or revoke (`revoked`) a device in the caller's scope.

    Raises:
        Problem: `not-found`, `illegal-transition`.
    """
    device = get_device(session, device_id, caller)
    legal = {"pending": ("active", "revoked"), "active": ("revoked",), "revoked": ()}[device.status]
    if status not in legal:
        raise Problem("illegal-transition", detail=f"device is {device.status}", legal=list(legal))
    device.status, device.decided_by = status, caller.subject
    action = "device.approve" if status == "active" else "device.revoke"
    record_event(session, rt, caller.subject, action, "device", device.id)
    return device


def get_device(session: Session, device_id: str, caller: Principal) -> Device:
    """Return a device in the caller's scope.

    Raises:
        Problem: `not-found`.
    """
    device = session.get(Device, device_id)
    own = device is not None and (device.officer in caller.officers or device.id == caller.device)
    visible = device is not None and (
        device.region.startswith(caller.region) and caller.department in ("", device.department)
    )
    if device is None or not (own if caller.role in ("officer", "device") else visible):
        raise Problem("not-found", detail="no device with this id")
    return device


def list_devices(session: Session, caller: Principal, *, after: str = "", limit: int = 50) -> list[Device]:
    """Return the devices of the caller's scope in order of id."""
    query = select(Device).where(Device.region.startswith(caller.region, autoescape=True), Device.id > after)
    if caller.department:
        query = query.where(Device.department == caller.department)
    return list(session.execute(query.order_by(Device.id).limit(limit)).scalars())


def sign_in(session: Session, rt: Runtime, device_id: str, at_ms: int, nonce: str, signature: str) -> Device:
    """Check a device's signed request for a token; each nonce counts once.

    Raises:
        Problem: `unauthenticated` with the reason (`server_ms` is added when the device's clock is off).
    """
    device = session.get(Device, device_id)
    if device is None or device.status != "active":
        raise Problem("unauthenticated", detail="no active device with this id")
    try:
        verify_signature(device.public_key, sign_in_statement(device_id, at_ms, nonce), signature)
    except Problem as error:
        raise Problem("unauthenticated", detail=error.detail) from error
    now_ms = to_ms(rt.now())
    if abs(now_ms - at_ms) > SIGN_IN_WINDOW_S * 1000:
        raise Problem("unauthenticated", detail=CLOCK_HINT, limit=SIGN_IN_WINDOW_S, server_ms=now_ms)
    oldest = rt.now() - timedelta(seconds=2 * SIGN_IN_WINDOW_S)
    session.execute(delete(DeviceNonce).where(DeviceNonce.device == device_id, DeviceNonce.at < oldest))
    try:
        with session.begin_nested():
            session.add(DeviceNonce(device=device_id, nonce=nonce, at=rt.now()))
    except IntegrityError as error:
        raise Problem("unauthenticated", detail="this signed request was used before") from error
    device.last_seen_at = rt.now()
    return device


def load_principal(session: Session, subject: str) -> Principal:
    """Return the caller that a device is.

    Raises:
        Problem: `unauthenticated` if it is not active (any more).
    """
    device = session.get(Device, subject)
    if device is None or device.status != "active":
        raise Problem("unauthenticated", detail="this device is not active")
    return Principal(device.id, "device", region_prefix(device.region), device.department, (device.officer,), device.id)


def verify_signature(public_key: bytes, statement: bytes, signature: str) -> None:
    """Check an Ed25519 signature.

    Raises:
        Problem: `bad-signature`.
    """
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(decode_base64url("signature", signature), statement)
    except (InvalidSignature, ValueError) as error:
        raise Problem("bad-signature", field="signature", detail="the signature does not verify") from error


def decode_base64url(field: str, text: str) -> bytes:
    """Decode base64url without padding.

    Raises:
        Problem: `invalid-field`.
    """
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise Problem("invalid-field", field=field, detail="not base64url without padding") from error
