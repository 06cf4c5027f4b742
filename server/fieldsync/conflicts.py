"""Conflicts for people: what was there before, all sides, who wrote them; a person decides, with a reason.

Nothing is ever decided by default. A decision is an office act that supersedes the sides it was shown; every side
stays in the history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
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
from server.web.body import parse_json
from server.web.principal import Principal, region_prefix, require_scope
from sync.dots import Dot, parse_dot
from sync.merge import Verdict, past
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
    held: bool = False
    """Whether the act still waits for its cause: the value is in no record yet."""
    repeats: str | None = None
    """Dot of the act that said this first, when `dot` is the office's that wrote it again on undoing a decision."""


@dataclass(frozen=True)
class ConflictView:
    """A conflict with everything a person needs to decide it."""

    row: Conflict
    base: tuple[Any, ...]
    """What the field said before the sides parted; empty when it said nothing."""
    sides: tuple[Side, ...]
    fields: Mapping[str, Any]
    """The record as it reads now."""


@dataclass(frozen=True)
class ConflictFilter:
    """Which conflicts to list; what is empty does not matter."""

    status: str = "open"
    region: str = ""
    """Division-code prefix within the caller's own."""
    department: str = ""
    kind: str = ""
    field: str = ""
    record: str = ""
    opened_from: datetime | None = None
    opened_before: datetime | None = None


@dataclass(frozen=True)
class RegionCount:
    """How many conflicts a region and department have with one status, and since when the oldest stands."""

    region: str
    department: str
    count: int
    oldest_at: datetime


def list_conflicts(
    session: Session, caller: Principal, wanted: ConflictFilter, *, after: str = "", limit: int = 50
) -> list[Conflict]:
    """Return the conflicts of the caller's scope that a filter names, oldest first; `after` is a page's last id."""
    query = select(Conflict).where(*_conditions(caller, wanted), Conflict.id > after)
    return list(session.execute(query.order_by(Conflict.id).limit(limit)).scalars())


def count_by_region(session: Session, caller: Principal, wanted: ConflictFilter) -> list[RegionCount]:
    """Count the conflicts that a filter names by region and department, in order of both."""
    place = (Conflict.region, Conflict.department)
    query = select(*place, func.count(), func.min(Conflict.opened_at)).where(*_conditions(caller, wanted))
    return [RegionCount(*row) for row in session.execute(query.group_by(*place).order_by(*place))]


def _conditions(caller: Principal, wanted: ConflictFilter) -> list[ColumnElement[bool]]:
    found = [Conflict.status == wanted.status, Conflict.region.startswith(caller.region, autoescape=True)]
    if wanted.region:
        found.append(Conflict.region.startswith(region_prefix(wanted.region), autoescape=True))
    for column, value in (
        (Conflict.department, caller.department),
        (Conflict.department, wanted.department),
        (Conflict.kind, wanted.kind),
        (Conflict.field, wanted.field),
        (Conflict.record, wanted.record),
    ):
        if value:
            found.append(column == value)
    if wanted.opened_from is not None:
        found.append(Conflict.opened_at >= wanted.opened_from)
    if wanted.opened_before is not None:
        found.append(Conflict.opened_at < wanted.opened_before)
    return found


def show(session: Session, caller: Principal, conflict_id: str) -> ConflictView:
    """Return one conflict with base and sides.

    Raises:
        Problem: `not-found`, also for what lies outside the caller's scope.
    """
    row = find_conflict(session, caller, conflict_id)
    state = decode_state(_record(session, row).line)
    acts = {Dot(act.journal, act.seq): act for act in acts_of(session, row.kind, row.record)}
    sides = tuple(_side(acts, dot, row) for dot in _side_dots(row, state, acts))
    return ConflictView(row, _base(acts, sides, row.field), sides, view_of(row.kind, state))


def _side_dots(row: Conflict, state: RecordState, acts: Mapping[Dot, Act]) -> list[Dot]:
    """The sides as they stand, or as they stood when the conflict was decided."""
    if row.decision is not None:
        named = set(row.decision["sides"])
    elif row.status == "open":
        named = {str(dot) for dot in sides_of(state, row.field)} | ({row.held} if row.held else set())
    else:
        named = set()
    return sorted(dot for dot in acts if str(dot) in named)


def _side(acts: Mapping[Dot, Act], dot: Dot, row: Conflict) -> Side:
    """One side; what the office only wrote again is shown as who wrote it first said it."""
    act = acts[dot]
    repeated = (row.restated or {}).get(str(dot))
    first = acts.get(parse_dot(repeated), act) if repeated else act
    values = field_values(act)
    value = values.get(row.field) if row.field != DELETED else (values or None)
    held = act.status == Verdict.HELD
    return Side(str(dot), value, from_ms(first.at_ms), first.author, first.device, held, repeated)


def field_values(act: Act) -> dict[str, Any]:
    """Return the fields an accepted act set, ordinary and personal, as far as they were not erased."""
    values: dict[str, Any] = {}
    for part in (act.body, act.personal):
        if part:
            values |= parse_json(part)["fields"]
    return values


def _base(acts: Mapping[Dot, Act], sides: Sequence[Side], name: str) -> tuple[Any, ...]:
    """What the field said in the last state that all sides had seen."""
    seen_by = {dot: seen_of(act.header) for dot, act in acts.items() if act.status in (*SETTLED, Verdict.HELD)}
    by_text = {str(dot): dot for dot in acts}
    pasts = [past(frozenset({by_text[side.dot]}), seen_by) - {by_text[side.dot]} for side in sides]
    shared = frozenset.intersection(*pasts) if pasts else frozenset()
    writers = {dot for dot in shared if dot in acts and name in field_values(acts[dot])}
    newest = {dot for dot in writers if not any(dot in seen_by.get(other, ()) for other in writers)}
    return tuple(field_values(acts[dot])[name] for dot in sorted(newest))


def find_conflict(session: Session, caller: Principal, conflict_id: str, *, lock: bool = False) -> Conflict:
    """Return a conflict of the caller's scope, if wanted locked for a change.

    Raises:
        Problem: `not-found`.
    """
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
    row = find_conflict(session, caller, conflict_id, lock=True)
    if row.status != "open":
        raise Problem("illegal-transition", detail=f"this conflict is {row.status}", legal=[])
    reason = given_reason(decision.reason)
    view = show(session, caller, conflict_id)
    shown = {side.dot: side for side in view.sides}
    if set(decision.sides) != shown.keys():
        raise Problem("conflict", field="sides", detail="the sides have changed since you looked", sides=sorted(shown))
    if decision.choice is not None and decision.choice not in shown:
        raise Problem("invalid-field", field="choice", detail="is none of the sides")
    change = _change(session, row, decision, shown, caller)
    dot = office_write_many(session, rt, [change])[0]
    row.status, row.ended_at = "decided", rt.now()
    row.decided_by, row.reason = caller.subject, reason
    row.decision = {"dot": str(dot), "value": change.fields.get(row.field), "sides": sorted(shown)}
    record_event(
        session, rt, caller.subject, "conflict.decide", row.kind, row.record,
        {"conflict": row.id, "field": row.field, "choice": decision.choice, "reason": row.reason},
    )  # fmt: skip
    project_office(session, rt, [(row.kind, row.record)])
    return row


def given_reason(text: str) -> str:
    """Return a reason without the space around it.

    Raises:
        Problem: `invalid-field` when there is none, or it is too long.
    """
    reason = text.strip()
    if not MIN_REASON_CHARS <= len(reason) <= MAX_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MAX_REASON_CHARS)
    return reason


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
