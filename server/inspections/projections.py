"""Following the synced records: keeps the typed tables of tasks and inspections in step, in the same transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.inspections.models import Inspection, Task
from server.leads import service as leads
from server.records.lines import Placement, view_of
from server.runtime import Runtime
from sync.registers import RecordState

LEAD_STEPS = {"signed_for": "signed_for", "in_progress": "verifying"}
"""Where a lead stands while its task is worked on."""
FollowedRecord = tuple[str, Placement, RecordState]


def read_fields(kind: str, state: RecordState) -> Mapping[str, Any]:
    """Return what a record says now, field by field."""
    return view_of(kind, state)


def follow_tasks(session: Session, rt: Runtime, records: Sequence[FollowedRecord]) -> None:
    """Bring the task table up to the records' state."""
    known = _load(session, Task, [record_id for record_id, _, _ in records])
    for record_id, place, state in records:
        fields = view_of("task", state)
        row = known.get(record_id)
        if row is None:
            row = Task(id=record_id, region=place.region, department=place.department, created_at=rt.now())
            row.origin, row.lead = fields["origin"], fields.get("lead")
            row.entity, row.inspection = fields["entity"], fields["inspection"]
            session.add(row)
        row.title, row.status, row.due_at = fields["title"], fields["status"], instant(fields["due_at"])
        if row.lead is not None and row.status in LEAD_STEPS:
            leads.advance(session, rt, row.lead, LEAD_STEPS[row.status])


def follow_inspections(session: Session, rt: Runtime, records: Sequence[FollowedRecord]) -> None:
    """Bring the inspection table up to the records' state; every change makes closing worth another try."""
    known = _load(session, Inspection, [record_id for record_id, _, _ in records])
    for record_id, place, state in records:
        fields = view_of("inspection", state)
        row = known.get(record_id)
        if row is None:
            row = Inspection(id=record_id, region=place.region, department=place.department, blockers=[])
            session.add(row)
        row.task, row.entity = fields.get("task"), fields.get("entity")
        row.status = fields.get("status") or "open"
        row.result = fields.get("result")
        row.inspected_at = instant(fields["inspected_at"]) if fields.get("inspected_at") else None
        if row.status != "open" and row.submitted_at is None:
            row.submitted_at = rt.now()
        row.check_after = rt.now()


def touch(session: Session, rt: Runtime, inspections: Collection[str]) -> None:
    """Note that parts of these inspections changed, so that closing is tried again soon."""
    ids = sorted(inspections)
    for start in range(0, len(ids), IN_LIST_LIMIT):
        chunk = ids[start : start + IN_LIST_LIMIT]
        session.execute(update(Inspection).where(Inspection.id.in_(chunk)).values(check_after=rt.now()))


def instant(text: str) -> datetime:
    """Return the aware UTC instant of an RFC 3339 text that a schema has checked."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _load(session: Session, model: type[Any], ids: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for start in range(0, len(ids), IN_LIST_LIMIT):
        rows = session.execute(select(model).where(model.id.in_(ids[start : start + IN_LIST_LIMIT]))).scalars()
        found |= {row.id: row for row in rows}
    return found
