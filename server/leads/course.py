"""Taking the steps of a lead's course: each is legal, timed, signed with a name, and says when the next one is due.

Officers' steps come by sync, in any order and long after they were taken; what they imply is noted with them. What
stays undone past its deadline is escalated by the worker, level by level.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, func, not_, select
from sqlalchemy.orm import Session

from server.audit.service import SYSTEM, record_event
from server.errors import Problem
from server.leads.lifecycle import (
    DEADLINE_HOURS,
    ESCALATE_AGAIN_HOURS,
    GENERATED,
    IN_THE_FIELD,
    LEAD,
    LEVELS,
    OUTCOME_ACTIONS,
    OUTCOMES,
    SIGN,
    SIGNED_FOR,
    VERIFY,
    VERIFYING,
    escalated_to,
)
from server.leads.models import REASON_CHARS, Lead, LeadStep
from server.runtime import Runtime

BATCH = 200
"""Leads looked at in one step of the worker."""
OPEN, ESCALATE = "open", "escalate"
"""Steps that are no transitions."""
WAYS: Mapping[str, str] = {SIGNED_FOR: SIGN, VERIFYING: VERIFY}
"""How a lead comes to each state that officers bring it to."""


def lock(session: Session, lead_id: str) -> Lead:
    """Return a lead, locked until the end of the transaction.

    Raises:
        Problem: `not-found`.
    """
    lead = session.get(Lead, lead_id, with_for_update=True)
    if lead is None:
        raise Problem("not-found", detail="no such lead")
    return lead


def begin(session: Session, rt: Runtime, lead: Lead) -> None:
    """Note that a lead was opened, and when it is due to be pushed."""
    _set_due(rt, lead, rt.now())
    detail = {"rule": f"{lead.rule_code}/{lead.rule_version}", "entity": lead.entity_id}
    _note(session, rt, lead, OPEN, source="", actor=SYSTEM, at=rt.now(), due_at=None, detail=detail)


def take(
    session: Session,
    rt: Runtime,
    lead: Lead,
    action: str,
    *,
    actor: str,
    at: datetime | None = None,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Take one step of a locked lead's course.

    Args:
        session: the write session.
        rt: the runtime.
        lead: the lead, locked.
        action: an action of `lifecycle.LEAD`.
        actor: who does it: an officer's or account's id, or the system.
        at: when it was done, if that was before now.
        reason: why, in a person's words.
        detail: further facts for the history; no personal data.

    Raises:
        Problem: `illegal-transition` naming the legal actions.
    """
    source, due_at = lead.status, lead.due_at
    lead.status = LEAD.step(source, action)
    done_at = _in_order(session, rt, lead, at)
    if lead.status in OUTCOMES:
        lead.outcome = lead.status
    elif lead.status in IN_THE_FIELD:
        lead.outcome = None
    lead.held_up = ""
    _set_due(rt, lead, done_at)
    _note(
        session, rt, lead, action, source=source, actor=actor, at=done_at, due_at=due_at, reason=reason, detail=detail
    )


def _in_order(session: Session, rt: Runtime, lead: Lead, at: datetime | None) -> datetime:
    """Return when a step was done: not before the one before it, nor in the future, whatever a clock said."""
    before = session.scalar(select(func.max(LeadStep.at)).where(LeadStep.lead_id == lead.id))
    return min(max(at or rt.now(), before or lead.created_at), rt.now())


def _set_due(rt: Runtime, lead: Lead, since: datetime) -> None:
    hours = rt.settings.lead_hours.get(lead.status, DEADLINE_HOURS.get(lead.status))
    lead.due_at = lead.escalate_at = None if hours is None else since + timedelta(hours=hours)
    lead.escalation = 0


