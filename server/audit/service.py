"""Recording audit events, and asking for the changes of fields that they tell of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from server.audit.masking import mask
from server.audit.models import AuditEvent
from server.db.many_rows import insert_rows
from server.runtime import Runtime
from server.web.principal import Principal
from server.web.scope import in_scope

SYSTEM = "system"
"""Actor of what a program did on its own."""
MAX_FIELDS_CHARS = 1_000
EVENTS = cast(Table, AuditEvent.__table__)


def record_event(
    session: Session,
    rt: Runtime,
    actor: str,
    action: str,
    subject_kind: str,
    subject_id: str,
    detail: Mapping[str, Any] | None = None,
    *,
    region: str = "",
    department: str = "",
) -> None:
    """Add one event to the trail, in the caller's transaction.

    Args:
        session: the write session of the act itself: both commit or neither does.
        rt: the runtime, for the time.
        actor: account, device or officer id, or :data:`SYSTEM`.
        action: verb with its object, e.g. `device.approve`.
        subject_kind: kind of what was acted on.
        subject_id: its id.
        detail: further facts, JSON; no personal data. Changed fields stand in `fields`, see :func:`changed_fields`.
        region: division of what was acted on: who is to see the event among others.
        department: its department.
    """
    detail = dict(detail or {})
    event = AuditEvent(
        at=rt.now(),
        actor=actor,
        action=action,
        subject_kind=subject_kind,
        subject_id=subject_id,
        detail=detail,
        region=region,
        department=department,
        fields=_names(detail.get("fields", {})),
    )
    session.add(event)


def record_entries(
    session: Session,
    rt: Runtime,
    actor: str,
    kind: str,
    subjects: Sequence[tuple[str, str, str]],
    reason: str,
) -> None:
    """Add an event `KIND.enter` for each of many new records: (id, region, department)."""
    shared = {
        "at": rt.now(), "actor": actor, "action": f"{kind}.enter", "subject_kind": kind, "detail": {"reason": reason},
        "fields": "",
    }  # fmt: skip
    rows = [
        {**shared, "subject_id": subject, "region": region, "department": department}
        for subject, region, department in subjects
    ]
    insert_rows(session, EVENTS, rows)


def changed_fields(
    before: Mapping[str, Any], after: Mapping[str, Any], *, personal: Iterable[str] = ()
) -> dict[str, list[Any]]:
    """Return [old, new] of each field of `after` that differs from `before`; personal values are masked."""
    hidden = frozenset(personal)
    changes = {}
    for name, value in after.items():
        old = before.get(name)
        if old != value:
            changes[name] = [mask(old), mask(value)] if name in hidden else [old, value]
    return changes


def _names(fields: Mapping[str, Any]) -> str:
    """The names as the column holds them; a path of a nested field counts by its first part as well."""
    names = sorted({part for name in fields for part in (name, name.partition(".")[0])})
    text = ","
    for name in names:
        if len(text) + len(name) < MAX_FIELDS_CHARS:
            text += f"{name},"
    return text if names else ""


@dataclass(frozen=True)
class ChangeQuestion:
    """Which changes: of a kind, of one record, of a field, by a person, within a time. Empty members ask nothing."""

    kind: str = ""
    record: str = ""
    others: tuple[str, ...] = ()
    """Further records beside `record`."""
    field: str = ""
    actor: str = ""
    since: datetime | None = None
    until: datetime | None = None


def find_changes(
    session: Session, caller: Principal, question: ChangeQuestion, *, after: int = 0, limit: int = 50
) -> list[AuditEvent]:
    """Return events of one's scope that changed fields or entered records, newest first.

    Args:
        session: any session.
        caller: sees what happened in their region and department.
        question: which.
        after: id of the last event of the page before; 0 for the newest.
        limit: most events.
    """
    told = (AuditEvent.fields != "") | AuditEvent.action.endswith(".enter")
    query = select(AuditEvent).where(told, in_scope(caller, AuditEvent.region, AuditEvent.department))
    for column, value in (
        (AuditEvent.subject_kind, question.kind),
        (AuditEvent.actor, question.actor),
    ):
        if value:
            query = query.where(column == value)
    if question.record:
        query = query.where(AuditEvent.subject_id.in_((question.record, *question.others)))
    if question.field:
        query = query.where(AuditEvent.fields.contains(f",{question.field},", autoescape=True))
    if question.since is not None:
        query = query.where(AuditEvent.at >= question.since)
    if question.until is not None:
        query = query.where(AuditEvent.at < question.until)
    if after:
        query = query.where(AuditEvent.id < after)
    return list(session.execute(query.order_by(AuditEvent.id.desc()).limit(limit)).scalars())


def changes_of(session: Session, kind: str, record: str, *, limit: int = 500) -> list[AuditEvent]:
    """Return what happened to one record, newest first; the caller has checked that it may be seen."""
    of_it = (AuditEvent.subject_kind == kind, AuditEvent.subject_id == record)
    return list(session.execute(select(AuditEvent).where(*of_it).order_by(AuditEvent.id.desc()).limit(limit)).scalars())
