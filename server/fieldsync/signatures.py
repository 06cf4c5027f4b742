"""Verifying who signed a pushed segment."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from server.devices.models import Device
from server.devices.service import verify_signature
from server.errors import Problem
from server.web.auth import Principal
from sync.journal import SegmentHead


def segment_verifier(session: Session, caller: Principal) -> Callable[[SegmentHead], None]:
    """Return a check of segment heads against the calling device's enrolled key; it raises `bad-signature`."""
    device = session.get(Device, caller.subject)
    if device is None:
        raise Problem("unauthenticated")
    key = device.public_key

    def verify(head: SegmentHead) -> None:
        verify_signature(key, head.statement(), head.signature)

    return verify
