"""Leads as work: each becomes one task for two officers of the right duty and region, and ends with what they find."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from schemas.kinds.base import MAX_LABEL_CHARS
from server.audit.service import SYSTEM
from server.clock import from_ms
from server.directory.service import checklist_for
from server.inspections.models import Task
from server.inspections.service import DispatchOrder, choose_team, dispatch
from server.leads import course, extract
from server.leads import service as leads
from server.leads.lifecycle import CONFIRMED, DEADLINE_HOURS, IN_THE_FIELD, REFUTED, SIGNED_FOR, VERIFYING
from server.leads.models import Lead
from server.officers.service import officers_for
from server.records.batch import SETTLED
from server.records.lines import Placement
from server.records.models import RecordAssignee
from server.records.service import acts_of
from server.runtime import Runtime
from server.web.body import parse_json

LEADS_PER_STEP = 100
STEPS = {"signed_for": SIGNED_FOR, "in_progress": VERIFYING}
"""Where a lead stands once its task is in a state."""
NO_PROBLEM = "01"
"""Code of the table `inspection_result`."""
NOBODY = "暂无两名可派执法人员 / no two officers may go"
NO_CHECKLIST = "该部门没有生效的检查清单 / the department has no checklist in force"


def dispatch_open_leads(session: Session, rt: Runtime) -> int:
    """Worker step: turn leads that nobody has yet into tasks for two officers. Returns how many.

    They are officers of the sensor's department whose region covers the place, with certificates for the item's sector
    and nobody to keep away from; among those, the ones with the fewest tasks from leads, so that work spreads evenly.
    """
    opened = leads.list_open(session, limit=LEADS_PER_STEP)
    if not opened:
        return 0
    load = _load(session)
    done = 0
    for lead in opened:
        fit = officers_for(session, lead.region, lead.department, rt.now())
        checklist = checklist_for(session, lead.department)
        chosen = choose_team(session, rt, fit, lead.entity_id, checklist, load)
        if not chosen or checklist is None:  # stays open and is tried again
            lead.held_up = NOBODY if checklist is not None else NO_CHECKLIST
            continue
        for officer in chosen:
            load[officer.id] = load.get(officer.id, 0) + 1
        _push(session, rt, lead, checklist.id, tuple(officer.id for officer in chosen))
        done += 1
    return done


def task_words(lead: Lead) -> tuple[str, str]:
    """Return the title and the explanation of a lead's task."""
    title = f"核查线索 {lead.title_zh} · Verify lead: {lead.title_en}"[:MAX_LABEL_CHARS]
    return title, f"{lead.explanation_zh}\n{lead.explanation_en}"


def _push(session: Session, rt: Runtime, lead: Lead, checklist: str, officers: tuple[str, ...]) -> None:
    hours = rt.settings.lead_hours
    title, explanation = task_words(lead)
    order = DispatchOrder(
        origin="lead",
        entity=lead.entity_id,
        checklist=checklist,
        officers=officers,
        due_at=rt.now() + timedelta(hours=sum(hours.get(state, DEADLINE_HOURS[state]) for state in IN_THE_FIELD)),
        title=title,
        explanation=explanation,
        lead=lead.id,
        extract=rt.new_id(),
    )
    task_id = dispatch(session, rt, [order], author=SYSTEM)[0]
    task = session.get_one(Task, task_id)
    place = Placement(task.region, task.department, tuple(sorted(officers)))
    extract.hand_over(session, rt, lead, str(order.extract), task.inspection, place)
    leads.mark_pushed(session, rt, lead.id, task_id, officers)


def _load(session: Session) -> dict[str, int]:
    """How many tasks from leads each officer has been given."""
    query = (
        select(RecordAssignee.officer, func.count())
        .join(Task, (Task.id == RecordAssignee.id) & (RecordAssignee.kind == "task"))
        .where(Task.origin == "lead")
        .group_by(RecordAssignee.officer)
    )
    return {officer: int(count) for officer, count in session.execute(query)}


def follow_lead(session: Session, rt: Runtime, task: Task) -> None:
    """Bring a lead to what officers did with its task; who did it and when is told by the acts themselves."""
    if task.lead is None or task.status not in STEPS:
        return
    lead = session.get(Lead, task.lead)
    if lead is None or lead.status not in IN_THE_FIELD or lead.status == STEPS[task.status]:
        return
    for act in acts_of(session, "task", task.id):
        said = parse_json(act.body)["fields"].get("status") if act.body and act.status in SETTLED else None
        if said in STEPS:
            course.follow(session, rt, task.lead, STEPS[said], actor=act.author, at=from_ms(act.at_ms))


def settle_lead(session: Session, rt: Runtime, task_id: str, fields: Mapping[str, Any]) -> None:
    """Take what officers found at the visit over into the lead; called when the inspection closes.

    Their own word on the lead counts. Handhelds that do not ask for it leave it to the result of the visit.
    """
    task = session.get(Task, task_id)
    if task is None or task.lead is None:
        return
    said = fields.get("lead_outcome")
    outcome = said or (REFUTED if fields["result"] == NO_PROBLEM else CONFIRMED)
    actor = _author_of(session, task.inspection, "lead_outcome" if said else "result")
    detail = {"inspection": task.inspection, "result": fields["result"], "said_by": "officers" if said else "result"}
    at = datetime.fromisoformat(fields["inspected_at"])
    course.conclude(session, rt, task.lead, outcome, actor=actor, at=at, detail=detail)


def _author_of(session: Session, inspection: str, field: str) -> str:
    """Return who said what stands in a field of an inspection: an officer, or whoever decided a conflict."""
    authors = [
        act.author
        for act in acts_of(session, "inspection", inspection)
        if act.body and act.status in SETTLED and field in parse_json(act.body)["fields"]
    ]
    return authors[-1] if authors else SYSTEM
