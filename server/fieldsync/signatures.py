"""Verifying who signed a pushed segment."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from server.devices.keys import signing_keys, verify_segment
from server.devices.models import Device
from server.errors import Problem
from server.web.auth import Principal
from sync.journal import SegmentHead


def segment_verifier(session: Session, caller: Principal) -> Callable[[SegmentHead], None]:
    """Return a check of segment heads against the calling device's keys; it raises `bad-signature`."""
    device = session.get(Device, caller.subject)
    if device is None:
        raise Problem("unauthenticated")
    keys = signing_keys(session, device)

    def verify(head: SegmentHead) -> None:
        verify_segment(keys, head)

    return verify
