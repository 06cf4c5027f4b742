"""Giving work to officers: dispatching plans and leads as tasks, each with its inspection opened beside it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

from sqlalchemy import String, cast, select
from sqlalchemy.orm import Session

from schemas.visit_rules import PLANNED, is_capped
from server.audit.service import record_event
from server.directory.models import Checklist
from server.directory.service import checklist_in_force, get_item
from server.entities.merging import survivor
from server.entities.service import get_entity
from server.errors import Problem
from server.inspections.filing import Filing, file_visit, reason_of
from server.inspections.limits import check_cap
from server.inspections.models import Inspection, Task
from server.officers.fitness import avoided, certificate_fault
from server.officers.models import Officer
from server.officers.service import avoidances_of, get_officers
from server.records.lines import Placement
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from server.web.principal import Principal, covers, require_scope

OFFICERS_PER_TASK = 2
"""At least two certified officers carry out an inspection."""
MAX_DISPATCH = 500
"""Most orders in one request."""


@dataclass(frozen=True)
class DispatchOrder:
    """Work to be given to officers."""

    origin: str
    """plan, lead or recheck."""
    entity: str
    checklist: str
    officers: tuple[str, ...]
    due_at: datetime
    title: str
    explanation: str = ""
    lead: str | None = None
    plan: str | None = None
    extract: str | None = None
    """Id of the evidence record with the readings that a lead rests on."""
    recheck_of: str | None = None
    """The inspection whose rectification orders are to be re-checked."""
    visit_reason: str = ""
    """Code of the table `visit_reason`; empty: as follows from the origin."""


def dispatch(session: Session, rt: Runtime, orders: Sequence[DispatchOrder], *, author: str) -> list[str]:
    """Make a task and open its inspection for each order; both reach the officers' handhelds at their next sync.

    Returns:
        The task ids, in order.

    Raises:
        Problem: `limit-exceeded` for too many orders, or one more planned visit than an entity may get in a year;
            `not-found`, or `invalid-field` when officers are too few, of different departments,
            or their certificates do not cover today.
    """
    if len(orders) > MAX_DISPATCH:
        raise Problem("limit-exceeded", field="orders", detail="too many orders", limit=MAX_DISPATCH)
    people = get_officers(session, {officer for order in orders for officer in order.officers})
    lists: dict[str, Checklist] = {}
    tasks, changes = [], []
    planned: Counter[str] = Counter()
    for order in orders:
        department = check_officers(rt, order.officers, people)
        checklist = lists.setdefault(order.checklist, checklist_in_force(session, order.checklist))
        entity = survivor(session, get_entity(session, order.entity))
        sector = get_item(session, checklist.item).sector
        check_fitness(session, rt, [people[officer] for officer in order.officers], entity.id, sector)
        reason = reason_of(vars(order))
        check_cap(session, rt, entity, reason, planned[entity.id])
        planned[entity.id] += is_capped(reason)
        place = Placement(entity.region, department, tuple(sorted(order.officers)))
        task_id, inspection_id = rt.new_id(), rt.new_id()
        shared: dict[str, Any] = {
            "entity": entity.id,
            "item": checklist.item,
            "checklist": checklist.id,
            "checklist_version": checklist.version,
            "officers": list(order.officers),
        } | {name: value for name in ("plan", "recheck_of") if (value := getattr(order, name))}
        if reason != PLANNED:
            shared["visit_reason"] = reason
        task = shared | _task_fields(order) | {"inspection": inspection_id}
        changes.append(OfficeChange("task", task_id, task, author, place))
        opened = shared | {"task": task_id, "status": "open"}
        changes.append(OfficeChange("inspection", inspection_id, opened, author, place))
        tasks.append(task_id)
    office_write_many(session, rt, changes)
    _add_rows(session, rt, changes)
    for task_id, order in zip(tasks, orders, strict=True):
        record_event(session, rt, author, "task.dispatch", "task", task_id, {"origin": order.origin})
    return tasks


def _task_fields(order: DispatchOrder) -> dict[str, Any]:
    optional = {"lead": order.lead, "extract": order.extract, "explanation": order.explanation or None}
    return {
        "title": order.title,
        "origin": order.origin,
        "due_at": order.due_at.isoformat(),
        "status": "assigned",
    } | {name: value for name, value in optional.items() if value is not None}


def check_officers(rt: Runtime, officers: Sequence[str], people: Mapping[str, Officer]) -> str:
    """Return the department of the officers of a visit after checking that they may go.

    Raises:
        Problem: `invalid-field` or `not-found`, as :func:`dispatch` says.
    """
    if len(set(officers)) < OFFICERS_PER_TASK:
        raise Problem("invalid-field", field="officers", detail="two officers are needed", limit=OFFICERS_PER_TASK)
    for officer_id in officers:
        officer = people.get(officer_id)
        if officer is None:
            raise Problem("not-found", field="officers", detail=f"no officer {officer_id}")
        if fault := certificate_fault(officer, rt.now(), ""):
            raise Problem("invalid-field", field="officers", detail=f"{officer_id}: {fault}", reason=fault)
    departments = {people[officer].department for officer in officers}
    if len(departments) > 1:
        raise Problem("invalid-field", field="officers", detail="officers of one department are needed")
    return departments.pop()


def check_fitness(session: Session, rt: Runtime, team: Sequence[Officer], entity: str, sector: str) -> None:
    """Refuse officers whose certificates do not cover now and the sector, or who must keep away from somebody.

    Raises:
        Problem: `invalid-field` naming the officer and the reason.
    """
    for officer in team:
        if fault := certificate_fault(officer, rt.now(), sector):
            raise Problem("invalid-field", field="officers", detail=f"{officer.id}: {fault}", reason=fault)
    ids = [officer.id for officer in team]
    if clash := avoided(ids, entity, avoidances_of(session, ids)):
        detail = f"{clash[0]} must keep away from {clash[1]}"
        raise Problem("invalid-field", field="officers", detail=detail, reason="avoidance")


def _add_rows(session: Session, rt: Runtime, changes: Sequence[OfficeChange]) -> None:
    for change in changes:
        place, fields = change.placement or Placement("", ""), change.fields
        where = {"id": change.record, "region": place.region, "department": place.department}
        if change.kind == "task":
            session.add(
                Task(
                    **where,
                    title=fields["title"],
                    origin=fields["origin"],
                    lead=fields.get("lead"),
                    entity=fields["entity"],
                    inspection=fields["inspection"],
                    status=fields["status"],
                    due_at=datetime.fromisoformat(fields["due_at"]),
                    created_at=rt.now(),
                )
            )
            filing = Filing.of_task(change.record, place.region, place.department, fields, rt.now())
            file_visit(session, rt, filing)
        else:
            session.add(
                Inspection(
                    **where, task=fields["task"], entity=fields["entity"], status="open",
                    check_after=rt.now(), blockers=[], visit_reason=fields.get("visit_reason"),
                )
            )  # fmt: skip
    session.flush()


def check_scope(session: Session, caller: Principal, orders: Sequence[DispatchOrder]) -> None:
    """Refuse orders for entities or officers outside the caller's region and department.

    Raises:
        Problem: `not-found` (what is outside one's scope does not exist for one).
    """
    people = get_officers(session, {officer for order in orders for officer in order.officers})
    for order in orders:
        entity = get_entity(session, order.entity)
        for officer in order.officers:
            known = people.get(officer)
            if known is None or not covers(caller, entity.region, known.department):
                raise Problem("not-found", field="officers", detail="outside your region and department")


def choose_team(
    session: Session,
    rt: Runtime,
    fit: Sequence[Officer],
    entity: str,
    checklist: Checklist | None,
    load: dict[str, int],
) -> tuple[Officer, ...]:
    """Return the least loaded officers who may go together; nobody when there are too few."""
    if checklist is None:
        return ()
    sector, rules = get_item(session, checklist.item).sector, avoidances_of(session, [officer.id for officer in fit])
    able = [one for one in fit if not certificate_fault(one, rt.now(), sector) and not avoided([one.id], entity, rules)]
    able.sort(key=lambda officer: (load.get(officer.id, 0), officer.id))
    teams = combinations(able, OFFICERS_PER_TASK)
    return next((team for team in teams if not avoided([one.id for one in team], entity, rules)), ())


def may_go(session: Session, rt: Runtime, officers: Sequence[str], entity: str, checklist: Checklist) -> bool:
    """Tell whether officers may visit an entity together now."""
    people = get_officers(session, officers)
    try:
        check_officers(rt, officers, people)
        check_fitness(session, rt, list(people.values()), entity, get_item(session, checklist.item).sector)
    except Problem:
        return False
    return True


def list_tasks(session: Session, caller: Principal, *, after: str = "", limit: int = 50) -> list[Task]:
    """Return the tasks of the caller's scope in order of id."""
    query = select(Task).where(Task.region.startswith(caller.region, autoescape=True), Task.id > after)
    if caller.department:
        query = query.where(Task.department == caller.department)
    return list(session.execute(query.order_by(Task.id).limit(limit)).scalars())


def get_inspection(session: Session, caller: Principal, inspection: str, *, lock: bool = False) -> Inspection:
    """Return an inspection of the caller's scope; with `lock` nobody else changes it until the transaction ends.

    Raises:
        Problem: `not-found`.
    """
    row = session.get(Inspection, inspection, with_for_update=lock, populate_existing=lock)
    if row is None:
        raise Problem("not-found", detail="no inspection with this id")
    require_scope(caller, row.region, row.department)
    return row


def list_inspections(
    session: Session, caller: Principal, *, marked: bool = False, after: str = "", limit: int = 50
) -> list[Inspection]:
    """Return the inspections of the caller's scope in order of id, or those that broke a limit on visits."""
    query = select(Inspection).where(
        Inspection.region.startswith(caller.region, autoescape=True), Inspection.id > after
    )
    if caller.department:
        query = query.where(Inspection.department == caller.department)
    if marked:
        query = query.where(cast(Inspection.marks, String) != "[]")
    return list(session.execute(query.order_by(Inspection.id).limit(limit)).scalars())
