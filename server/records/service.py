"""Reading synced records, and writing them from the office."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from marshmallow import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.kinds import KINDS, Writer, personal_fields
from schemas.kinds.base import SCHEMA_VERSION
from server.clock import to_ms
from server.db.engine import IN_LIST_LIMIT
from server.db.prepared import Prepared
from server.errors import Problem
from server.records.batch import Incoming, RecordBatch
from server.records.held import Key
from server.records.lines import Placement, decode_state, view_of
from server.records.models import Act, RecordAssignee, ServerState, SyncedRecord
from server.runtime import Runtime
from sync.acts import DELETE, PUT, Header, encode_act, encode_fields
from sync.dots import Dot
from sync.registers import Change

SALT_BYTES = 16
_EPOCH = Prepared(select(ServerState.epoch, ServerState.erasures).where(ServerState.id == 1))
_PRESENT = select(ServerState.epoch, ServerState.position, ServerState.leaves_expired_to).where(ServerState.id == 1)


class PresentState(NamedTuple):
    """What readers need of the server's state."""

    epoch: str
    position: int
    leaves_expired_to: int


@dataclass(frozen=True)
class OfficeChange:
    """What the office changes in one record. Without `placement` the record must exist."""

    kind: str
    record: str
    fields: Mapping[str, Any]
    author: str
    placement: Placement | None = None
    seen: frozenset[Dot] | None = None
    """Dots of the form that was edited; None: everything live at the time of writing."""
    delete: bool = False


@dataclass(frozen=True)
class RecordView:
    """A record as it reads now."""

    kind: str
    id: str
    position: int
    placement: Placement
    fields: Mapping[str, Any]
    conflict_fields: tuple[str, ...]
    deleted: bool


def start_epoch(session: Session, rt: Runtime) -> str:
    """Make the server's state row if there is none yet; returns the epoch."""
    state = session.get(ServerState, 1)
    if state is None:
        state = ServerState(id=1, epoch=rt.new_id(), position=0, office_seq=0)
        session.add(state)
        session.flush()
    return state.epoch


def new_epoch(session: Session, rt: Runtime) -> str:
    """Begin another life of the server's data, after a restore; returns its epoch.

    Positions go on from where the backup stood: all cursors of former epochs are refused anyway. Acts of the office are
    named by the new epoch from here on, so no name is ever given twice.
    """
    state = server_state(session)
    state.epoch = rt.new_id()
    session.flush()
    return state.epoch


def epoch_and_erasures(session: Session) -> tuple[str, int]:
    """Return the server's epoch, and the count of records whose personal data was erased.

    Raises:
        Problem: `unavailable` when the database has not been set up.
    """
    row = _EPOCH.row(session, {})
    if row is None:
        raise _not_set_up()
    epoch, erasures = row
    return epoch, erasures


def read_state(session: Session) -> PresentState:
    """Return the server's state as this snapshot has it, past the ORM: it is asked several times in each pull.

    Raises:
        Problem: `unavailable` when the database has not been set up.
    """
    row = session.connection().execute(_PRESENT).one_or_none()
    if row is None:
        raise _not_set_up()
    return PresentState(*row)


def server_state(session: Session) -> ServerState:
    """Return the state row, to be changed.

    Raises:
        Problem: `unavailable` when the database has not been set up.
    """
    state = session.get(ServerState, 1)
    if state is None:
        raise _not_set_up()
    return state


def _not_set_up() -> Problem:
    return Problem("unavailable", detail="the database has not been set up: run `fieldproof migrate`")


def office_write(
    session: Session,
    rt: Runtime,
    kind: str,
    record_id: str,
    fields: Mapping[str, Any],
    *,
    region: str,
    department: str,
    author: str,
    assignees: tuple[str, ...] = (),
    parent: str | None = None,
) -> Dot:
    """Create or change one record from the office; see :func:`office_write_many`."""
    placement = Placement(region, department, assignees, parent)
    return office_write_many(session, rt, [OfficeChange(kind, record_id, fields, author, placement)])[0]


def office_write_many(
    session: Session, rt: Runtime, changes: list[OfficeChange], *, captured: bool = False
) -> list[Dot]:
    """Write acts of the office into synced records, all in the caller's transaction.

    Args:
        session: the write session.
        rt: the runtime.
        changes: what to write, each with a dot of its own.
        captured: whether records of kinds that devices capture may be made: where an act of a device is said right,
            and for what the platform takes out of its own data.

    Returns:
        The dot of each change, in order.

    Raises:
        Problem: `invalid-field` with the field, `not-found` for a missing record.
    """
    batch = RecordBatch(session, rt)
    batch.load((change.kind, change.record) for change in changes)
    state = session.execute(select(ServerState).where(ServerState.id == 1).with_for_update()).scalar_one()
    dots = []
    for change in changes:
        key = (change.kind, change.record)
        check_office_fields(change.kind, change.fields, new=key not in batch.records and not captured)
        if key not in batch.records:
            if change.placement is None:
                raise Problem("not-found", detail=f"no {change.kind} with this id")
            batch.create(key, change.placement)
        state.office_seq += 1
        dots.append(Dot(state.epoch, state.office_seq))
        batch.apply(_incoming(rt, change, dots[-1], batch))
    session.flush()
    batch.take_positions()
    batch.flush()
    return dots


