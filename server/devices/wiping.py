"""Remote wipe: ordered by the office, done and acknowledged by the device, with what was lost, all of it audited.

From the order on the device may only hand in. What it cannot hand in it names when it says that it has erased itself.
"""

from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.clock import to_ms
from server.devices.keys import verify_signature
from server.devices.models import Device
from server.errors import Problem
from server.runtime import Runtime
from server.web.principal import Principal
from sync.statements import wiped_statement

MAX_LOST = 1_000_000
"""Largest number of acts or files that a device can say it lost."""


def order_wipe(session: Session, rt: Runtime, device: Device, caller: Principal, reason: str) -> Device:
    """Order a device to erase itself; its tokens for syncing end at once, and its next sign-in tells it.

    Raises:
        Problem: `illegal-transition` unless it is active or revoked.
    """
    if device.status not in ("active", "revoked"):
        raise Problem("illegal-transition", detail=f"device is {device.status}", legal=["active", "revoked"])
    device.status, device.wipe_ordered_at, device.decided_by = "wiping", rt.now(), caller.subject
    record_event(session, rt, caller.subject, "device.wipe", "device", device.id, {"reason": reason})
    return device


def acknowledge_wipe(
    session: Session, rt: Runtime, device: Device, acts_lost: int, files_lost: int, signature: str
) -> Device:
    """Take in a device's signed word that it has erased itself, and what was lost with it. Its tokens end here.

    Raises:
        Problem: `illegal-transition` without an order, `bad-signature`.
    """
    if device.status != "wiping" or device.wipe_ordered_at is None:
        raise Problem("illegal-transition", detail=f"device is {device.status}", legal=["wiping"])
    statement = wiped_statement(device.id, to_ms(device.wipe_ordered_at), acts_lost, files_lost)
    verify_signature(device.public_key, statement, signature)
    device.status, device.wiped_at = "wiped", rt.now()
    device.pending_acts, device.pending_files = 0, 0
    lost = {"acts_lost": acts_lost, "files_lost": files_lost}
    device.wipe_report = lost | {"signature": signature, "key_number": device.key_number}
    record_event(session, rt, device.id, "device.wiped", "device", device.id, lost)
    return device
