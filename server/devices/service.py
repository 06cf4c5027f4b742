"""Enrolling, approving, revoking and signing in handhelds."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.clock import to_ms
from server.devices.keys import decode_key, refuse_known_key, verify_signature
from server.devices.models import Device, DeviceNonce
from server.devices.negotiation import too_old
from server.devices.standing import HANDING_IN, restriction
from server.errors import Problem
from server.officers.service import get_officer
from server.runtime import Runtime
from server.web.auth import HAND_IN
from server.web.principal import Principal
from sync.statements import enrol_statement, sign_in_statement

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
    raw = decode_key("public_key", public_key)
    verify_signature(raw, enrol_statement(public_key, officer_id), proof)
    officer = get_officer(session, officer_id)
    known = session.execute(select(Device).where(Device.public_key == raw)).scalar_one_or_none()
    if known is not None and known.officer == officer_id:
        return known  # the reply to the first request was lost
    refuse_known_key(session, raw)
    count = session.execute(
        select(func.count()).where(Device.officer == officer_id, Device.status.in_(("pending", "active")))
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
    device = get_device(session, device_id, caller, lock=True)
    legal = {"pending": ("active", "revoked"), "active": ("revoked",)}.get(device.status, ())
    if status not in legal:
        raise Problem("illegal-transition", detail=f"device is {device.status}", legal=list(legal))
    device.status, device.decided_by = status, caller.subject
    device.revoked_at = rt.now() if status == "revoked" else None
    action = "device.approve" if status == "active" else "device.revoke"
    record_event(session, rt, caller.subject, action, "device", device.id)
    return device


def get_device(session: Session, device_id: str, caller: Principal, *, lock: bool = False) -> Device:
    """Return a device in the caller's scope; locked, if it is to be changed by what stands in it.

    Raises:
        Problem: `not-found`.
    """
    device = session.get(Device, device_id, with_for_update=lock)
    own = device is not None and (device.id == caller.device or not set(device.officers).isdisjoint(caller.officers))
    visible = device is not None and (
        device.region.startswith(caller.region) and caller.department in ("", device.department)
    )
    if device is None or not (own if caller.role in ("officer", "device", HAND_IN) else visible):
        raise Problem("not-found", detail="no device with this id")
    return device


def list_devices(session: Session, caller: Principal, *, after: str = "", limit: int = 50) -> list[Device]:
    """Return the devices of the caller's scope in order of id."""
    query = select(Device).where(Device.region.startswith(caller.region, autoescape=True), Device.id > after)
    if caller.department:
        query = query.where(Device.department == caller.department)
    return list(session.execute(query.order_by(Device.id).limit(limit)).scalars())


@dataclass(frozen=True)
class SignedRequest:
    """A device's signed request for a token, and what it announces of itself."""

    device: str
    at_ms: int
    nonce: str
    signature: str
    client: Mapping[str, Any] | None = None
    pending_acts: int | None = None
    pending_files: int | None = None


@dataclass(frozen=True)
class SignedIn:
    """A device that has signed in; `problem` says why it may only hand in, if it may not sync."""

    device: Device
    problem: Problem | None


def sign_in(session: Session, rt: Runtime, request: SignedRequest) -> SignedIn:
    """Check a device's signed request for a token; each nonce counts once.

    Raises:
        Problem: `unauthenticated` with the reason (`server_ms` is added when the device's clock is off, `wiped_at_ms`
            when it was wiped), `rate-limited`.
    """
    device = session.get(Device, request.device, with_for_update=True)
    if device is None or device.status not in (*HANDING_IN, "wiped"):
        raise Problem("unauthenticated", detail="no active device with this id")
    try:
        statement = sign_in_statement(request.device, request.at_ms, request.nonce)
        verify_signature(device.public_key, statement, request.signature)
    except Problem as error:
        raise Problem("unauthenticated", detail=error.detail) from error
    rt.rates.take(device.id, rt.now_ms(), rt.settings.device_requests_per_s)
    if device.wiped_at is not None:
        raise Problem("unauthenticated", detail="this device was wiped", wiped_at_ms=to_ms(device.wiped_at))
    now_ms = to_ms(rt.now())
    if abs(now_ms - request.at_ms) > SIGN_IN_WINDOW_S * 1000:
        raise Problem("unauthenticated", detail=CLOCK_HINT, limit=SIGN_IN_WINDOW_S, server_ms=now_ms)
    _use_nonce(session, rt, request)
    device.last_seen_at = rt.now()
    device.client = dict(request.client) if request.client else None
    if request.pending_acts is not None:
        device.pending_acts = request.pending_acts
    if request.pending_files is not None:
        device.pending_files = request.pending_files
    code = restriction(device)
    return SignedIn(device, Problem(code) if code else too_old(device.client))


def _use_nonce(session: Session, rt: Runtime, request: SignedRequest) -> None:
    oldest = rt.now() - timedelta(seconds=2 * SIGN_IN_WINDOW_S)
    session.execute(delete(DeviceNonce).where(DeviceNonce.device == request.device, DeviceNonce.at < oldest))
    try:
        with session.begin_nested():
            session.add(DeviceNonce(device=request.device, nonce=request.nonce, at=rt.now()))
    except IntegrityError as error:
        raise Problem("unauthenticated", detail="this signed request was used before") from error
