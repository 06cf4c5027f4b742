"""Acts that are in no record: held until a cause arrives, or quarantined with a problem. For people to see."""

from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.devices.models import Device
from server.errors import Problem
from server.records.models import Act
from server.web.auth import Principal
from sync.dots import parse_dot
from sync.merge import Verdict

STATUSES = (Verdict.QUARANTINED, Verdict.HELD)


def list_unmerged(session: Session, caller: Principal, *, status: str, after: str, limit: int) -> list[dict[str, Any]]:
    """Return held or quarantined acts of the caller's devices in order of dot; `after` is the last dot of a page.

    Raises:
        Problem: `invalid-field` when `after` is no dot.
    """
    query = (
        select(Act)
        .join(Device, Device.id == Act.device)
        .where(Act.status == status, Device.region.startswith(caller.region, autoescape=True))
    )
    if caller.department:
        query = query.where(Device.department == caller.department)
    if after:
        try:
            dot = parse_dot(after)
        except ValueError as error:
            raise Problem("invalid-field", field="after", detail=str(error)) from error
        query = query.where(tuple_(Act.journal, Act.seq) > tuple_(dot.journal, dot.seq))
    rows = session.execute(query.order_by(Act.journal, Act.seq).limit(limit)).scalars()
    return [
        {
            "dot": f"{act.journal}:{act.seq}",
            "kind": act.kind,
            "record": act.record,
            "device": act.device,
            "officer": act.author,
            "received_at": act.received_at,
            "status": act.status,
            "waiting_for": act.waiting_for,
            "problem": act.problem,
        }
        for act in rows
    ]
