"""A device while it pushes: its row is read once under the write lock, and written once when the push is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from server.db.many_rows import update_rows
from server.db.prepared import Prepared
from server.devices.models import Device
from server.devices.standing import HANDING_IN, MAX_SEALED_ACTS
from server.errors import Problem
from server.web.auth import HAND_IN
from server.web.principal import Principal

DEVICES = cast(Table, Device.__table__)
_ASKED = ("id", "status", "revoked_at", "key_number")
_CHANGED = (
    "boot", "boot_exchange_ms", "wall_zero_ms", "pending_acts", "pending_files", "sealed_acts", "last_seen_at",
    "last_sync_at",
)  # fmt: skip
_LOCK = Prepared(
    select(*(DEVICES.c[name] for name in (*_ASKED, *_CHANGED)))
    .where(DEVICES.c.id == bindparam("device"))
    .with_for_update()
)


@dataclass
class PushingDevice:
    """What a push must know of its device, and what it changes of it."""

    id: str
    status: str
    revoked_at: datetime | None
    key_number: int
    boot: str | None
    boot_exchange_ms: int | None
    wall_zero_ms: int | None
    pending_acts: int
    pending_files: int
    sealed_acts: int
    last_seen_at: datetime | None
    last_sync_at: datetime | None

    def seal(self, count: int) -> None:
        """Count acts that a revoked device hands in.

        Raises:
            Problem: `limit-exceeded`.
        """
        if self.sealed_acts + count > MAX_SEALED_ACTS:
            raise Problem("limit-exceeded", detail="a revoked device has handed in too much", limit=MAX_SEALED_ACTS)
        self.sealed_acts += count

    def save(self, session: Session) -> None:
        """Write what may have changed."""
        row: Mapping[str, Any] = {"id": self.id, **{name: getattr(self, name) for name in _CHANGED}}
        update_rows(session, DEVICES, ("id",), [row])


def lock_for_push(session: Session, caller: Principal) -> PushingDevice:
    """Return the pushing device, locked, if it still may push: revoking it waits for this push, or stops it.

    Raises:
        Problem: `unauthenticated`; also where the key changed since the caller was identified, by which the segment's
            signature was checked.
    """
    row = _LOCK.row(session, {"device": caller.subject})
    device = None if row is None else PushingDevice(*row)
    allowed = HANDING_IN if caller.role == HAND_IN else ("active",)
    if device is None or device.status not in allowed or device.key_number != caller.key_number:
        raise Problem("unauthenticated", detail="this device may not push any more")
    return device
