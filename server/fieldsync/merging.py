"""Merging acts into records, in one transaction: each is applied, waits for its cause, or is quarantined.

Acts whose cause is missing (their predecessor, a dot they had seen, the record they belong to) are held as bytes and
released by the segment, or the ruling of the office, that brings the cause. Nothing else waits: one bad act never
blocks the next.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.db.prepared import Prepared
from server.devices.standing import load_author
from server.errors import Problem
from server.fieldsync.checks import (
    CLOSED_WITH_INSPECTION,
    PARENTS,
    CheckedAct,
    check_act,
    check_open,
    check_place,
    check_states,
)
from server.fieldsync.erased import with_nulls
from server.fieldsync.projections import project
from server.fieldsync.segment import LinkedAct
from server.records.batch import SETTLED, Incoming, RecordBatch, advance_counter
from server.records.held import Held, Key
from server.records.lines import Placement
from server.records.models import Act
from server.runtime import Runtime
from server.web.body import parse_json
from server.web.principal import Principal
from sync.acts import DELETE, ActParts
from sync.dots import Dot
from sync.merge import Verdict
from sync.registers import Change

CAUSES = (*SETTLED, Verdict.MENDED, Verdict.DISMISSED)
"""Statuses of acts for which nothing waits any more: they are in their records, or a person has ruled on them."""
MAX_RELEASE_ROUNDS = 1_000
"""Rounds of releasing held acts in one push; each round releases at least one."""
_ANY_HELD = Prepared(select(Act.seq).where(Act.waiting_for.is_not(None)).limit(1))


@dataclass
class Merging:
    """Acts on their way into records, in one transaction."""

    session: Session
    rt: Runtime
    caller: Principal
    batch: RecordBatch
    problems: dict[Dot, Problem] = field(default_factory=dict)
    settled: set[Dot] = field(default_factory=set)
    """Dots known to be part of their record's state."""
    refused: list[Act] = field(default_factory=list)
    """Held acts that turned out to be bad when their cause arrived; their devices are to hear of it."""


def keys_of(checked: Sequence[tuple[LinkedAct, CheckedAct]]) -> set[Key]:
    """Return the records that acts are on, and those from which new ones take their place."""
    keys: set[Key] = set()
    for _, act in checked:
        keys.add((act.header.kind, act.header.record))
        parent = _parent_key(act)
        if parent:
            keys.add(parent)
    return keys


def _parent_key(act: CheckedAct) -> Key | None:
    """Return the record from which a record made in the field takes its place."""
    kind = PARENTS.get(act.header.kind)
    named = act.fields.get(kind) if kind else None
    return (kind, named) if kind and isinstance(named, str) else None


def know_seen(work: Merging, checked: Sequence[tuple[LinkedAct, CheckedAct]]) -> None:
    """Find out which of the seen dots are settled, with one query per few hundred of them."""
    wanted: set[Dot] = set()
    for _, act in checked:
        wanted |= act.header.seen
    for held in work.batch.records.values():
        work.settled |= held.served.acts.keys()
    unknown = sorted(wanted - work.settled)
    for start in range(0, len(unknown), IN_LIST_LIMIT):
        chunk = unknown[start : start + IN_LIST_LIMIT]
        rows = work.session.execute(
            select(Act.journal, Act.seq).where(tuple_(Act.journal, Act.seq).in_(chunk), Act.status.in_(CAUSES))
        )
        work.settled |= {Dot(journal, seq) for journal, seq in rows}


def try_apply(
    work: Merging, caller: Principal, act: LinkedAct, checked: CheckedAct, *, at_ms: int, row_exists: bool = False
) -> str | None:
    """Merge an act of `caller` if its causes are there.

    Returns:
        What it waits for (a dot, or a record as `kind/id`), or None: merged, or quarantined into `work.problems`.
    """
    header = checked.header
    if len(caller.officers) > 1:
        caller = replace(caller, officers=(header.officer,))  # on a shared device an act is one officer's
    if not header.seen <= work.settled:
        return str(min(header.seen - work.settled))
    key = (header.kind, header.record)
    if key not in work.batch.records:
        parent = _parent_key(checked)
        if header.kind == "task" or (PARENTS.get(header.kind) and parent is None) or header.op == DELETE:
            return f"{header.kind}/{header.record}"
        if parent is not None:
            if parent not in work.batch.records:
                work.batch.load([parent])
            if parent not in work.batch.records:
                return f"{parent[0]}/{parent[1]}"
            place = _place(work, caller, parent, checked)
            work.batch.create(key, place, _former(caller, place, work.batch.records[parent]))
    try:
        held = work.batch.records[key]
        check_place(caller, held.placement, held.former)
        check_states(checked, held.served)
        _check_open(work, key, checked)
    except Problem as problem:
        work.problems[act.dot] = problem
        if not work.batch.records[key].known and not work.batch.records[key].changed:
            del work.batch.records[key]
        return None
    change = Change(act.dot, header.seen, at_ms, checked.fields, header.op == DELETE)
    work.batch.apply(
        Incoming(header.kind, header.record, change, header.officer, caller.subject, act.parts, row_exists, act.hash)
    )
    work.settled.add(act.dot)
    return None


