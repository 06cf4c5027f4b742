"""Moving records to another region, department or officers: who loses a record is told so, who gains it gets it.

A move is no act: it changes nothing that anybody wrote, only who sees it. It is audited by its caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from server.errors import Problem
from server.records.batch import RecordBatch
from server.records.held import ASSIGNEES, Held, Key
from server.records.lines import Placement
from server.records.models import RecordAssignee, SyncedRecord
from server.records.writing import write_leaves
from server.runtime import Runtime


@dataclass(frozen=True)
class Move:
    """A record and where it belongs from now on; `parent` of the placement is not looked at."""

    kind: str
    record: str
    to: Placement


def move_records(session: Session, rt: Runtime, moves: Sequence[Move]) -> list[Key]:
    """Place records anew, in the caller's transaction; returns those that really moved.

    Former assignees stay known as such: what they wrote before they heard of it still lands, in their names. Their
    handhelds get the id of what left; those of the new ones get the record, at the same position of the feed.

    Raises:
        Problem: `not-found` for a record that does not exist.
    """
    batch = RecordBatch(session, rt)
    batch.load((move.kind, move.record) for move in moves)
    before: dict[Key, Placement] = {}
    for move in moves:
        key = (move.kind, move.record)
        if key not in batch.records:
            raise Problem("not-found", detail=f"no {move.kind} with this id")
        held = batch.records[key]
        officers = tuple(sorted(set(move.to.assignees)))
        place = Placement(move.to.region, move.to.department, officers, held.placement.parent)
        if place != held.placement:
            before.setdefault(key, held.placement)
            held.placement, held.changed = place, True
    if not before:
        return []
    session.flush()
    batch.take_positions()
    batch.flush()
    for key, place in before.items():
        _reassign(session, rt, key, batch.records[key], place)
    session.flush()
    return list(before)


def _reassign(session: Session, rt: Runtime, key: Key, held: Held, before: Placement) -> None:
    """Bring the table of assignees up to a placement, and note who is to be told."""
    now = set(held.placement.assignees)
    theirs = (RecordAssignee.kind == key[0], RecordAssignee.id == key[1])
    session.execute(update(ASSIGNEES).where(*theirs, RecordAssignee.officer.in_(now)).values(active=True))
    session.execute(update(ASSIGNEES).where(*theirs, RecordAssignee.officer.not_in(now)).values(active=False))
    moved = (before.region, before.department) != (held.placement.region, held.placement.department)
    told = before.assignees if moved else tuple(sorted(set(before.assignees) - now))
    write_leaves(session, rt, key, held.position, before, told if before.assignees else ("",))


def whole_inspection(session: Session, inspection: str) -> list[Key]:
    """Return the keys of an inspection and of everything that is part of it, their rows locked in order.

    Whoever adds a part holds the inspection's row until the commit. Looking a second time, with that row in hand, finds
    the parts that were added while the first look waited for it.
    """
    itself = and_(SyncedRecord.kind == "inspection", SyncedRecord.id == inspection)
    theirs = or_(SyncedRecord.parent == inspection, itself)
    query = select(SyncedRecord.kind, SyncedRecord.id).where(theirs).order_by(SyncedRecord.kind, SyncedRecord.id)
    session.execute(query.with_for_update()).all()
    return [(kind, record_id) for kind, record_id in session.execute(query.with_for_update())]
