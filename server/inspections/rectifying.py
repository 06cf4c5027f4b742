"""Rectification orders: following their records, what people do with them at the desk, and those that are overdue."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import SYSTEM, record_event
from server.db.engine import IN_LIST_LIMIT
from server.errors import Problem
from server.inspections.filing import instant
from server.inspections.lifecycles import CLOSED, EXTEND, ORDERED, PENALTY, RECTIFICATION, REPORT, REPORTED
from server.inspections.models import Rectification
from server.records.held import Changed
from server.records.lines import view_of
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

MIN_REASON_CHARS, MAX_REASON_CHARS = 2, 1_000
MAX_REPORT_CHARS = 2_000
BATCH = 200
"""Orders looked at in one step of the worker."""
FOLLOWED = ("inspection", "entity", "answer", "requirement", "outcome")


def follow_rectifications(session: Session, rt: Runtime, records: Sequence[Changed]) -> None:
    """Bring the table of orders up to the records' state."""
    ids = [record.id for record in records]
    known: dict[str, Rectification] = {}
    for start in range(0, len(ids), IN_LIST_LIMIT):
        query = select(Rectification).where(Rectification.id.in_(ids[start : start + IN_LIST_LIMIT]))
        known |= {row.id: row for row in session.execute(query).scalars()}
    for record_id, place, served, *_ in records:
        fields = view_of("rectification", served.state)
        row = known.get(record_id)
        if row is None:
            row = Rectification(id=record_id, created_at=rt.now())
            session.add(row)
        row.region, row.department = place.region, place.department
        for name in FOLLOWED:
            setattr(row, name, fields.get(name))
        row.recheck = fields.get("recheck") or row.recheck
        row.deadline = instant(fields["deadline"]) if fields.get("deadline") else None
        row.state = _state(fields.get("status"), fields.get("disposal"))
        if row.overdue_at is not None and not _late(row, rt.now()):
            row.overdue_at = None


def _state(status: str | None, disposal: str | None) -> str:
    return PENALTY if status == CLOSED and disposal == PENALTY else status or ORDERED


def _late(row: Rectification, now: datetime) -> bool:
    return row.state == ORDERED and row.deadline is not None and row.deadline < now


def surface_overdue_orders(session: Session, rt: Runtime) -> int:
    """Worker step: mark orders whose deadline has passed without a report. Returns how many."""
    late = select(Rectification).where(
        Rectification.state == ORDERED, Rectification.deadline < rt.now(), Rectification.overdue_at.is_(None)
    )
    rows = session.execute(
        late.order_by(Rectification.deadline).limit(BATCH).with_for_update(skip_locked=True)
    ).scalars()
    done = 0
    for row in rows:
        row.overdue_at = rt.now()
        detail = {"deadline": row.deadline.isoformat() if row.deadline else None}
        record_event(session, rt, SYSTEM, "rectification.overdue", "rectification", row.id, detail)
        done += 1
    return done


@dataclass(frozen=True)
class OrderFilter:
    """Which orders to list."""

    state: str = ""
    entity: str = ""
    inspection: str = ""
    overdue: bool | None = None


def list_orders(
    session: Session, rt: Runtime, caller: Principal, wanted: OrderFilter, *, after: str = "", limit: int = 50
) -> Sequence[Rectification]:
    """Return the orders of the caller's scope in order of id."""
    query = select(Rectification).where(
        Rectification.region.startswith(caller.region, autoescape=True), Rectification.id > after
    )
    if caller.department:
        query = query.where(Rectification.department == caller.department)
    for column, value in (
        (Rectification.state, wanted.state),
        (Rectification.entity, wanted.entity),
        (Rectification.inspection, wanted.inspection),
    ):
        if value:
            query = query.where(column == value)
    if wanted.overdue is not None:
        late = (Rectification.state == ORDERED) & (Rectification.deadline < rt.now())
        query = query.where(late if wanted.overdue else ~late)
    return session.execute(query.order_by(Rectification.id).limit(limit)).scalars().all()


def get_order(session: Session, caller: Principal, order: str, *, lock: bool = False) -> Rectification:
    """Return an order of the caller's scope.

    Raises:
        Problem: `not-found`.
    """
    row = session.get(Rectification, order, with_for_update=lock)
    if row is None:
        raise Problem("not-found", detail="no rectification order with this id")
    require_scope(caller, row.region, row.department)
    return row


def report(session: Session, rt: Runtime, caller: Principal, order: str, text: str, reported_by: str) -> Rectification:
    """Take in what a firm says it has done; it reaches the officers' handhelds with the order.

    Raises:
        Problem: `not-found`; `illegal-transition` naming the legal actions.
    """
    row = get_order(session, caller, order, lock=True)
    RECTIFICATION.step(row.state, REPORT)
    said = f"{reported_by}：{text}"
    write_order(session, rt, row, {"report": said, "status": REPORTED}, author=caller.subject)
    row.state = REPORTED
    record_event(session, rt, caller.subject, "rectification.report", "rectification", row.id, {"by": reported_by})
    return row


def extend(
    session: Session, rt: Runtime, caller: Principal, order: str, deadline: datetime, reason: str
) -> Rectification:
    """Give an order a later deadline, with a reason.

    Raises:
        Problem: `not-found`; `illegal-transition`; `invalid-field` for a deadline that is not later, or has passed.
    """
    row = get_order(session, caller, order, lock=True)
    RECTIFICATION.step(row.state, EXTEND)
    if deadline <= rt.now() or (row.deadline is not None and deadline <= row.deadline):
        raise Problem("invalid-field", field="deadline", detail="must be later than now and than the present deadline")
    before = row.deadline.isoformat() if row.deadline else None
    write_order(session, rt, row, {"deadline": deadline.isoformat()}, author=caller.subject)
    row.deadline, row.overdue_at = deadline, None
    detail = {"from": before, "to": deadline.isoformat(), "reason": reason}
    record_event(session, rt, caller.subject, "rectification.extend", "rectification", row.id, detail)
    return row


def write_order(session: Session, rt: Runtime, row: Rectification, fields: dict[str, Any], *, author: str) -> None:
    """Write into the order's synced record, for the handhelds."""
    session.flush()
    office_write_many(session, rt, [OfficeChange("rectification", row.id, fields, author)])
