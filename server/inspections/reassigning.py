"""Giving a task to other officers: it leaves the handhelds of the former ones and enters those of the new ones."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.errors import Problem
from server.inspections.models import Inspection, Task
from server.inspections.service import check_fitness, check_officers
from server.officers.service import get_officers
from server.records.lines import Placement
from server.records.placing import Move, move_records, whole_inspection
from server.records.service import OfficeChange, assignees_of, office_write_many
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

MIN_REASON_CHARS = 2
MAX_REASON_CHARS = 2_000


def reassign(
    session: Session, rt: Runtime, caller: Principal, task_id: str, officers: Sequence[str], reason: str
) -> Task:
    """Give a task, its inspection and all that is part of it to other officers of the same department.

    What the former officers wrote and had not synced still lands, in their names; anything they add to the
    inspection belongs to the new ones. To move other records use :func:`server.records.placing.move_records`.

    Args:
        session: the write session; everything happens in its transaction.
        rt: the runtime.
        caller: who decides; the task must be in their scope.
        task_id: the task.
        officers: who is to do it from now on, the leading one first; some may be the former ones.
        reason: why, for the audit.

    Raises:
        Problem: `not-found`, `invalid-field` for officers who may not go, `illegal-transition` when the task is done
            or its inspection closed.
    """
    task = session.get(Task, task_id)
    if task is None:
        raise Problem("not-found", detail="no task with this id")
    require_scope(caller, task.region, task.department)
    if check_officers(rt, officers, get_officers(session, set(officers))) != task.department:
        raise Problem("invalid-field", field="officers", detail="officers of the task's department are needed")
    check_fitness(session, rt, [*get_officers(session, set(officers)).values()], task.entity, "")
    keys = [("task", task_id), *whole_inspection(session, task.inspection)]
    session.refresh(task)
    inspection = session.get(Inspection, task.inspection)
    if task.status == "done" or (inspection is not None and inspection.closed_at is not None):
        raise Problem("illegal-transition", detail="the task is done; there is nothing left to give to others")
    before = assignees_of(session, "task", task_id)
    place = Placement(task.region, task.department, tuple(officers))
    moved = move_records(session, rt, [Move(kind, record, place) for kind, record in keys])
    named = {"officers": list(officers)}
    changes = [OfficeChange(kind, record, named, caller.subject) for kind, record in keys if kind in NAMING]
    office_write_many(session, rt, changes)
    detail = {"from": list(before), "to": sorted(officers), "reason": reason, "records": len(moved)}
    record_event(session, rt, caller.subject, "task.reassign", "task", task_id, detail)
    return task


NAMING = ("task", "inspection")
"""Kinds that name their officers in a field of their own."""
