"""Closing the rectification loop: the re-check as a task on the handhelds, and what its outcome leads to.

An order is given out for its re-check when the firm has reported, or some days before its deadline. When the re-check's
inspection closes, what was put right is closed and what was not becomes the draft of a penalty. What the record leaves
open (no outcome, officers who disagree, nothing that shows it) waits for a person.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from schemas.kinds.base import MAX_LABEL_CHARS, MAX_TEXT_CHARS
from server.audit.service import SYSTEM, record_event
from server.behaviors.models import Behavior
from server.behaviors.proceedings import Opening, open_proceeding
from server.directory.lifecycle import PUBLISHED
from server.directory.models import Checklist
from server.entities.service import get_entity
from server.errors import Problem
from server.inspections.lifecycles import (
    CLOSE,
    CLOSED,
    PENALIZE,
    PENALTY,
    RECHECK,
    RECHECKED,
    RECTIFICATION,
    REPORTED,
    UNSETTLED,
)
from server.inspections.models import Inspection, Rectification
from server.inspections.rectifying import get_order, write_order
from server.inspections.service import DispatchOrder, choose_team, dispatch, may_go
from server.officers.service import get_officers, officers_for
from server.records.lines import Placement
from server.records.placing import Move, move_records
from server.records.service import assignees_of, get_view
from server.runtime import Runtime
from server.web.principal import Principal

RECHECK_WITHIN_S = 5 * 86_400
"""Time for a re-check whose deadline has passed or is close."""
INSPECTIONS_PER_STEP = 50
ORDERS_PER_STEP = 200
FROM_INSPECTION = "01"
"""Code of the table `case_source`."""


def dispatch_rechecks(session: Session, rt: Runtime) -> int:
    """Worker step: give out the re-checks that are due. Returns how many tasks were made."""
    ahead = rt.settings.recheck_ahead_days
    if ahead is None:
        return 0
    soon = rt.now() + timedelta(days=ahead)
    query = (
        select(Rectification.inspection)
        .join(Inspection, Inspection.id == Rectification.inspection)
        .where(Rectification.task.is_(None), Rectification.state.in_(UNSETTLED), Inspection.closed_at.is_not(None))
        .where(or_(Rectification.state == REPORTED, Rectification.deadline <= soon))
        .group_by(Rectification.inspection)
        .order_by(Rectification.inspection)
        .limit(INSPECTIONS_PER_STEP)
    )
    return sum(give_out(session, rt, str(one), author=SYSTEM) is not None for one in session.execute(query).scalars())


def give_out(
    session: Session, rt: Runtime, inspection: str, *, author: str, officers: Sequence[str] = ()
) -> str | None:
    """Make the task for re-checking all orders of an inspection that wait for it.

    The officers are those named, else those of the inspection while they may go, else the least loaded who may.

    Returns:
        The task, or None when nothing waits, or nobody may go yet: it is tried again.
    """
    waiting = select(Rectification).where(
        Rectification.inspection == inspection, Rectification.task.is_(None), Rectification.state.in_(UNSETTLED)
    )
    orders = list(session.execute(waiting.order_by(Rectification.id).with_for_update()).scalars())
    checklist = _checklist(session, inspection)
    if not orders or checklist is None or orders[0].entity is None:
        return None
    team = tuple(officers) or _team(session, rt, orders[0], checklist)
    if not team:
        return None
    entity = get_entity(session, orders[0].entity)
    latest = max(one.deadline for one in orders if one.deadline) if any(one.deadline for one in orders) else rt.now()
    order = DispatchOrder(
        origin="recheck",
        entity=entity.id,
        checklist=checklist.id,
        officers=team,
        due_at=max(latest, rt.now() + timedelta(seconds=RECHECK_WITHIN_S)),
        title=f"整改复查 Re-check: {entity.name}"[:MAX_LABEL_CHARS],
        explanation="\n".join(one.requirement or "" for one in orders)[:MAX_TEXT_CHARS],
        recheck_of=inspection,
    )
    task = dispatch(session, rt, [order], author=author)[0]
    opened = get_view(session, "task", task) or {}
    moves = []
    for one in orders:
        one.task, one.recheck = task, opened.get("inspection")
        now = assignees_of(session, "rectification", one.id)
        if not set(team) <= set(now):
            place = Placement(one.region, one.department, tuple(sorted({*now, *team})))
            moves.append(Move("rectification", one.id, place))
        record_event(session, rt, author, "rectification.give-out", "rectification", one.id, {"task": task})
    move_records(session, rt, moves)
    return task


def _checklist(session: Session, inspection: str) -> Checklist | None:
    """The version in force of the list by which the inspection was made."""
    made = get_view(session, "inspection", inspection) or {}
    used = session.get(Checklist, made["checklist"]) if made.get("checklist") else None
    if used is None:
        return None
    query = select(Checklist).where(Checklist.code == used.code, Checklist.status == PUBLISHED)
    return session.execute(query).scalar_one_or_none()


def _team(session: Session, rt: Runtime, order: Rectification, checklist: Checklist) -> tuple[str, ...]:
    made = get_view(session, "inspection", order.inspection or "") or {}
    former = tuple(made.get("officers") or ())
    if may_go(session, rt, former, str(order.entity), checklist):
        return former
    fit = officers_for(session, order.region, order.department, rt.now())
    return tuple(one.id for one in choose_team(session, rt, fit, str(order.entity), checklist, {}))


def give_out_order(
    session: Session, rt: Runtime, caller: Principal, order: str, officers: Sequence[str]
) -> Rectification:
    """Give an order's re-check out now, to named officers or those of its inspection.

    Raises:
        Problem: `not-found`; `illegal-transition` once it was re-checked or is given out; `conflict` while the
            inspection is not closed or nobody may go; `invalid-field` for officers who may not go.
    """
    row = get_order(session, caller, order, lock=True)
    RECTIFICATION.step(row.state, RECHECK)
    if row.task is not None:
        legal = [one for one in RECTIFICATION.legal(row.state) if one != RECHECK]
        raise Problem("illegal-transition", detail="its re-check is given out", state=row.state, legal=legal)
    made = session.get(Inspection, row.inspection) if row.inspection else None
    if made is None or made.closed_at is None:
        raise Problem("conflict", field="inspection", detail="the inspection is not closed yet")
    if any(one.department != row.department for one in get_officers(session, officers).values()):
        raise Problem("invalid-field", field="officers", detail="officers of the order's department are needed")
    if give_out(session, rt, made.id, author=caller.subject, officers=officers) is None:
        raise Problem("conflict", field="officers", detail="nobody may go, or no checklist is in force")
    return row


def settle_rechecks(session: Session, rt: Runtime) -> int:
    """Worker step: settle the orders whose re-check is closed. Returns how many."""
    query = (
        select(Rectification)
        .join(Inspection, Inspection.id == Rectification.recheck)
        .where(Rectification.state == RECHECKED, Rectification.outcome.is_not(None), Inspection.closed_at.is_not(None))
        .order_by(Rectification.id)
        .limit(ORDERS_PER_STEP)
        .with_for_update(skip_locked=True, of=Rectification)
    )
    done = 0
    for row in session.execute(query).scalars():
        if row.outcome != "corrected":
            done += _penalize(session, rt, row, author=SYSTEM, reason="") is not None
        elif (get_view(session, "rectification", row.id) or {}).get("evidence"):
            _close(session, rt, row, author=SYSTEM, reason="")
            done += 1
    return done


def settle(session: Session, rt: Runtime, caller: Principal, order: str, action: str, reason: str) -> Rectification:
    """Settle a re-checked order as a person, where its record leaves it open.

    Raises:
        Problem: `not-found`; `illegal-transition` naming the legal actions; `conflict` when the inspection has no
            behavior yet that a penalty could follow.
    """
    row = get_order(session, caller, order, lock=True)
    RECTIFICATION.step(row.state, action)
    if action == CLOSE:
        _close(session, rt, row, author=caller.subject, reason=reason)
    elif action != PENALIZE:
        legal = list(RECTIFICATION.legal(row.state))
        raise Problem("illegal-transition", field="action", detail="is not done here", state=row.state, legal=legal)
    elif _penalize(session, rt, row, author=caller.subject, reason=reason) is None:
        raise Problem("conflict", field="inspection", detail="the inspection is no behavior yet")
    return row


def _close(session: Session, rt: Runtime, row: Rectification, *, author: str, reason: str) -> None:
    write_order(session, rt, row, {"status": CLOSED, "disposal": "corrected"}, author=author)
    row.state, row.closed_at, row.overdue_at = CLOSED, rt.now(), None
    record_event(session, rt, author, "rectification.close", "rectification", row.id, {"reason": reason})


def _penalize(session: Session, rt: Runtime, row: Rectification, *, author: str, reason: str) -> str | None:
    query = select(Behavior.number).where(
        Behavior.inspection == row.inspection, Behavior.kind == "inspection", Behavior.status == "current"
    )
    number = session.execute(query).scalar_one_or_none()
    if number is None:
        return None
    opening = Opening("penalty", number, _draft(session, row), rectification=row.id)
    proceeding = open_proceeding(session, rt, opening, author=author)
    write_order(session, rt, row, {"status": CLOSED, "disposal": PENALTY}, author=author)
    row.state, row.closed_at, row.proceeding = PENALTY, rt.now(), proceeding.id
    detail = {"proceeding": proceeding.id, "reason": reason}
    record_event(session, rt, author, "rectification.penalize", "rectification", row.id, detail)
    return proceeding.id


def _draft(session: Session, row: Rectification) -> dict[str, Any]:
    """What is known of the penalty: the facts, and the basis that the checklist's line names."""
    facts = f"逾期未改正：{row.requirement or ''}（复查未通过） / not put right by the deadline, found at the re-check"
    draft: dict[str, Any] = {"case_source": FROM_INSPECTION, "facts": facts[:MAX_TEXT_CHARS]}
    answer = get_view(session, "answer", row.answer) if row.answer else None
    made = get_view(session, "inspection", row.inspection or "") or {}
    checklist = session.get(Checklist, made["checklist"]) if made.get("checklist") else None
    for line in checklist.sub_items if checklist and answer else ():
        if answer and line["number"] == answer.get("number") and line.get("penalty_basis"):
            draft["basis"] = line["penalty_basis"]
    return draft
