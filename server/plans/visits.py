"""Drawn visits: given out as tasks, settled by their inspections, published by their deadlines."""

from collections.abc import Sequence
from datetime import datetime, time

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import code_table
from server.audit.service import SYSTEM
from server.behaviors.publication import deadline_for
from server.clock import CHINA
from server.directory.lifecycle import PUBLISHED as IN_FORCE
from server.directory.models import Checklist
from server.entities.service import get_entity
from server.errors import Problem
from server.inspections.models import Inspection, Task
from server.inspections.service import DispatchOrder, dispatch
from server.plans.batches import get_batch, note
from server.plans.lifecycles import (
    BATCH,
    CANCEL,
    COMPLETE,
    DISPATCH,
    DISPATCHED,
    GIVE,
    GIVEN,
    PUBLISH,
    SETTLE,
    SETTLED,
    VISIT,
    WAITING,
)
from server.plans.lifecycles import PUBLISHED as ALL_PUBLISHED
from server.plans.models import DrawBatch, DrawnVisit, DrawPlan
from server.plans.service import MIN_REASON_CHARS
from server.records.service import get_view
from server.runtime import Runtime
from server.web.principal import Principal

VISITS_PER_STEP = 50
"""Most tasks made, or inspections looked at, in one step of the worker."""
MAX_FAULT_CHARS = 500
RESULTS = "double_random_result"
MAX_TITLE_CHARS = 200


def give_out(session: Session, rt: Runtime, caller: Principal, batch_id: str) -> DrawBatch:
    """Let the worker make the tasks of a batch.

    Raises:
        Problem: `not-found`; `illegal-transition`.
    """
    batch = get_batch(session, caller, batch_id, lock=True)
    batch.state = BATCH.step(batch.state, DISPATCH)
    note(session, rt, caller.subject, batch, DISPATCH, {})
    session.flush()
    complete(session, rt, batch)
    return batch


def dispatch_drawn(session: Session, rt: Runtime) -> int:
    """Worker step: make tasks for drawn visits; one that cannot be given out says why. Returns how many it saw."""
    query = (
        select(DrawnVisit, DrawBatch, DrawPlan)
        .join(DrawBatch, DrawBatch.id == DrawnVisit.batch)
        .join(DrawPlan, DrawPlan.id == DrawBatch.plan)
        .where(DrawnVisit.state == WAITING, DrawnVisit.fault.is_(None), DrawBatch.state == DISPATCHED)
        .order_by(DrawnVisit.batch, DrawnVisit.place)
        .limit(VISITS_PER_STEP)
        .with_for_update(skip_locked=True, of=DrawnVisit)
    )
    found = session.execute(query).all()
    for visit, batch, plan in found:
        try:
            with session.begin_nested():
                _give(session, rt, visit, batch, plan)
        except Problem as problem:
            visit.fault = f"{problem.extra.get('reason', problem.code)}: {problem.detail}"[:MAX_FAULT_CHARS]
            note(session, rt, SYSTEM, batch, "fault", {"entity": visit.entity, "fault": visit.fault})
    return len(found)


def _give(session: Session, rt: Runtime, visit: DrawnVisit, batch: DrawBatch, plan: DrawPlan) -> None:
    state = VISIT.step(visit.state, GIVE)
    entity = get_entity(session, visit.entity)
    if entity.status != "active":
        raise Problem("conflict", field="entity", detail=f"the entity is {entity.status}")
    announced = session.get_one(Checklist, batch.checklist)
    in_force = select(Checklist).where(Checklist.code == announced.code, Checklist.status == IN_FORCE)
    checklist = session.execute(in_force).scalar_one_or_none()
    if checklist is None:
        raise Problem("conflict", field="checklist", detail="清单已撤回 / the checklist was withdrawn")
    order = DispatchOrder(
        origin="draw",
        entity=entity.id,
        checklist=checklist.id,
        officers=tuple(visit.officers),
        due_at=datetime.combine(batch.visits_until, time(23, 59, 59), CHINA),
        title=f"双随机抽查 Double-random: {entity.name}"[:MAX_TITLE_CHARS],
        explanation=f"{plan.title} · 分层 stratum {visit.stratum}",
        plan=f"{plan.number}-{batch.number}",
    )
    visit.task = dispatch(session, rt, [order], author=SYSTEM)[0]
    visit.inspection = session.get_one(Task, visit.task).inspection
    visit.state = state