def _check_open(work: Merging, key: Key, checked: CheckedAct) -> None:
    """Refuse an act on a closed inspection or a finding of one."""
    if key[0] in CLOSED_WITH_INSPECTION:
        inspection = ("inspection", work.batch.records[key].placement.parent or key[1])
        if inspection not in work.batch.records:
            work.batch.load([inspection])
        if inspection in work.batch.records and work.batch.records[inspection].served.acts:
            check_open(checked, work.batch.records[inspection].served)


def _place(work: Merging, caller: Principal, parent: Key, checked: CheckedAct) -> Placement:
    """Where a record made in the field belongs: like its parent; a new inspection is its officers' own."""
    place = work.batch.records[parent].placement
    if checked.header.kind == "inspection":
        named = checked.fields.get("officers")
        officers = tuple(sorted({checked.header.officer, *(named if isinstance(named, list) else ())}))
        return Placement(place.region, caller.department, officers, None)
    return Placement(place.region, place.department, place.assignees, parent[1])


def _former(caller: Principal, place: Placement, parent: Held) -> tuple[str, ...]:
    """Officers who add to a record that has been reassigned: what they make is its new officers' and never theirs."""
    if not set(place.assignees).isdisjoint(caller.officers):
        return ()
    return tuple(sorted(set(parent.former) & set(caller.officers)))


def release(session: Session, rt: Runtime, caller: Principal, causes: Iterable[str]) -> int:
    """Merge the held acts that wait for something the office has settled, in the caller's transaction.

    Args:
        session: the write session.
        rt: the runtime.
        caller: who settled it.
        causes: dots, and records as `kind/id`.

    Returns:
        How many acts were merged.
    """
    work = Merging(session, rt, caller, RecordBatch(session, rt))
    if release_held(work, causes):
        take_positions(work)
        project(session, rt, work.batch.flush(), work.batch)
    return len(work.batch.released)


def take_positions(work: Merging) -> int:
    """Give what was changed its place in the feed, refused acts included; returns the newest position."""
    newest = work.batch.take_positions()
    if work.refused and not any(held.changed for held in work.batch.records.values()):
        newest = advance_counter(work.session, 1)  # a place of its own, or devices that are up to date miss it
    for row in work.refused:
        row.status_position = newest
    return newest


def release_held(work: Merging, arrived: Iterable[str]) -> bool:
    """Merge held acts whose cause has now arrived, and those that wait for these; returns whether any moved."""
    moved = False
    work.session.flush()  # a pending ruling or act of the office counts
    if _ANY_HELD.row(work.session, {}) is None:
        return False
    reasons = set(arrived) | {f"{kind}/{record}" for kind, record in work.batch.records}
    for _ in range(MAX_RELEASE_ROUNDS):
        if not reasons:
            break
        ordered = sorted(reasons)
        reasons = set()
        for start in range(0, len(ordered), IN_LIST_LIMIT):
            query = select(Act).where(Act.waiting_for.in_(ordered[start : start + IN_LIST_LIMIT]))
            for row in work.session.execute(query.order_by(Act.journal, Act.seq)).scalars():
                reasons |= _retry(work, row)
        moved = moved or bool(reasons)
    return moved


def _retry(work: Merging, row: Act) -> set[str]:
    """Try one held act again; returns what may now move in turn."""
    parts = ActParts(row.header, row.body, row.personal)
    members = parse_json(row.header)
    dot = Dot(row.journal, row.seq)
    act = LinkedAct(dot, members["prev"], row.hash, parts, members)
    cause: str | None
    try:
        caller = load_author(work.session, str(row.device), row.received_at)
        checked = with_nulls(work.session, act, check_act(act, caller))
    except Problem as problem:
        cause, work.problems[dot] = None, problem
    else:
        work.batch.load(keys_of([(act, checked)]))
        know_seen(work, [(act, checked)])
        cause = try_apply(work, caller, act, checked, at_ms=row.at_ms, row_exists=True)
    if cause:
        row.waiting_for = cause
        return set()
    row.waiting_for = None
    if dot in work.problems:
        row.status, row.problem = Verdict.QUARANTINED, work.problems[dot].as_dict()
        work.refused.append(row)
        return {str(dot)}
    return {str(dot), f"{row.kind}/{row.record}"}
