"""Counting, within a caller's region and department, with one grouped query per table."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior
from server.devices.models import Device
from server.evidence.models import Evidence
from server.fieldsync.models import Journal
from server.inspections.models import Inspection, Task
from server.leads.models import Lead
from server.records.models import Act, Conflict
from server.web.principal import Principal

COUNTED: dict[str, type[Any]] = {
    "behaviors": Behavior,
    "conflicts": Conflict,
    "devices": Device,
    "evidence": Evidence,
    "inspections": Inspection,
    "leads": Lead,
    "tasks": Task,
}
"""What is counted by status; every one of these tables has region, department and status."""


def figures(session: Session, caller: Principal) -> dict[str, dict[str, int]]:
    """Return for each table how many rows of the caller's scope have which status; acts are those of handhelds."""
    found = {name: _by_status(session, model, caller) for name, model in COUNTED.items()}
    acts = (
        select(Act.status, func.count())
        .join(Device, Device.id == Act.device)
        .where(*_scope(Device, caller))
        .group_by(Act.status)
    )
    found["acts"] = {status: int(count) for status, count in session.execute(acts)}
    return found


def _by_status(session: Session, model: type[Any], caller: Principal) -> dict[str, int]:
    query = select(model.status, func.count()).where(*_scope(model, caller)).group_by(model.status)
    return {status: int(count) for status, count in session.execute(query)}


def _scope(model: type[Any], caller: Principal) -> list[Any]:
    conditions = [model.region.startswith(caller.region, autoescape=True)]
    if caller.department:
        conditions.append(model.department == caller.department)
    return conditions


def journals(session: Session, caller: Principal, *, after: str, limit: int) -> list[dict[str, Any]]:
    """Return the journals of the caller's devices in order of id, with their heads and how many acts are stored."""
    query = (
        select(Journal.id, Journal.device, Journal.head_seq, Journal.head_hash, func.count(Act.seq).label("acts"))
        .join(Device, Device.id == Journal.device)
        .outerjoin(Act, Act.journal == Journal.id)
        .where(Journal.id > after, *_scope(Device, caller))
        .group_by(Journal.id)
        .order_by(Journal.id)
        .limit(limit)
    )
    return [
        {
            "journal": row.id,
            "device": row.device,
            "head_seq": row.head_seq,
            "head": row.head_hash,
            "acts": int(row.acts),
        }
        for row in session.execute(query)
    ]