def _note(
    session: Session,
    rt: Runtime,
    lead: Lead,
    action: str,
    *,
    source: str,
    actor: str,
    at: datetime,
    due_at: datetime | None,
    reason: str = "",
    detail: Mapping[str, Any] | None = None,
) -> None:
    session.flush()
    number = session.scalar(select(func.count()).where(LeadStep.lead_id == lead.id)) or 0
    step = LeadStep(
        lead_id=lead.id, number=number + 1, action=action, source=source, target=lead.status, actor=actor, at=at,
        noted_at=rt.now(), due_at=due_at, reason=reason[:REASON_CHARS], detail=dict(detail or {}),
    )  # fmt: skip
    session.add(step)
    facts = {**step.detail, "from": source, "to": lead.status} | ({"reason": reason} if reason else {})
    record_event(
        session, rt, actor, f"lead.{action}", "lead", lead.id, facts, region=lead.region, department=lead.department
    )


def follow(session: Session, rt: Runtime, lead_id: str, state: str, *, actor: str, at: datetime) -> bool:
    """Bring a lead to what officers did with its task; steps that this implies are noted with it.

    A lead that is past it already stays where it is: acts come in any order.

    Args:
        session: the write session.
        rt: the runtime.
        lead_id: the lead.
        state: `signed_for` or `verifying`.
        actor: the officer.
        at: when it was done, by the handheld's corrected clock.

    Returns:
        Whether it moved.

    Raises:
        Problem: `not-found`.
    """
    lead = lock(session, lead_id)
    if lead.status not in IN_THE_FIELD or IN_THE_FIELD.index(state) <= IN_THE_FIELD.index(lead.status):
        return False
    for passed in IN_THE_FIELD[IN_THE_FIELD.index(lead.status) + 1 : IN_THE_FIELD.index(state) + 1]:
        implied = {} if passed == state else {"implied_by": state}
        take(session, rt, lead, WAYS[passed], actor=actor, at=at, detail=implied)
    return True


def conclude(
    session: Session,
    rt: Runtime,
    lead_id: str,
    outcome: str,
    *,
    actor: str,
    at: datetime,
    detail: Mapping[str, Any] | None = None,
) -> bool:
    """Note what verifying a lead came to, where nobody at the desk has settled it before; returns whether that was so.

    Raises:
        Problem: `not-found`.
    """
    follow(session, rt, lead_id, VERIFYING, actor=actor, at=at)
    lead = lock(session, lead_id)
    if lead.status != VERIFYING:
        return False
    take(session, rt, lead, OUTCOME_ACTIONS[outcome], actor=actor, at=at, detail=detail)
    return True


def escalate_overdue(session: Session, rt: Runtime) -> int:
    """Worker step: raise leads that are overdue a level, at most once for each day they stay so. Returns how many."""
    query = select(Lead).where(Lead.escalate_at <= rt.now(), counts_as_open()).order_by(Lead.escalate_at).limit(BATCH)
    leads = session.scalars(query.with_for_update(skip_locked=True)).all()
    for lead in leads:
        lead.escalation += 1
        higher = lead.escalation < max(LEVELS)
        lead.escalate_at = rt.now() + timedelta(hours=ESCALATE_AGAIN_HOURS) if higher else None
        detail = {"level": lead.escalation, "to": escalated_to(lead.region, lead.escalation), "held_up": lead.held_up}
        _note(
            session, rt, lead, ESCALATE, source=lead.status, actor=SYSTEM, at=rt.now(), due_at=lead.due_at,
            detail=detail,
        )  # fmt: skip
    return len(leads)


def counts_as_open() -> ColumnElement[bool]:
    """Return the condition that a lead's deadline means something: nothing is due of one withdrawn before its push."""
    return not_(and_(Lead.status == GENERATED, Lead.withdrawn_at.is_not(None)))


def is_overdue(lead: Lead, now: datetime) -> bool:
    """Tell whether a lead's next step is late."""
    return lead.due_at is not None and lead.due_at < now and not (lead.status == GENERATED and lead.withdrawn_at)


def steps_of(session: Session, lead_id: str) -> Sequence[LeadStep]:
    """Return a lead's history, oldest first."""
    return session.scalars(select(LeadStep).where(LeadStep.lead_id == lead_id).order_by(LeadStep.number)).all()
