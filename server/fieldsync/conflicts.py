"""Conflicts for people: what was there before, all sides, who wrote them; a person decides, with a reason.

Nothing is ever decided by default. A decision is an office act that supersedes the sides it was shown; every side
stays in the history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.clock import from_ms
from server.errors import Problem
from server.fieldsync.projections import project_office
from server.records.batch import SETTLED, seen_of
from server.records.lines import decode_state, policies_of, view_of
from server.records.models import Act, Conflict, SyncedRecord
from server.records.service import OfficeChange, acts_of, office_write_many
from server.runtime import Runtime
from server.web.auth import Principal, require_scope
from server.web.body import parse_json
from sync.dots import Dot
from sync.merge import past
from sync.merge import sides as sides_of
from sync.policies import Rule, read_record
from sync.registers import DELETED, RecordState

MIN_REASON_CHARS = 2
MAX_REASON_CHARS = 2_000


@dataclass(frozen=True)
class Side:
    """One side of a conflict."""

    dot: str
    value: Any
    at: datetime
    author: str
    """Officer or account id."""
    device: str | None


@dataclass(frozen=True)
class ConflictView:
    """A conflict with everything a person needs to decide it."""

    row: Conflict
    base: tuple[Any, ...]
    """What the field said before the sides parted; empty when it said nothing."""
    sides: tuple[Side, ...]
    fields: Mapping[str, Any]
    """The record as it reads now."""


def list_conflicts(
    session: Session, caller: Principal, *, status: str = "open", after: str = "", limit: int = 50
) -> list[Conflict]:
    """Return the conflicts of the caller's scope with a status, in order of id."""
    query = select(Conflict).where(
        Conflict.status == status, Conflict.region.startswith(caller.region, autoescape=True), Conflict.id > after
    )
    if caller.department:
        query = query.where(Conflict.department == caller.department)
    return list(session.execute(query.order_by(Conflict.id).limit(limit)).scalars())


def show(session: Session, caller: Principal, conflict_id: str) -> ConflictView:
    """Return one conflict with base and sides.

    Raises:
        Problem: `not-found`, also for what lies outside the caller's scope.
    """
    row = _conflict(session, caller, conflict_id)
    record = _record(session, row)
    state = decode_state(record.line)
    acts = {Dot(act.journal, act.seq): act for act in acts_of(session, row.kind, row.record)}
    if row.status == "open":
        sides = tuple(_side(acts[dot], row.field) for dot in sorted(sides_of(state, row.field)))
    else:
        named = (row.decision or {}).get("sides", [])
        sides = tuple(_side(act, row.field) for dot, act in sorted(acts.items()) if str(dot) in named)
    return ConflictView(row, _base(acts, sides, row.field), sides, view_of(row.kind, state))


def _side(act: Act, name: str) -> Side:
    values = field_values(act)
    value = values.get(name) if name != DELETED else (values or None)
    return Side(f"{act.journal}:{act.seq}", value, from_ms(act.at_ms), act.author, act.device)


def field_values(act: Act) -> dict[str, Any]:
    """Return the fields an accepted act set, ordinary and personal, as far as they were not erased."""
    values: dict[str, Any] = {}
    for part in (act.body, act.personal):
        if part:
            values |= parse_json(part)["fields"]
    return values


def _base(acts: Mapping[Dot, Act], sides: Sequence[Side], name: str) -> tuple[Any, ...]:
    """What the field said in the last state that all sides had seen."""
    seen_by = {dot: seen_of(act.header) for dot, act in acts.items() if act.status in SETTLED}
    by_text = {str(dot): dot for dot in acts}
    pasts = [past(frozenset({by_text[side.dot]}), seen_by) - {by_text[side.dot]} for side in sides]
    shared = frozenset.intersection(*pasts) if pasts else frozenset()
    writers = {dot for dot in shared if dot in acts and name in field_values(acts[dot])}
    newest = {dot for dot in writers if not any(dot in seen_by.get(other, ()) for other in writers)}
    return tuple(field_values(acts[dot])[name] for dot in sorted(newest))


def _conflict(session: Session, caller: Principal, conflict_id: str, *, lock: bool = False) -> Conflict:
    row = session.get(Conflict, conflict_id, with_for_update=lock or None)
    if row is None:
        raise Problem("not-found", detail="no conflict with this id")
    require_scope(caller, row.region, row.department)
    return row


def _record(session: Session, row: Conflict) -> SyncedRecord:
    record = session.get(SyncedRecord, (row.kind, row.record))
    if record is None:
        raise Problem("not-found", detail="the record is gone")
    return record


@dataclass(frozen=True)
class Decision:
    """What a person decided: one side by its dot, or a value of their own; over the sides they were shown."""

    sides: tuple[str, ...]
    reason: str
    choice: str | None = None
    value: Any = None


def decide(session: Session, rt: Runtime, caller: Principal, conflict_id: str, decision: Decision) -> Conflict:
    """Write a person's decision of a conflict.

    Raises:
        Problem: `not-found`; `illegal-transition` when it is not open; `conflict` when the sides have changed since
            the person looked; `invalid-field` for a choice that is no side, a value the schema refuses, or no reason.
    """
    row = _conflict(session, caller, conflict_id, lock=True)
    if row.status != "open":
        raise Problem("illegal-transition", detail=f"this conflict is {row.status}", legal=[])
    if not MIN_REASON_CHARS <= len(decision.reason.strip()) <= MAX_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MAX_REASON_CHARS)
    view = show(session, caller, conflict_id)
    shown = {side.dot: side for side in view.sides}
    if set(decision.sides) != shown.keys():
        raise Problem("conflict", field="sides", detail="the sides have changed since you looked", sides=sorted(shown))
    if decision.choice is not None and decision.choice not in shown:
        raise Problem("invalid-field", field="choice", detail="is none of the sides")
    change = _change(session, row, decision, shown, caller)
    dot = office_write_many(session, rt, [change])[0]
    row.status, row.ended_at = "decided", rt.now()
    row.decided_by, row.reason = caller.subject, decision.reason.strip()
    row.decision = {"dot": str(dot), "value": change.fields.get(row.field), "sides": sorted(shown)}
    record_event(
        session, rt, caller.subject, "conflict.decide", row.kind, row.record,
        {"conflict": row.id, "field": row.field, "choice": decision.choice, "reason": row.reason},
    )  # fmt: skip
    project_office(session, rt, [(row.kind, row.record)])
    return row


def _change(
    session: Session, row: Conflict, decision: Decision, shown: Mapping[str, Side], caller: Principal
) -> OfficeChange:
    state = decode_state(_record(session, row).line)
    seen = state.live_dots()
    if row.field != DELETED:
        value = shown[decision.choice].value if decision.choice else decision.value
        return OfficeChange(row.kind, row.record, {row.field: value}, caller.subject, seen=seen)
    delete = decision.choice in {str(entry.dot) for entry in state.live(DELETED)}
    fields = {} if delete else _restated(row.kind, state)
    return OfficeChange(row.kind, row.record, fields, caller.subject, seen=seen, delete=delete)


def _restated(kind: str, state: RecordState) -> dict[str, Any]:
    """One field of a record as it reads: a decision to keep the record leaves a live value for later acts to see."""
    policies = policies_of(kind)
    kept = (Rule.LATEST, Rule.FIRST, Rule.MONOTONE, Rule.MANUAL)
    for name, reading in sorted(read_record(state, policies).items()):
        if name in policies and policies[name].rule in kept and not reading.conflict:
            return {name: reading.value}
    return {}
