"""Records against their acts: what a record's stored line must say, and putting right one that says otherwise.

The acts are the truth. A line that is not what they amount to was damaged in the database, and it is repaired from them
alone, never from what a device says it has.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.audit.service import SYSTEM, record_event
from server.db.engine import IN_LIST_LIMIT
from server.fieldsync.conflicts import field_values
from server.fieldsync.erased import erased_fields
from server.records.batch import SETTLED, RecordBatch, seen_of
from server.records.held import Key
from server.records.lines import Placement, encode_line, policies_of
from server.records.models import Act, SyncedRecord
from server.runtime import Runtime
from server.web.body import parse_json
from sync.acts import DELETE
from sync.dots import Dot
from sync.policies import conflicts, state_of
from sync.registers import Change, RecordState, join


def damaged(session: Session, rows: Iterable[SyncedRecord]) -> dict[Key, bytes]:
    """Return, for those of the given records whose line is not what their acts amount to, the line that is."""
    listed = list(rows)
    acts = _settled_acts(session, [(row.kind, row.id) for row in listed])
    found: dict[Key, bytes] = {}
    for row in listed:
        state = replay(session, acts.get((row.kind, row.id), ()), row.kind)
        place = Placement(row.region, row.department)
        line = encode_line(row.kind, row.id, row.position, place, state, conflicts(state, policies_of(row.kind)))
        if line != row.line:
            found[row.kind, row.id] = line
    return found


def damaged_among(session: Session, keys: Sequence[Key], *, lock: bool = False) -> dict[Key, bytes]:
    """As :func:`damaged`, for records by kind and id; with `lock` nobody writes them until the commit."""
    found: dict[Key, bytes] = {}
    for start in range(0, len(keys), IN_LIST_LIMIT):
        wanted = tuple_(SyncedRecord.kind, SyncedRecord.id).in_(keys[start : start + IN_LIST_LIMIT])
        query = select(SyncedRecord).where(wanted)
        if lock:
            query = query.order_by(SyncedRecord.kind, SyncedRecord.id).with_for_update()
            query = query.execution_options(populate_existing=True)
        found |= damaged(session, session.execute(query).scalars())
    return found


def repair(session: Session, rt: Runtime, keys: Sequence[Key]) -> list[Key]:
    """Write the lines of damaged records anew from their acts, at a new position, so that every handheld gets them.

    Returns the records that were really damaged; each repair is audited.
    """
    suspects = damaged_among(session, keys)
    wrong = damaged_among(session, sorted(suspects), lock=True)  # somebody may have written one meanwhile
    if not wrong:
        return []
    for (kind, record_id), line in sorted(wrong.items()):
        row = session.get_one(SyncedRecord, (kind, record_id))
        row.line = line
        record_event(session, rt, SYSTEM, "record.repair", kind, record_id, {"position": row.position})
    session.flush()
    batch = RecordBatch(session, rt)
    batch.load(wrong)
    for key in wrong:
        batch.rewrite(key, batch.records[key].state)
    batch.take_positions()
    batch.flush()
    return sorted(wrong)


def replay(session: Session, acts: Sequence[Act], kind: str) -> RecordState:
    """Return the state that a record's acts amount to, in whatever order they come; what was erased is null."""
    state, erased = RecordState(), erased_fields(session, acts)
    for act in acts:
        dot, delete = Dot(act.journal, act.seq), parse_json(act.header)["op"] == DELETE
        fields = {**field_values(act), **dict.fromkeys(erased.get(dot, ()))}
        change = Change(dot, seen_of(act.header), act.at_ms, fields, delete)
        state = join(state, state_of(change, policies_of(kind)))
    return state.pruned()


def _settled_acts(session: Session, keys: Sequence[Key]) -> Mapping[Key, list[Act]]:
    found: dict[Key, list[Act]] = {}
    for start in range(0, len(keys), IN_LIST_LIMIT):
        ids = [record_id for _, record_id in keys[start : start + IN_LIST_LIMIT]]
        query = select(Act).where(Act.record.in_(ids), Act.status.in_(SETTLED))
        for act in session.execute(query).scalars():
            found.setdefault((act.kind, act.record), []).append(act)
    return found
