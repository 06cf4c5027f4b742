"""The overview's lists: open conflicts, latest behaviors, handhelds, and the newest signed tree head."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from server.devices.models import Device
from server.entities.models import Entity
from server.inspections.models import Inspection
from server.officers.models import Officer
from server.pages.overview_values import ConflictRow, DeviceRow
from server.records.lines import decode_state
from server.records.models import Conflict, SyncedRecord
from server.web.principal import Principal
from server.web.scope import in_scope
from sync.registers import DELETED, RecordState

DEVICES_SHOWN = 10
ONLINE_S = 300
"""A handheld counts as online while its last sync is no older than this."""


def conflict_count(session: Session, caller: Principal) -> int:
    """Return how many conflicts wait for a person."""
    mine = in_scope(caller, Conflict.region, Conflict.department)
    return session.execute(select(func.count()).where(Conflict.status == "open", mine)).scalar_one()


def conflict_rows(session: Session, caller: Principal, *, status: str, limit: int) -> tuple[ConflictRow, ...]:
    """Return the newest conflicts of a status, each with the name of the entity it is about, in one query."""
    inspection = case((Conflict.kind == "inspection", Conflict.record), else_=SyncedRecord.parent)
    query = (
        select(Conflict, SyncedRecord.line, Entity.name)
        .join(SyncedRecord, (SyncedRecord.kind == Conflict.kind) & (SyncedRecord.id == Conflict.record))
        .outerjoin(Inspection, Inspection.id == inspection)
        .outerjoin(Entity, Entity.id == Inspection.entity)
        .where(Conflict.status == status, in_scope(caller, Conflict.region, Conflict.department))
        .order_by(Conflict.id.desc())
        .limit(limit)
    )
    return tuple(
        ConflictRow(
            id=row.id,
            kind=row.kind,
            field=row.field,
            title=name or row.record,
            values=_live_values(decode_state(line), row.field) if status == "open" else _decided(row),
            opened_at=row.opened_at,
        )
        for row, line, name in session.execute(query)
    )


def _live_values(state: RecordState, field: str) -> tuple[Any, ...]:
    """Return the distinct live values of a field; of a deletion nothing can be said but that it is one."""
    distinct: list[Any] = []
    for entry in state.live(field) if field != DELETED else ():
        if entry.value not in distinct:
            distinct.append(entry.value)
    return tuple(distinct)


def _decided(row: Conflict) -> tuple[Any, ...]:
    return (row.decision["value"],) if row.decision and row.decision.get("value") is not None else ()


def device_counts(session: Session, caller: Principal, now: datetime) -> tuple[int, int]:
    """Return (handhelds in use or waiting for approval, those online)."""
    online = (Device.status == "active") & (Device.last_sync_at >= now - timedelta(seconds=ONLINE_S))
    query = select(func.count(), func.coalesce(func.sum(case((online, 1), else_=0)), 0)).where(
        Device.status != "revoked", in_scope(caller, Device.region, Device.department)
    )
    total, reachable = session.execute(query).one()
    return total, reachable


def device_rows(session: Session, caller: Principal, now: datetime) -> tuple[DeviceRow, ...]:
    """Return the handhelds that synced last, those waiting for approval first."""
    query = (
        select(Device, Officer.name)
        .outerjoin(Officer, Officer.id == Device.officer)
        .where(in_scope(caller, Device.region, Device.department))
        .order_by(
            case((Device.status == "pending", 0), (Device.status == "active", 1), else_=2),
            func.coalesce(Device.last_sync_at, Device.enrolled_at).desc(),
            Device.id,
        )
        .limit(DEVICES_SHOWN)
    )
    horizon = now - timedelta(seconds=ONLINE_S)
    return tuple(
        DeviceRow(
            id=device.id,
            name=device.name,
            officer=officer or "",
            status=device.status,
            last_sync_at=device.last_sync_at,
            online=device.status == "active" and device.last_sync_at is not None and device.last_sync_at >= horizon,
            pending=device.pending_acts,
        )
        for device, officer in session.execute(query)
    )
