"""Following the synced records: keeps the typed tables of tasks and inspections in step, in the same transaction."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import Table, bindparam, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from server.db.engine import IN_LIST_LIMIT
from server.db.many_rows import insert_rows, update_rows
from server.db.prepared import Prepared
from server.inspections.filing import Filing, file_visit, instant
from server.inspections.lead_tasks import follow_lead
from server.inspections.models import Inspection, Task
from server.records.held import Changed
from server.records.lines import values_of, view_of
from server.runtime import Runtime
from sync.registers import RecordState

INSPECTIONS = cast(Table, Inspection.__table__)
_IN_ROW = ("task", "entity", "status", "result", "inspected_at", "visit_reason")
"""Fields of the record that stand in its row."""
_HELD = (*_IN_ROW, "visit_from", "visit_until")
"""Those, and what the filed plan of the visit is made of."""
_FOLLOWED = ("id", *_IN_ROW, "submitted_at")
_KNOWN = Prepared(
    select(*(INSPECTIONS.c[name] for name in _FOLLOWED)).where(INSPECTIONS.c.id.in_(bindparam("ids", expanding=True))),
    "ids",
)


def read_fields(kind: str, state: RecordState) -> Mapping[str, Any]:
    """Return what a record says now, field by field."""
    return view_of(kind, state)


def follow_tasks(session: Session, rt: Runtime, records: Sequence[Changed]) -> None:
    """Bring the task table up to the records' state."""
    known = _load(session, Task, [record.id for record in records])
    for record_id, place, state, *_ in records:
        fields = view_of("task", state.state)
        row = known.get(record_id)
        if row is None:
            row = Task(id=record_id, region=place.region, department=place.department, created_at=rt.now())
            row.origin, row.lead = fields["origin"], fields.get("lead")
            row.entity, row.inspection = fields["entity"], fields["inspection"]
            session.add(row)
        row.title, row.status, row.due_at = fields["title"], fields["status"], instant(fields["due_at"])
        follow_lead(session, rt, row)


def follow_inspections(session: Session, rt: Runtime, records: Sequence[Changed]) -> None:
    """Bring the inspection table up to the records' state; every change of one that is not open any more makes closing
    worth another try. Rows that say it all already are left alone; most changes are of fields that no row holds.
    """
    now, fresh, changed = rt.now(), [], []
    followed = [record for record in records if not _beside(record)]
    known = _known_inspections(session, [record.id for record in followed if not record.fresh])
    for record_id, place, state, *_ in followed:
        fields = values_of("inspection", state, _HELD)
        row = _inspection_row(fields)
        if fields["visit_from"] and fields["visit_until"] and fields["entity"]:
            file_visit(session, rt, Filing.of_inspection(record_id, place.region, place.department, fields))
        before = known.get(record_id)
        if before is None:
            submitted = None if row["status"] == "open" else now
            row |= {
                "id": record_id,
                "region": place.region,
                "department": place.department,
                "blockers": [],
                "marks": [],
            }
            fresh.append(row | {"submitted_at": submitted, "check_after": now})
        elif row["status"] != "open" or any(before[name] != value for name, value in row.items()):
            submitted = now if row["status"] != "open" and before["submitted_at"] is None else before["submitted_at"]
            changed.append(row | {"id": record_id, "submitted_at": submitted, "check_after": now})
    insert_rows(session, INSPECTIONS, fresh)
    update_rows(session, INSPECTIONS, ("id",), changed)
    for row in changed:  # objects that the caller works on must know
        loaded = session.identity_map.get(identity_key(Inspection, row["id"]))
        if loaded is not None:
            for name, value in row.items():
                set_committed_value(loaded, name, value)


def _beside(record: Changed) -> bool:
    """Whether an open inspection was changed in fields alone that its row does not hold."""
    if record.fresh or record.touched is None or not record.touched.isdisjoint(_HELD):
        return False
    return values_of("inspection", record.served, ("status",))["status"] in (None, "open")


def _inspection_row(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What the table says of an inspection, from its record."""
    inspected_at = fields["inspected_at"]
    return {
        "task": fields["task"],
        "entity": fields["entity"],
        "status": fields["status"] or "open",
        "result": fields["result"],
        "inspected_at": instant(inspected_at) if inspected_at else None,
        "visit_reason": fields["visit_reason"],
    }


def _known_inspections(session: Session, ids: list[str]) -> dict[str, Mapping[str, Any]]:
    session.flush()
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(ids), IN_LIST_LIMIT):
        chunk = {"ids": ids[start : start + IN_LIST_LIMIT]}
        found |= {row[0]: dict(zip(_FOLLOWED, row, strict=True)) for row in _KNOWN.rows(session, chunk)}
    return found


def touch(session: Session, rt: Runtime, inspections: Collection[str]) -> None:
    """Note that parts of these inspections changed, so that closing is tried again soon."""
    ids = sorted(inspections)
    for start in range(0, len(ids), IN_LIST_LIMIT):
        chunk = ids[start : start + IN_LIST_LIMIT]
        session.execute(update(Inspection).where(Inspection.id.in_(chunk)).values(check_after=rt.now()))


def _load(session: Session, model: type[Any], ids: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for start in range(0, len(ids), IN_LIST_LIMIT):
        rows = session.execute(select(model).where(model.id.in_(ids[start : start + IN_LIST_LIMIT]))).scalars()
        found |= {row.id: row for row in rows}
    return found
