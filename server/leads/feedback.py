"""Feeding back what came of a lead: it becomes an off-site supervision behavior, and counts for its rule."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import SYSTEM
from server.behaviors.offsite import OffsiteFinding, create_offsite_behavior
from server.errors import Problem
from server.leads import course
from server.leads.lifecycle import DISPOSED, FEED_BACK, OUTCOME_ACTIONS, REFUTED
from server.leads.models import HELD_UP_CHARS, Lead, LeadStep
from server.records.service import get_view
from server.runtime import Runtime

BATCH = 50
"""Leads fed back in one step of the worker."""
NO_PROBLEM, CORRECTION_ORDERED, PASSED_ON, OTHER = "01", "03", "04", "99"
"""Codes of the table `inspection_result`."""
RESULTS = {"rectification": CORRECTION_ORDERED, "penalty": PASSED_ON}
"""What a disposal makes the result of the behavior; of others it is `99`."""


def feed_back_step(session: Session, rt: Runtime) -> int:
    """Worker step: feed back the leads that are disposed of. Returns how many.

    What is in the way is noted with the lead, and tried again after those that nothing was in the way of.
    """
    query = select(Lead).where(Lead.status == DISPOSED).order_by(Lead.held_up != "", Lead.id).limit(BATCH)
    done = 0
    for lead in session.scalars(query.with_for_update(skip_locked=True)).all():
        try:
            with session.begin_nested():
                behavior = None if lead.withdrawn_at is not None else _become_behavior(session, rt, lead)
        except Problem as problem:
            lead.held_up = f"{problem.field or problem.code}: {problem.detail or ''}"[:HELD_UP_CHARS]
            continue
        lead.behavior_id = behavior
        detail = {"behavior": behavior, "rule": f"{lead.rule_code}/{lead.rule_version}", "outcome": lead.outcome}
        course.take(session, rt, lead, FEED_BACK, actor=SYSTEM, detail=detail)
        done += 1
    return done


def _become_behavior(session: Session, rt: Runtime, lead: Lead) -> str:
    """Write the behavior of a lead, in the names of the officers who had its task.

    A lead that its data do not support any more never comes here: nobody is accused on data that do not count.
    """
    task = get_view(session, "task", lead.task_id) if lead.task_id else None
    if task is None:
        raise Problem("not-found", field="task", detail="the lead has no task, and so no officers")
    outcome = select(LeadStep.at).where(
        LeadStep.lead_id == lead.id, LeadStep.action.in_(list(OUTCOME_ACTIONS.values()))
    )
    finding = OffsiteFinding(
        lead=lead.id,
        entity=str(task["entity"]),  # the survivor, where two records of one entity were merged
        checklist=str(task["checklist"]),
        officers=tuple(task["officers"]),
        established_at=session.scalars(outcome.order_by(LeadStep.number.desc()).limit(1)).one(),
        result=NO_PROBLEM if lead.outcome == REFUTED else RESULTS.get(lead.disposal or "", OTHER),
    )
    return create_offsite_behavior(session, rt, finding, author=SYSTEM)
