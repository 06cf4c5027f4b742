"""Acts that are in no record: held until a cause arrives, quarantined, or mended or dismissed by a person."""

from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.devices.models import Device
from server.errors import Problem
from server.fieldsync.history import read_act
from server.fieldsync.models import ActRuling, OverdueAct
from server.fieldsync.quarantine import unmerged_act
from server.records.models import Act
from server.web.principal import Principal
from sync.dots import parse_dot
from sync.merge import Verdict

STATUSES = (Verdict.QUARANTINED, Verdict.HELD, Verdict.MENDED, Verdict.DISMISSED)


def list_unmerged(
    session: Session, caller: Principal, *, status: str, after: str, limit: int, overdue: bool = False
) -> list[dict[str, Any]]:
    """Return acts of the caller's devices that are in no record, in order of dot; `after` is the last dot of a page.

    Args:
        session: a read session.
        caller: who asks.
        status: one of :data:`STATUSES`.
        after: the last dot of the page before, or nothing.
        limit: most acts.
        overdue: only those that have waited too long for their cause.

    Raises:
        Problem: `invalid-field` when `after` is no dot.
    """
    query = (
        select(Act, OverdueAct, ActRuling)
        .join(Device, Device.id == Act.device)
        .outerjoin(OverdueAct, (OverdueAct.journal == Act.journal) & (OverdueAct.seq == Act.seq))
        .outerjoin(ActRuling, (ActRuling.journal == Act.journal) & (ActRuling.seq == Act.seq))
        .where(Act.status == status, Device.region.startswith(caller.region, autoescape=True))
    )
    if caller.department:
        query = query.where(Device.department == caller.department)
    if overdue:
        query = query.where(OverdueAct.journal.is_not(None))
    if after:
        try:
            dot = parse_dot(after)
        except ValueError as error:
            raise Problem("invalid-field", field="after", detail=str(error)) from error
        query = query.where(tuple_(Act.journal, Act.seq) > tuple_(dot.journal, dot.seq))
    return [_shown(*row) for row in session.execute(query.order_by(Act.journal, Act.seq).limit(limit))]


def show_unmerged(session: Session, caller: Principal, dot: str) -> dict[str, Any]:
    """Return one of them.

    Raises:
        Problem: `not-found`.
    """
    act = unmerged_act(session, caller, dot)
    key = (act.journal, act.seq)
    return _shown(act, session.get(OverdueAct, key), session.get(ActRuling, key))


def _shown(act: Act, overdue: OverdueAct | None, ruling: ActRuling | None) -> dict[str, Any]:
    return {
        "dot": f"{act.journal}:{act.seq}",
        "kind": act.kind,
        "record": act.record,
        "device": act.device,
        "officer": act.author,
        "received_at": act.received_at,
        "status": act.status,
        "waiting_for": act.waiting_for,
        "problem": act.problem,
        "overdue_at": overdue.overdue_at if overdue else None,
        "fields": read_act(act)["fields"],
        "ruling": ruling,
    }
