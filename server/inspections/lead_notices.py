"""Telling officers in the field what became of their lead meanwhile: withdrawn, standing again, or settled at the desk.

Handhelds know a lead only by its task, so the task says it, in an act of the office: by a mark before its title, and
in its explanation. Whether it was said is read from the task itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from schemas.kinds.base import MAX_LABEL_CHARS
from server.audit.service import SYSTEM
from server.inspections.lead_tasks import task_words
from server.inspections.lifecycles import OPEN
from server.inspections.models import Inspection, Task
from server.leads.lifecycle import GENERATED, IN_THE_FIELD, LEAD
from server.leads.models import Lead
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime

BATCH = 100
DONE = "done"


class Notice(NamedTuple):
    """What stands before a task's title, and what before its explanation."""

    mark: str
    words: str


WITHDRAWN = Notice(
    "【线索已撤回 lead withdrawn】",
    "数据已重新判定，不再支持本线索；本次检查不得以其为据。\n"
    "The data were judged anew and do not support this lead any more; it is no ground for the visit.\n",
)
NOTHING = Notice("", "")
SETTLED = Notice(
    "【线索已由内勤核结 lead settled at the desk】",
    "内勤已核结本线索（{zh}），无须现场核查。\nThe desk has settled this lead ({en}); no visit is needed.\n",
)


def tell_officers(session: Session, rt: Runtime) -> int:
    """Worker step: bring tasks in line with their leads. Returns how many were changed."""
    return _tell_withdrawn(session, rt) + _end_settled(session, rt)


def _tell_withdrawn(session: Session, rt: Runtime) -> int:
    told = Task.title.startswith(WITHDRAWN.mark, autoescape=True)
    differs = or_(and_(Lead.withdrawn_at.is_not(None), ~told), and_(Lead.withdrawn_at.is_(None), told))
    query = select(Task, Lead).join(Lead, Task.lead == Lead.id).where(Lead.status.in_(IN_THE_FIELD), differs)
    rows = session.execute(query.where(Task.status != DONE).order_by(Task.id).limit(BATCH)).all()
    return _write(
        session,
        rt,
        [(task, _words(lead, WITHDRAWN if lead.withdrawn_at is not None else NOTHING)) for task, lead in rows],
    )


def _end_settled(session: Session, rt: Runtime) -> int:
    """End the tasks of leads that the desk has settled while no visit was handed in."""
    over = Lead.status.not_in([GENERATED, *IN_THE_FIELD])
    query = (
        select(Task, Lead)
        .join(Lead, Task.lead == Lead.id)
        .join(Inspection, Inspection.id == Task.inspection)
        .where(Task.status != DONE, over, Inspection.status == OPEN)
    )
    rows = session.execute(query.order_by(Task.id).limit(BATCH)).all()
    return _write(session, rt, [(task, {**_words(lead, SETTLED), "status": DONE}) for task, lead in rows])


def _words(lead: Lead, notice: Notice) -> dict[str, str]:
    """Return the title and the explanation of a lead's task with a notice."""
    zh, en = LEAD.states[lead.outcome or lead.status]
    title, explanation = task_words(lead)
    words = notice.words.format(zh=zh, en=en.lower())
    return {"title": f"{notice.mark}{title}"[:MAX_LABEL_CHARS], "explanation": f"{words}{explanation}"}


def _write(session: Session, rt: Runtime, changes: Sequence[tuple[Task, dict[str, str]]]) -> int:
    """Write what tasks say now into their records, and into the rows that are kept of them."""
    if changes:
        office_write_many(session, rt, [OfficeChange("task", task.id, fields, SYSTEM) for task, fields in changes])
    for task, fields in changes:
        task.title, task.status = fields["title"], fields.get("status", task.status)
    return len(changes)
