"""Undoing a decision: the sides stand against each other again, and a person must decide anew.

Nothing is taken back. The office writes again what each side had said, in acts that have seen the decision and not one
another: by the ordinary rules they supersede it and contradict each other, on the server and on every handheld that
pulls. The history keeps the sides, the decision, who undid it and why.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.errors import Problem
from server.fieldsync.conflicts import field_values, find_conflict, given_reason
from server.fieldsync.projections import project_office
from server.records.batch import RecordBatch
from server.records.lines import decode_state, view_of
from server.records.models import Act, Conflict, SyncedRecord
from server.records.service import OfficeChange, acts_of, get_view, office_write_many
from server.runtime import Runtime
from server.web.body import parse_json
from server.web.principal import Principal
from sync.acts import DELETE
from sync.dots import Dot, parse_dot
from sync.registers import DELETED, RecordState


def revert(session: Session, rt: Runtime, caller: Principal, conflict_id: str, reason: str) -> Conflict:
    """Undo a person's decision; returns the conflict that is open instead.

    Raises:
        Problem: `not-found`; `illegal-transition` when the conflict is not decided, or the inspection is closed: what a
            behavior was made of is changed by a correction; `conflict` when somebody has written over the decision
            since, or when what was decided against was lawfully erased, so that there is nothing left to undo;
            `invalid-field` without a reason.
    """
    row = find_conflict(session, caller, conflict_id, lock=True)
    if row.status != "decided" or row.decision is None:
        raise Problem("illegal-transition", detail=f"this conflict is {row.status}", legal=[])
    reason = given_reason(reason)
    RecordBatch(session, rt).load([(row.kind, row.record)])  # locks the record until the commit
    record = session.get_one(SyncedRecord, (row.kind, row.record), populate_existing=True)
    _refuse_closed(session, record)
    state, decided = decode_state(record.line), parse_dot(row.decision["dot"])
    if decided not in _standing(row, state):
        raise Problem("conflict", field="decision", detail="the decision has been written over since")
    acts = {Dot(act.journal, act.seq): act for act in acts_of(session, row.kind, row.record)}
    sides = [parse_dot(side) for side in row.decision["sides"]]
    changes = _again(row, state, decided, [(dot, acts[dot]) for dot in sides], caller.subject)
    dots = office_write_many(session, rt, [change for _, change in changes])
    row.status, row.reverted_at = "reverted", rt.now()
    row.reverted_by, row.revert_reason = caller.subject, reason
    session.flush()
    opened = _reopened(session, row)
    opened.follows = row.id
    opened.restated = {str(dot): str(side) for dot, (side, _) in zip(dots, changes, strict=True)}
    detail = {"conflict": row.id, "field": row.field, "reason": reason, "opened": opened.id}
    record_event(session, rt, caller.subject, "conflict.revert", row.kind, row.record, detail)
    project_office(session, rt, [(row.kind, row.record)])
    return opened


def _refuse_closed(session: Session, record: SyncedRecord) -> None:
    inspection = (
        view_of("inspection", decode_state(record.line))
        if record.kind == "inspection"
        else get_view(session, "inspection", record.parent or "")
    )
    if inspection is not None and inspection.get("status") == "closed":
        raise Problem("illegal-transition", detail="the inspection is closed; only a correction changes it", legal=[])


def _standing(row: Conflict, state: RecordState) -> frozenset[Dot]:
    """The live dots among which a decision stands; one to keep the record restated one field, whichever."""
    if row.field == DELETED:
        return state.live_dots()
    return frozenset(entry.dot for entry in state.live(row.field))


def _again(
    row: Conflict, state: RecordState, decided: Dot, sides: Sequence[tuple[Dot, Act]], author: str
) -> list[tuple[Dot, OfficeChange]]:
    """What the office writes so that the sides stand again: pairs of the side that is repeated and the change."""
    if row.field == DELETED:
        return _deletion_again(row, state, decided, sides, author)
    beside = {entry.dot for entry in state.live(row.field)} - {decided}
    seen = state.live_dots() - beside
    changes = []
    for dot, act in _distinct(sides, row.field):
        value = field_values(act)[row.field]
        changes.append((dot, OfficeChange(row.kind, row.record, {row.field: value}, author, seen=seen)))
    return changes


def _distinct(sides: Sequence[tuple[Dot, Act]], name: str) -> list[tuple[Dot, Act]]:
    """One side for each value that was claimed: those who agreed need not be repeated one by one."""
    found: list[tuple[Dot, Act]] = []
    values: list[Any] = []
    for dot, act in sides:
        value = field_values(act).get(name)
        if value not in values:
            values.append(value)
            found.append((dot, act))
    return found


def _deletion_again(
    row: Conflict, state: RecordState, decided: Dot, sides: Sequence[tuple[Dot, Act]], author: str
) -> list[tuple[Dot, OfficeChange]]:
    """A deletion and an edit that met: whichever was decided for, the other is written again, unseen by it."""
    deletions = [(dot, act) for dot, act in sides if parse_json(act.header)["op"] == DELETE]
    edits = [side for side in sides if side not in deletions]
    if decided in {entry.dot for entry in state.live(DELETED)}:
        seen = state.live_dots() - {decided}
        said = [(dot, values) for dot, act in edits if (values := _ordinary(act))]
        if not said:
            raise Problem("conflict", field="decision", detail="what was decided against was lawfully erased")
        return [(dot, OfficeChange(row.kind, row.record, values, author, seen=seen)) for dot, values in said]
    spared = {dot for dot, _ in edits if dot in state.live_dots()} or {decided}
    seen = state.live_dots() - spared
    return [(dot, OfficeChange(row.kind, row.record, {}, author, seen=seen, delete=True)) for dot, _ in deletions[:1]]


def _ordinary(act: Act) -> Mapping[str, Any]:
    """The fields of an edit; those of a set name what they remove, which is gone already."""
    return {
        name: {"add": value.get("add", [])} if isinstance(value, dict) and "remove" in value else value
        for name, value in field_values(act).items()
    }


def _reopened(session: Session, row: Conflict) -> Conflict:
    """The conflict that stands open on the field now: a new one, or one that somebody else's act had opened."""
    query = select(Conflict).where(
        Conflict.kind == row.kind, Conflict.record == row.record, Conflict.field == row.field,
        Conflict.status == "open", Conflict.held.is_(None),
    )  # fmt: skip
    return session.execute(query.order_by(Conflict.id.desc()).limit(1)).scalar_one()
