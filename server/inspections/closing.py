"""Closing inspections: what blocks it, and what a closed one becomes.

A submitted inspection closes when nothing is left to decide or to arrive: no conflict in it or its parts, no held act,
all declared evidence verified, result and conclusion given, and fresh signatures of two different officers. Closing
writes the supervision behavior in the same transaction.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.codes import code_table
from schemas.kinds.field_work import UNSIGNED_FIELDS
from server.audit.service import SYSTEM, record_event
from server.behaviors.national import inspection_content
from server.behaviors.service import BehaviorDraft, create_behavior
from server.directory.service import get_checklist, get_item
from server.entities.service import get_entity
from server.errors import Problem
from server.evidence.retention import note_closed
from server.evidence.service import manifest
from server.inspections.field_checks import field_blockers
from server.inspections.lead_tasks import settle_lead
from server.inspections.limits import limit_marks
from server.inspections.models import Inspection, Task, VisitFiling
from server.inspections.pinning import item_as_it_was
from server.officers.service import get_officers
from server.records.lines import decode_state, view_of
from server.records.models import Act, SyncedRecord
from server.records.service import OfficeChange, children_of, office_write_many
from server.runtime import Runtime
from sync.dots import parse_dot
from sync.merge import Verdict
from sync.registers import RecordState
from sync.signing import is_stale

BATCH = 50
"""Most inspections looked at in one step; the write lock is not held for long."""
RETRY_S = 2
"""A blocked inspection is looked at again after this long, or as soon as one of its records changes."""
SIGNERS = 2
DRAW_RESULT = "double_random_result"
"""A field of the inspection, and the code table of its values."""
NEEDED = ("entity", "checklist", "inspected_at", "form", "category", "result", "conclusion", "officers")

Blocker = dict[str, Any]


def close_ready(session: Session, rt: Runtime) -> int:
    """Worker step: close submitted inspections that nothing blocks. Returns how many were closed."""
    now = rt.now()
    query = (
        select(Inspection)
        .where(Inspection.status == "submitted", Inspection.behavior.is_(None), Inspection.check_after <= now)
        .order_by(Inspection.check_after)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    )
    closed = 0
    for row in session.execute(query).scalars():
        record = session.get(SyncedRecord, ("inspection", row.id))
        if record is None:
            continue
        state = decode_state(record.line)
        fields = view_of("inspection", state)
        row.marks = limit_marks(session, rt, row, fields)
        row.blockers = blockers(session, now, record, state, fields)
        if rt.settings.visit_limits == "block" and row.excuse is None:
            row.blockers = [*row.blockers, *row.marks]
        row.check_after = now + timedelta(seconds=RETRY_S)
        if not row.blockers:
            closed += _close(session, rt, row, fields)
    return closed


def blockers(
    session: Session, now: datetime, record: SyncedRecord, state: RecordState, fields: Mapping[str, Any]
) -> list[Blocker]:
    """Return what keeps an inspection from closing, each as `{"reason", ...}`; empty when it may close."""
    found: list[Blocker] = [{"reason": "deleted"}] if record.deleted else []
    found += [{"reason": "missing", "field": name} for name in NEEDED if not fields.get(name)]
    found += [{"reason": "conflict", "kind": "inspection", "field": name} for name in record.conflict_fields]
    found += _draw_blockers(session, fields)
    children = children_of(session, record.id)
    for child in children:
        found += [
            {"reason": "conflict", "kind": child.kind, "record": child.id, "field": f} for f in child.conflict_fields
        ]
    ids = [record.id, *(child.id for child in children)]
    held = select(Act.journal, Act.seq).where(Act.record.in_(ids), Act.status == Verdict.HELD)
    found += [{"reason": "held", "act": f"{journal}:{seq}"} for journal, seq in session.execute(held)]
    listed = manifest(session, record.id)
    found += [{"reason": "evidence-missing", "record": name} for name in listed.missing]
    found += [{"reason": "evidence-rejected", "record": name} for name in listed.rejected]
    if fields.get("inspected_at") and datetime.fromisoformat(fields["inspected_at"]) > now:
        found.append({"reason": "in-the-future", "field": "inspected_at"})
    return found + field_blockers(session, now, record.id, state, fields) + _signature_blockers(state, fields)


def _draw_blockers(session: Session, fields: Mapping[str, Any]) -> list[Blocker]:
    """A drawn visit ends with a result of the double-random table."""
    task = session.get(Task, fields["task"]) if fields.get("task") else None
    result = fields.get(DRAW_RESULT)
    if result is not None and code_table(DRAW_RESULT).find(result) is None:
        return [{"reason": "unknown-code", "field": DRAW_RESULT}]
    if task is not None and task.origin == "draw" and result is None:
        return [{"reason": "missing", "field": DRAW_RESULT}]
    return []


def _signature_blockers(state: RecordState, fields: Mapping[str, Any]) -> list[Blocker]:
    fresh: set[str] = set()
    stale: set[str] = set()
    for signature in fields.get("signatures") or []:
        dots = [parse_dot(dot) for dot in signature["dots"]]
        old = is_stale(state, dots, signature["digest"], UNSIGNED_FIELDS)
        (stale if old else fresh).add(signature["officer"])
    wanted = set(fields.get("officers") or [])
    if len(fresh & wanted) >= SIGNERS:
        return []
    again = sorted((stale & wanted) - fresh)
    reason = "signature-stale" if again else "signature-missing"
    return [{"reason": reason, "officer": officer} for officer in again or sorted(wanted - fresh)]


def _close(session: Session, rt: Runtime, row: Inspection, fields: Mapping[str, Any]) -> int:
    entity = get_entity(session, fields["entity"])
    checklist = get_checklist(session, fields["checklist"])
    item = get_item(session, checklist.item)
    people = get_officers(session, fields["officers"])
    officers = [people[officer] for officer in fields["officers"] if officer in people]
    name = item_as_it_was(session, item, fields)["name"]
    filing = session.get(VisitFiling, row.id)
    fields = {**fields, "visit_filed_at": filing.filed_at.isoformat() if filing else None}
    content = inspection_content(rt, fields, officers, entity, checklist, item, item_name=name)
    draft = BehaviorDraft("inspection", entity.region, row.department, content, entity.id, row.id)
    try:
        behavior = create_behavior(session, rt, draft)
    except Problem as problem:
        row.blockers = [{"reason": "national-field", "field": problem.field, "detail": problem.detail}]
        return 0
    office_write_many(session, rt, [OfficeChange("inspection", row.id, {"status": "closed"}, SYSTEM)])
    row.status, row.closed_at, row.behavior = "closed", rt.now(), behavior
    note_closed(session, rt, row.id)
    if row.task:
        settle_lead(session, rt, row.task, fields)
    record_event(session, rt, SYSTEM, "inspection.close", "inspection", row.id, {"behavior": behavior})
    return 1
