"""Ruling on acts that are in no record: mending a quarantined act, or dismissing it, with a reason.

The act's bytes, receipt and chain stay as they came. Mending is an act of the office that has seen it and says in its
place what it should have said; the act's device learns by status, and what waited for it is released.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from schemas.kinds import KINDS, personal_fields
from server.audit.service import record_event
from server.db.engine import IN_LIST_LIMIT
from server.devices.models import Device
from server.devices.standing import load_author
from server.errors import Problem
from server.fieldsync.checks import CLOSED_WITH_INSPECTION, OPEN_AFTER_CLOSING, PARENTS
from server.fieldsync.conflicts import given_reason
from server.fieldsync.history import read_act
from server.fieldsync.merging import CAUSES, release
from server.fieldsync.models import ActRuling, ErasedRecord, OverdueAct
from server.fieldsync.projections import project_office
from server.records.batch import RecordBatch, advance_counter
from server.records.held import Key
from server.records.lines import Placement
from server.records.models import Act
from server.records.service import OfficeChange, assignees_of, get_record, office_write_many
from server.runtime import Runtime
from server.web.principal import Principal, require_scope
from sync.acts import MAX_SEEN
from sync.dots import Dot, parse_dot
from sync.merge import Verdict

MENDED, DISMISSED = Verdict.MENDED, Verdict.DISMISSED


@dataclass(frozen=True)
class Mending:
    """What a quarantined act should have said; without `fields` or `record` what it says itself."""

    reason: str
    fields: Mapping[str, Any] | None = None
    record: str = ""
    kind: str = ""


def unmerged_act(session: Session, caller: Principal, dot: str, *, lock: bool = False) -> Act:
    """Return a held, quarantined, mended or dismissed act of a device in the caller's scope.

    Raises:
        Problem: `not-found`, also for an act that is in its record: that one is changed by writing anew.
    """
    try:
        named = parse_dot(dot)
    except ValueError as error:
        raise Problem("not-found", field="dot", detail=str(error)) from error
    act = session.get(Act, named, with_for_update=lock or None, populate_existing=lock)
    device = session.get(Device, act.device) if act is not None and act.device else None
    if act is None or device is None:
        raise Problem("not-found", field="dot", detail="no act of a device with this name")
    require_scope(caller, device.region, device.department)
    if act.status not in (Verdict.HELD, Verdict.QUARANTINED, MENDED, DISMISSED):
        raise Problem("not-found", field="dot", detail="this act is part of its record")
    return act


def mend(session: Session, rt: Runtime, caller: Principal, dot: str, mending: Mending) -> ActRuling:
    """Say right, as the office, what a quarantined (or overdue) act said wrong, and release what waited for it.

    The office's act has seen all that the mended one had seen and that is known, and the mended one itself: what others
    wrote meanwhile stands beside it, and contradicts it where it does.

    Raises:
        Problem: `not-found`; `illegal-transition` for an act that was ruled on, still waits in time, or would change a
            closed inspection; `invalid-field` for what the schema refuses, or no reason.
    """
    act = _open_act(session, rt, caller, dot, mending)
    reason = given_reason(mending.reason)
    kind, record = mending.kind or act.kind, mending.record or act.record
    if kind not in KINDS:
        raise Problem("unknown-kind", field="kind", detail="name the kind that was meant, or dismiss the act")
    fields = dict(read_act(act)["fields"] if mending.fields is None else mending.fields)
    if not fields:
        raise Problem("invalid-field", field="fields", detail="at least one field is needed")
    if session.get(ErasedRecord, (kind, record)) is not None:
        fields = {name: value for name, value in fields.items() if name not in personal_fields(KINDS[kind].schema)}
    _refuse_closed(session, kind, record, fields)
    seen = _known(session, act) | {Dot(act.journal, act.seq)}
    place = None if get_record(session, kind, record) else _placement(session, kind, record, fields, act)
    change = OfficeChange(kind, record, fields, caller.subject, place, seen=seen)
    written = office_write_many(session, rt, [change], captured=True)[0]
    return _rule(session, rt, caller, act, MENDED, reason, mended=(kind, record), mended_by=str(written))


def dismiss(session: Session, rt: Runtime, caller: Principal, dot: str, reason: str) -> ActRuling:
    """Leave a quarantined (or overdue) act without effect for good, and release what waited for it.

    Raises:
        Problem: as for mending.
    """
    act = _open_act(session, rt, caller, dot)
    return _rule(session, rt, caller, act, DISMISSED, given_reason(reason))


def _open_act(session: Session, rt: Runtime, caller: Principal, dot: str, mending: Mending | None = None) -> Act:
    """Return the act, locked after the records that it concerns: a push locks in this order, too."""
    named = unmerged_act(session, caller, dot)
    keys = {(named.kind, named.record)}
    if mending is not None:
        keys.add((mending.kind or named.kind, mending.record or named.record))
    RecordBatch(session, rt).load(keys)
    act = unmerged_act(session, caller, dot, lock=True)
    overdue = act.status == Verdict.HELD and session.get(OverdueAct, (act.journal, act.seq)) is not None
    if act.status != Verdict.QUARANTINED and not overdue:
        raise Problem("illegal-transition", field="dot", detail=f"this act is {act.status}", legal=[])
    return act


def _known(session: Session, act: Act) -> frozenset[Dot]:
    """What an act had seen, as far as it is known here and so can be said to be superseded."""
    named = read_act(act)["seen"]
    dots = set()
    for text in named[: MAX_SEEN - 1] if isinstance(named, list) else ():
        try:
            dots.add(parse_dot(text))
        except ValueError:
            continue
    ordered = sorted(dots)
    known: set[Dot] = set()
    for start in range(0, len(ordered), IN_LIST_LIMIT):
        wanted = tuple_(Act.journal, Act.seq).in_(ordered[start : start + IN_LIST_LIMIT])
        rows = session.execute(select(Act.journal, Act.seq).where(wanted, Act.status.in_(CAUSES)))
        known |= {Dot(journal, seq) for journal, seq in rows}
    return frozenset(known)


def _refuse_closed(session: Session, kind: str, record_id: str, fields: Mapping[str, Any]) -> None:
    if kind not in CLOSED_WITH_INSPECTION or (kind == "inspection" and fields.keys() <= OPEN_AFTER_CLOSING):
        return
    record = get_record(session, kind, record_id)
    inspection = (record.placement.parent if record else None) or fields.get("inspection") or record_id
    found = get_record(session, "inspection", str(inspection))
    if found is not None and found.fields.get("status") == "closed":
        raise Problem("illegal-transition", field="record", detail="the inspection is closed; correct its behavior")


def _placement(session: Session, kind: str, record_id: str, fields: Mapping[str, Any], act: Act) -> Placement:
    """Where a record that the mended act should have made belongs: like its parent."""
    parent_kind = PARENTS.get(kind)
    parent_id = str(fields.get(parent_kind or "", ""))
    parent = get_record(session, parent_kind, parent_id) if parent_kind else None
    if parent is None or parent_kind is None:
        raise Problem("invalid-field", field=parent_kind or "record", detail=f"there is no {kind} {record_id[:40]}")
    if kind != "inspection":
        people = assignees_of(session, parent_kind, parent_id)
        return Placement(parent.placement.region, parent.placement.department, people, parent_id)
    device = load_author(session, str(act.device))
    officers = tuple(sorted({act.author, *fields.get("officers", ())}))
    return Placement(parent.placement.region, device.department, officers)


def _rule(
    session: Session,
    rt: Runtime,
    caller: Principal,
    act: Act,
    ruling: Verdict,
    reason: str,
    *,
    mended: Key | None = None,
    mended_by: str | None = None,
) -> ActRuling:
    act.status, act.waiting_for = ruling, None
    act.status_position = advance_counter(session, 1)
    row = ActRuling(
        journal=act.journal, seq=act.seq, ruling=ruling, ruled_by=caller.subject, ruled_at=rt.now(), reason=reason,
        mended_by=mended_by,
    )  # fmt: skip
    session.add(row)
    session.flush()
    dot = f"{act.journal}:{act.seq}"
    if mended:
        project_office(session, rt, [mended])  # evidence is declared for the device whose act was mended
    released = release(session, rt, caller, [dot, *([f"{mended[0]}/{mended[1]}"] if mended else [])])
    detail = {"reason": reason, "mended_by": mended_by, "released": released}
    record_event(session, rt, caller.subject, f"act.{ruling}", "act", dot, detail)
    return row
