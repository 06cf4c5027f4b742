"""The rules of the field, on the server: what a handheld should have refused is kept, marked, and does not close.

The same rules as on the handhelds (`schemas.field_rules`), over the registers as they were at the time of the visit.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.field_rules import MIN_OFFICERS, NOT_PUBLISHED, TOO_FEW, WITHDRAWN, Answered, Fault, answer_faults
from server.behaviors.recording import missing_scenes
from server.directory.models import Checklist, DirectoryVersion, SupervisionItem
from server.evidence.models import Evidence
from server.officers.certificates import certificates_since, fault_at
from server.officers.models import Officer
from server.officers.service import get_officers
from server.records.service import children_of
from sync.registers import RecordState

Blocker = dict[str, Any]


def field_blockers(
    session: Session, now: datetime, inspection: str, state: RecordState, fields: Mapping[str, Any]
) -> list[Blocker]:
    """Return which rules of the field an inspection broke, each as `{"reason", ...}`.

    Args:
        session: a session.
        now: the present instant; what claims to be later is judged as of now.
        inspection: its id.
        state: its live values, which tell when each officer signed.
        fields: what it says.
    """
    began = _began(fields, now)
    checklist = session.get(Checklist, fields["checklist"]) if fields.get("checklist") else None
    item = session.get(SupervisionItem, checklist.item) if checklist else None
    found = _list_faults(session, checklist, item, began)
    people = get_officers(session, fields.get("officers") or ())
    if fields.get("officers") is not None and len(people) < MIN_OFFICERS:
        found.append(Fault(TOO_FEW, "officers"))
    sector = item.sector if item else ""
    blockers = [fault.as_dict() for fault in found] + _officer_blockers(session, people, state, fields, sector, now)
    if checklist is not None:
        faults = answer_faults(checklist.sub_items, _answers(session, inspection), whole=True)
        blockers += [fault.as_dict() for fault in faults]
    elif fields.get("checklist"):
        blockers.append({"reason": "unknown-checklist", "field": "checklist"})
    return blockers + [
        {"reason": "recording-missing", "scene": one.scene, "detail": f"{one.zh} / {one.en}"}
        for one in missing_scenes(session, inspection, fields)
    ]


def _began(fields: Mapping[str, Any], now: datetime) -> datetime:
    text = fields.get("started_at") or fields.get("inspected_at")
    return min(datetime.fromisoformat(text).astimezone(UTC), now) if text else now


def _list_faults(
    session: Session, checklist: Checklist | None, item: SupervisionItem | None, began: datetime
) -> list[Fault]:
    """No check outside the published list: what was never on it, or had been withdrawn when the visit began."""
    if checklist is None:
        return []  # said elsewhere, whether it is missing or unknown
    found = [] if item else [Fault(NOT_PUBLISHED, "item")]
    for field, register, row in (("checklist", "checklists", checklist), ("item", "items", item)):
        if row is not None and row.status == "withdrawn":
            query = select(DirectoryVersion.ended_at).where(
                DirectoryVersion.register == register, DirectoryVersion.subject == row.id
            )
            ended = [one for one in session.execute(query).scalars() if one is not None]
            if ended and max(ended) <= began:
                found.append(Fault(WITHDRAWN, field))
    return found


def _officer_blockers(
    session: Session,
    people: Mapping[str, Officer],
    state: RecordState,
    fields: Mapping[str, Any],
    sector: str,
    now: datetime,
) -> list[Blocker]:
    """Certificates must have covered the start, the inspection and each officer's own signature."""
    visits = [fields[name] for name in ("started_at", "inspected_at") if fields.get(name)]
    moments = {officer: {min(datetime.fromisoformat(text), now) for text in visits} for officer in people}
    for entry in state.live("signatures"):
        for signature in entry.value:
            if signature["officer"] in moments:
                moments[signature["officer"]].add(min(datetime.fromtimestamp(entry.at_ms / 1000, UTC), now))
    earliest = min((at for moment in moments.values() for at in moment), default=now)
    held = certificates_since(session, people, earliest)
    found = []
    for officer in sorted(people):
        faults = {fault_at(held[officer], at, sector) for at in moments[officer]} - {None}
        found += [{"reason": fault, "officer": officer} for fault in sorted(map(str, faults))]
    return found


def _answers(session: Session, inspection: str) -> list[Answered]:
    """What the inspection answered, with the media types of the evidence that each answer names."""
    parts = children_of(session, inspection)
    types = dict(
        session.execute(
            select(Evidence.id, Evidence.media_type).where(
                Evidence.inspection == inspection, Evidence.withdrawn_at.is_(None)
            )
        ).all()
    )
    found = []
    for part in parts:
        if part.kind == "answer" and not part.deleted and part.fields.get("number"):
            shown = tuple(str(types[one]) for one in part.fields.get("evidence") or () if types.get(one))
            found.append(Answered(part.fields["number"], part.fields.get("outcome"), shown))
    return found