def settle_drawn(session: Session, rt: Runtime) -> int:
    """Worker step: take the results of drawn visits over from their closed inspections. Returns how many."""
    query = (
        select(DrawnVisit, DrawBatch)
        .join(DrawBatch, DrawBatch.id == DrawnVisit.batch)
        .join(Inspection, Inspection.id == DrawnVisit.inspection)
        .where(DrawnVisit.state == GIVEN, Inspection.closed_at.is_not(None))
        .order_by(DrawnVisit.batch, DrawnVisit.place)
        .limit(VISITS_PER_STEP)
        .with_for_update(skip_locked=True, of=DrawnVisit)
    )
    found = session.execute(query).all()
    for visit, _ in found:
        view = get_view(session, "inspection", str(visit.inspection)) or {}
        _settle(rt, visit, SETTLE, str(view.get(RESULTS)))
    session.flush()
    for batch in {batch.id: batch for _, batch in found}.values():
        complete(session, rt, batch)
    return len(found)


def _settle(rt: Runtime, visit: DrawnVisit, action: str, result: str) -> None:
    visit.state = VISIT.step(visit.state, action)
    visit.result, visit.settled_at = result, rt.now()
    due = deadline_for(rt, "inspection", rt.now().astimezone(CHINA).date())
    visit.due_on, visit.provisional = due.day, due.provisional


def complete(session: Session, rt: Runtime, batch: DrawBatch) -> None:
    """Note that every visit of a batch that was given out is settled, if it is so."""
    left = select(DrawnVisit.place).where(DrawnVisit.batch == batch.id, DrawnVisit.state != SETTLED).limit(1)
    if batch.state == DISPATCHED and session.execute(left).first() is None:
        batch.state = BATCH.step(batch.state, COMPLETE)
        note(session, rt, SYSTEM, batch, COMPLETE, {})


def settle_without_visit(
    session: Session, rt: Runtime, caller: Principal, batch_id: str, place: int, result: str, reason: str
) -> DrawnVisit:
    """Give a drawn entity that cannot be visited (deregistered, moved away, no officers) its result, with a reason.

    Raises:
        Problem: `not-found`; `illegal-transition` once it is given out; `invalid-field` for a code outside the table or
            without a reason.
    """
    batch = get_batch(session, caller, batch_id, lock=True)
    BATCH.step(batch.state, PUBLISH)  # only what is given out has results
    visit = visit_of(session, batch, place)
    VISIT.step(visit.state, CANCEL)
    if code_table(RESULTS).find(result) is None:
        raise Problem("invalid-field", field="result", detail=f"不在代码表中 / not in the code table {RESULTS}")
    if len(reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    _settle(rt, visit, CANCEL, result)
    visit.reason = reason.strip()
    note(session, rt, caller.subject, batch, "cancel", {"entity": visit.entity, "result": result, "reason": reason})
    session.flush()
    complete(session, rt, batch)
    return visit


def publish(session: Session, rt: Runtime, caller: Principal, batch_id: str) -> DrawBatch:
    """Publish the results so far; of a completed batch the file of the draw as well.

    Raises:
        Problem: `not-found`; `illegal-transition`.
    """
    batch = get_batch(session, caller, batch_id, lock=True)
    state = BATCH.step(batch.state, PUBLISH)
    ready = select(DrawnVisit).where(
        DrawnVisit.batch == batch.id, DrawnVisit.state == SETTLED, DrawnVisit.published_at.is_(None)
    )
    count = 0
    for count, visit in enumerate(session.execute(ready).scalars(), start=1):  # noqa: B007 - the last one is the count
        visit.published_at, visit.overdue_at = rt.now(), None
    if state == ALL_PUBLISHED:
        batch.published_at = rt.now()
    batch.state = state
    note(session, rt, caller.subject, batch, PUBLISH, {"results": count})
    session.flush()
    return batch


def watch_results(session: Session, rt: Runtime) -> int:
    """Worker step: mark results whose deadline has passed unpublished. Returns how many."""
    today = rt.now().astimezone(CHINA).date()
    late = (
        select(DrawnVisit)
        .where(DrawnVisit.due_on < today, DrawnVisit.published_at.is_(None), DrawnVisit.overdue_at.is_(None))
        .order_by(DrawnVisit.due_on)
        .limit(VISITS_PER_STEP)
        .with_for_update(skip_locked=True)
    )
    found = session.execute(late).scalars().all()
    for visit in found:
        visit.overdue_at = rt.now()
        note(session, rt, SYSTEM, session.get_one(DrawBatch, visit.batch), "overdue", {"entity": visit.entity})
    return len(found)


def visit_of(session: Session, batch: DrawBatch, place: int) -> DrawnVisit:
    """Return a visit of a batch by its place in the draw.

    Raises:
        Problem: `not-found`.
    """
    visit = session.get(DrawnVisit, (batch.id, place), with_for_update=True, populate_existing=True)
    if visit is None:
        raise Problem("not-found", detail="no drawn visit at this place")
    return visit


def list_visits(session: Session, batch: str, *, after: int = -1, limit: int = 50) -> Sequence[DrawnVisit]:
    """Return the visits of a batch in the order of the draw."""
    query = select(DrawnVisit).where(DrawnVisit.batch == batch, DrawnVisit.place > after)
    return session.execute(query.order_by(DrawnVisit.place).limit(limit)).scalars().all()