def check_office_fields(kind: str, fields: Mapping[str, Any], *, new: bool) -> None:
    """Check fields by the kind's schema. The office makes no `new` records of the kinds that devices capture; what
    devices disagree on there it decides all the same.

    Raises:
        Problem: `unknown-kind` or `invalid-field`.
    """
    if kind not in KINDS or (new and KINDS[kind].writer is Writer.DEVICE):
        raise Problem("unknown-kind", field="kind", detail=f"the office does not write {kind!r}")
    try:
        KINDS[kind].schema(partial=True).load(dict(fields))
    except ValidationError as error:
        messages = error.messages if isinstance(error.messages, dict) else {"": error.messages}
        name, reasons = next(iter(messages.items()))
        raise Problem("invalid-field", field=str(name), detail=str(reasons)) from error


def _incoming(rt: Runtime, change: OfficeChange, dot: Dot, batch: RecordBatch) -> Incoming:
    seen = batch.records[change.kind, change.record].state.live_dots() if change.seen is None else change.seen
    personal = personal_fields(KINDS[change.kind].schema)
    now_ms = to_ms(rt.now())
    header = Header(
        journal=dot.journal, seq=dot.seq, prev="", kind=change.kind, record=change.record,
        op=DELETE if change.delete else PUT, seen=seen, schema=SCHEMA_VERSION, wall_ms=now_ms, mono_ms=0,
        boot=dot.journal, officer=change.author, body="", personal=None,
    )  # fmt: skip
    open_fields = {name: value for name, value in change.fields.items() if name not in personal}
    closed_fields = {name: value for name, value in change.fields.items() if name in personal}
    parts = encode_act(
        header,
        encode_fields(_salt(rt), open_fields),
        encode_fields(_salt(rt), closed_fields) if closed_fields else b"",
    )
    return Incoming(
        change.kind, change.record, Change(dot, seen, now_ms, change.fields, change.delete), change.author, None, parts
    )


def _salt(rt: Runtime) -> str:
    return base64.urlsafe_b64encode(rt.random_bytes(SALT_BYTES)).decode().rstrip("=")


def get_record(session: Session, kind: str, record_id: str) -> RecordView | None:
    """Return one record, or None."""
    return get_records(session, [(kind, record_id)]).get((kind, record_id))


def get_view(session: Session, kind: str, record_id: str) -> Mapping[str, Any] | None:
    """Return the fields of one record as they read now, or None."""
    record = get_record(session, kind, record_id)
    return record.fields if record else None


def get_records(session: Session, keys: Iterable[Key]) -> dict[Key, RecordView]:
    """Return the records that exist, by (kind, id)."""
    by_kind: dict[str, list[str]] = {}
    for kind, record_id in keys:
        by_kind.setdefault(kind, []).append(record_id)
    found = {}
    for kind, ids in by_kind.items():
        for start in range(0, len(ids), IN_LIST_LIMIT):
            chunk = ids[start : start + IN_LIST_LIMIT]
            rows = session.execute(select(SyncedRecord).where(SyncedRecord.kind == kind, SyncedRecord.id.in_(chunk)))
            found.update({(row.kind, row.id): _view(row) for row in rows.scalars()})
    return found


def children_of(session: Session, parent: str) -> list[RecordView]:
    """Return all records that are part of an inspection."""
    rows = session.execute(
        select(SyncedRecord).where(SyncedRecord.parent == parent).order_by(SyncedRecord.kind, SyncedRecord.id)
    )
    return [_view(row) for row in rows.scalars()]


def assignees_of(session: Session, kind: str, record_id: str) -> tuple[str, ...]:
    """Return the officers a record is assigned to."""
    mine = (RecordAssignee.kind == kind, RecordAssignee.id == record_id, RecordAssignee.active.is_(True))
    query = select(RecordAssignee.officer).where(*mine)
    return tuple(session.execute(query.order_by(RecordAssignee.officer)).scalars())


def _view(row: SyncedRecord) -> RecordView:
    return RecordView(
        kind=row.kind,
        id=row.id,
        position=row.position,
        placement=Placement(row.region, row.department, (), row.parent),
        fields=view_of(row.kind, decode_state(row.line)),
        conflict_fields=tuple(row.conflict_fields),
        deleted=row.deleted,
    )


def acts_of(session: Session, kind: str, record_id: str) -> list[Act]:
    """Return all acts on a record, oldest first by corrected time."""
    query = select(Act).where(Act.kind == kind, Act.record == record_id).order_by(Act.at_ms, Act.journal, Act.seq)
    return list(session.execute(query).scalars())
