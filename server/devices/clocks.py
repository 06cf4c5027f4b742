"""What the server knows of a device's clocks: one row per boot, and the corrections that go with a pushed segment.

The row of a boot is written when the device is first heard of in it, when its exchange is renewed and when its wall
clock was set; all other segments cost a comparison with what already stands in the device's row.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.devices.models import Device, DeviceBoot
from server.devices.pushing import PushingDevice
from server.runtime import Runtime
from sync.clocks import STEP_MS, Correction, Exchange, Reading, correct

WRONG_MS = 60_000
"""A wall clock that is off by more than this is worth showing."""
MAX_WRONG = 100
RENEW_MS = 3_600_000
"""An exchange this much younger than the kept one replaces it: drift has made the old one worse."""


def corrections(
    session: Session, rt: Runtime, device: PushingDevice, head: Reading, boots: Iterable[str], exchange: Exchange | None
) -> dict[str, Correction]:
    """Return how acts of each of `boots` are corrected, and note what the segment's head tells of the clocks.

    `exchange` is what the device sent along, of the boot in which it pushes.
    """
    now_ms = rt.now_ms()
    found = {boot: correct(head, now_ms, boot, exchange) for boot in boots}
    _note(session, rt, device, head, exchange, now_ms)
    without = [boot for boot in found if exchange is None or boot != exchange.boot]
    kept = [boot for boot in without if boot != head.boot or device.boot_exchange_ms is not None]
    if kept:
        rows = session.execute(
            select(DeviceBoot).where(
                DeviceBoot.device == device.id, DeviceBoot.boot.in_(kept), DeviceBoot.server_ms.is_not(None)
            )
        )
        for row in rows.scalars():
            found[row.boot] = correct(head, now_ms, row.boot, _exchange_of(row))
    return found


def _note(
    session: Session, rt: Runtime, device: PushingDevice, head: Reading, exchange: Exchange | None, now_ms: int
) -> None:
    wall_zero = head.wall_ms - head.mono_ms
    if exchange is not None and (exchange.boot != head.boot or exchange.server_ms > now_ms):
        exchange = None  # a segment made in an earlier boot; those of this one will bring it again
    known = head.boot == device.boot
    stepped = known and abs(wall_zero - (device.wall_zero_ms or 0)) > STEP_MS
    renewed = exchange is not None and exchange.server_ms > (device.boot_exchange_ms or 0) + (RENEW_MS if known else 0)
    if known and not stepped and not renewed:
        return
    row = session.get(DeviceBoot, (device.id, head.boot))
    if row is None:
        row = DeviceBoot(
            device=device.id, boot=head.boot, first_heard_at=rt.now(), wall_off_ms=head.wall_ms - now_ms, steps=0,
            largest_step_ms=0,
        )  # fmt: skip
        session.add(row)
    if stepped:
        step = wall_zero - (device.wall_zero_ms or 0)
        row.steps += 1
        row.largest_step_ms = max(row.largest_step_ms, step, key=abs)
    if exchange is not None and renewed:
        row.sent_mono_ms, row.server_ms = exchange.sent_mono_ms, exchange.server_ms
        row.received_mono_ms = exchange.received_mono_ms
    device.boot, device.boot_exchange_ms, device.wall_zero_ms = head.boot, row.server_ms, wall_zero


def wrong_clocks(session: Session, limit: int = MAX_WRONG) -> list[tuple[str, DeviceBoot]]:
    """Return the boots in which a wall clock was off or was set, with the device's name; the furthest off first."""
    off = func.abs(DeviceBoot.wall_off_ms)
    query = (
        select(Device.name, DeviceBoot)
        .join(Device, Device.id == DeviceBoot.device)
        .where((off > WRONG_MS) | (DeviceBoot.steps > 0))
        .order_by(off.desc(), DeviceBoot.device, DeviceBoot.boot)
        .limit(limit)
    )
    return [(name, boot) for name, boot in session.execute(query)]


def _exchange_of(row: DeviceBoot) -> Exchange | None:
    if row.sent_mono_ms is None or row.server_ms is None or row.received_mono_ms is None:
        return None
    return Exchange(row.boot, row.sent_mono_ms, row.server_ms, row.received_mono_ms)


def to_members(corrections: Mapping[str, Correction]) -> list[dict[str, Any]]:
    """Return corrections as they are kept with their segment."""
    return [
        {
            "boot": boot, "basis": str(one.basis), "offset_ms": one.offset_ms, "reference_ms": one.reference_ms,
            "error_ms": one.error_ms,
        }
        for boot, one in sorted(corrections.items())
    ]  # fmt: skip


def boots_of(session: Session, device_id: str, after: str, limit: int) -> list[DeviceBoot]:
    """Return the boots of a device in order of id, which is the order in which they began by its own clock."""
    query = select(DeviceBoot).where(DeviceBoot.device == device_id, DeviceBoot.boot > after)
    return list(session.execute(query.order_by(DeviceBoot.boot).limit(limit)).scalars())
