"""Several officers on one device: each joins with their own password, and the device agrees with its key.

A shared device holds what any of its officers may see, so that they can take turns without a network; who sees what on
its screen, and whose name an act carries, follows from who has unlocked it. That is why only officers of the device's
own region and department may join.
"""

from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.devices.keys import verify_signature
from server.devices.models import Device
from server.errors import Problem
from server.officers.service import get_officer
from server.runtime import Runtime
from server.web.principal import Principal
from sync.statements import share_statement

MAX_OFFICERS_PER_DEVICE = 8


def join(session: Session, rt: Runtime, device_id: str, officer_id: str, proof: str) -> Device:
    """Let a signed-in officer work on a device; `proof` is the device's signature. May be repeated.

    Raises:
        Problem: `not-found` for a device that is not active, `bad-signature`, `forbidden` for an officer of another
            region or department, `limit-exceeded`.
    """
    device = session.get(Device, device_id, with_for_update=True)
    if device is None or device.status != "active":
        raise Problem("not-found", detail="no active device with this id")
    verify_signature(device.public_key, share_statement(device_id, officer_id), proof, field="proof")
    if officer_id in device.officers:
        return device
    officer = get_officer(session, officer_id)
    if (officer.region, officer.department) != (device.region, device.department):
        raise Problem("forbidden", detail="only officers of the device's own region and department may share it")
    if len(device.officers) >= MAX_OFFICERS_PER_DEVICE:
        raise Problem("limit-exceeded", detail="too many officers", limit=MAX_OFFICERS_PER_DEVICE)
    device.shared_with = [*device.shared_with, officer_id]
    record_event(session, rt, officer_id, "device.join", "device", device_id)
    return device


def leave(session: Session, rt: Runtime, device: Device, officer_id: str, caller: Principal) -> Device:
    """Take an officer off a shared device. What they wrote on it and it has not pushed yet goes to quarantine.

    Raises:
        Problem: `not-found`; `illegal-transition` for the one who enrolled it: revoke it instead.
    """
    if officer_id == device.officer:
        raise Problem("illegal-transition", detail="this officer enrolled the device: revoke it instead")
    if officer_id not in device.shared_with:
        raise Problem("not-found", field="officer", detail="this officer does not work on this device")
    device.shared_with = [one for one in device.shared_with if one != officer_id]
    record_event(session, rt, caller.subject, "device.leave", "device", device.id, {"officer": officer_id})
    return device
