"""Merging a batch of acts: records are loaded once, merged in memory, and written with a few bulk statements.

Lock order: record rows by (kind, id), the counter row last. The position of a change is taken from the counter in the
same transaction, so readers meet positions in the order of commits, without gaps, on both databases.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import Table, select, tuple_, update
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT, insert_ignore
from server.records.lines import Placement, decode_state, encode_line, policies_of
from server.records.models import Act, Conflict, RecordAssignee, RecordLeave, ServerState, SyncedRecord
from server.runtime import Runtime
from sync.acts import DELETE, ActParts
from sync.dots import Dot, parse_dot
from sync.merge import Merged, Verdict, concurrent, contradict, merge, raised
from sync.policies import conflicts, is_deleted
from sync.registers import Change, RecordState

Key = tuple[str, str]
"""(kind, record id)."""
ACTS, RECORDS, ASSIGNEES = (cast(Table, model.__table__) for model in (Act, SyncedRecord, RecordAssignee))
"""The tables themselves: bulk inserts go past the ORM, which would cost as much as the rest."""
SETTLED = (Verdict.APPLIED, Verdict.MERGED, Verdict.CONFLICT)
"""Statuses of acts that are part of their record's state."""


@dataclass
class Held:
    """A loaded record and what the batch has made of it."""

    placement: Placement
    state: RecordState
    known: bool
    """Whether the database has it already."""
    former: tuple[str, ...] = ()
    """Officers it was assigned to before; what they write about it still lands."""
    conflict_fields: tuple[str, ...] = ()
    """Fields in conflict before the batch."""
    conflicts_after: tuple[str, ...] = ()
    changed: bool = False
    position: int = 0
    history: dict[Dot, Change] | None = None
    """All acts of the record, loaded when first needed."""


@dataclass(frozen=True)
class Incoming:
    """An act that is ready to be merged: checked, stamped, its causes applied."""

    kind: str
    record: str
    change: Change
    author: str
    device: str | None
    parts: ActParts
    held_row: bool = False
    """Whether its row is in the database already (a held act being released)."""


@dataclass
class RecordBatch:
    """A unit of work over synced records; use :meth:`load`, :meth:`apply`, then :meth:`flush` once."""

    session: Session
    rt: Runtime
    records: dict[Key, Held] = field(default_factory=dict)
    rows: dict[Dot, dict[str, Any]] = field(default_factory=dict)
    """Rows of acts to insert."""
    raises: dict[Dot, Verdict] = field(default_factory=dict)
    """Acts of other batches whose status rises."""
    released: dict[Dot, tuple[Verdict, int]] = field(default_factory=dict)
    merged: dict[Dot, Change] = field(default_factory=dict)
    """Acts that this batch has merged, the released ones included: the database does not know them as settled yet."""
    record_of: dict[Dot, Key] = field(default_factory=dict)

    def load(self, keys: Iterable[Key]) -> None:
        """Read the records (and lock them, where the database locks rows) that the batch will touch."""
        missing = sorted(set(keys) - self.records.keys())
        for start in range(0, len(missing), IN_LIST_LIMIT):
            chunk = missing[start : start + IN_LIST_LIMIT]
            wanted = tuple_(SyncedRecord.kind, SyncedRecord.id).in_(chunk)
            found = self.session.execute(
                select(SyncedRecord).where(wanted).order_by(SyncedRecord.kind, SyncedRecord.id).with_for_update()
            ).scalars()
            rows = list(found)
            people = self._assignees(chunk) if rows else {}
            for row in rows:
                key = (row.kind, row.id)
                present, former = people.get(key, ((), ()))
                placement = Placement(row.region, row.department, present, row.parent)
                state = decode_state(row.line)
                self.records[key] = Held(placement, state, True, former, tuple(row.conflict_fields))

    def _assignees(self, keys: list[Key]) -> dict[Key, tuple[tuple[str, ...], tuple[str, ...]]]:
        """The officers that records are assigned to, and those that they were assigned to before."""
        wanted = tuple_(RecordAssignee.kind, RecordAssignee.id).in_(keys)
        found: dict[Key, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        columns = (RecordAssignee.kind, RecordAssignee.id, RecordAssignee.officer, RecordAssignee.active)
        query = select(*columns).where(wanted).order_by(RecordAssignee.officer)
        for kind, record_id, officer, active in self.session.execute(query):
            present, former = found.get((kind, record_id), ((), ()))
            found[kind, record_id] = ((*present, officer), former) if active else (present, (*former, officer))
        return found

    def create(self, key: Key, placement: Placement, former: tuple[str, ...] = ()) -> None:
        """Prepare a record that does not exist yet; `former`: it is made by officers whose record it will not be."""
        self.records[key] = Held(placement, RecordState(), False, former)

    def apply(self, act: Incoming) -> Merged:
        """Merge one act into its (loaded or created) record and queue the rows that follow from it."""
        key = (act.kind, act.record)
        held = self.records[key]
        dot = act.change.dot
        outcome = merge(held.state, act.change, policies_of(act.kind))
        held.state, held.changed = outcome.state, True
        self.record_of[dot], self.merged[dot] = key, act.change
        if act.held_row:
            self.released[dot] = (_first_status(outcome.verdict), act.change.at_ms)
        else:
            self.rows[dot] = self._act_row(act, outcome.verdict)
        if outcome.unseen:
            self._raise_concurrent(key, held, act.change)
        elif held.history is not None:
            held.history[dot] = act.change
        return outcome

    def _raise_concurrent(self, key: Key, held: Held, change: Change) -> None:
        """Raise the statuses on both sides, by what the acts say and not by what is still alive.

        So the statuses of a record's acts are the same in whatever order they came in.
        """
        if held.history is None:
            held.history = self._load_history(key)
        held.history[change.dot] = change
        for other in concurrent(change.dot, {dot: act.seen for dot, act in held.history.items()}):
            clash = contradict(change, held.history[other], policies_of(key[0]))
            for dot in (change.dot, other):
                self.record_of[dot] = key
                self._raise(dot, Verdict.CONFLICT if clash else Verdict.MERGED)

    def _load_history(self, key: Key) -> dict[Dot, Change]:
        acts = select(Act.journal, Act.seq, Act.header, Act.body, Act.personal).where(
            Act.kind == key[0], Act.record == key[1], Act.status.in_(SETTLED)
        )
        history = {
            Dot(journal, seq): _stored_change(Dot(journal, seq), header, (body, personal))
            for journal, seq, header, body, personal in self.session.execute(acts)
        }
        return history | {dot: change for dot, change in self.merged.items() if self.record_of[dot] == key}

    def _raise(self, dot: Dot, to: Verdict) -> None:
        row = self.rows.get(dot)
        if row is not None:
            row["status"] = raised(Verdict(row["status"]), to)
        elif dot in self.released:
            status, at_ms = self.released[dot]
            self.released[dot] = (raised(status, to), at_ms)
        else:
            self.raises[dot] = raised(self.raises.get(dot, Verdict.APPLIED), to)

    def _act_row(self, act: Incoming, verdict: Verdict) -> dict[str, Any]:
        return {
            "journal": act.change.dot.journal,
            "seq": act.change.dot.seq,
            "hash": act.parts.hash(),
            "kind": act.kind,
            "record": act.record,
            "device": act.device,
            "author": act.author,
            "header": act.parts.header,
            "body": act.parts.body,
            "personal": act.parts.personal,
            "received_at": self.rt.now(),
            "at_ms": act.change.at_ms,
            "verdict": verdict,
            "status": _first_status(verdict),
            "status_position": 0,
            "waiting_for": None,
            "problem": None,
            "receipt": b"",
        }

    def take_positions(self) -> int:
        """Give every changed record its place in the feed; returns the newest position.

        This takes the counter row and holds it until the commit, so it comes after all record locks.
        """
        changed = [held for held in self.records.values() if held.changed]
        newest = advance_counter(self.session, len(changed))
        for offset, held in enumerate(changed):
            held.position = newest - len(changed) + 1 + offset
        return newest

    def flush(self) -> list[Key]:
        """Write acts, records, statuses and conflicts; call after :meth:`take_positions`. Returns the changed keys."""
        self._write_records()
        for dot, row in self.rows.items():
            if dot in self.record_of:
                row["status_position"] = self.records[self.record_of[dot]].position
        if self.rows:
            self.session.execute(ACTS.insert(), list(self.rows.values()))
        self._write_statuses()
        self._write_conflicts()
        return [key for key, held in self.records.items() if held.changed]

    def _write_records(self) -> None:
        fresh: list[dict[str, Any]] = []
        known: list[dict[str, Any]] = []
        people: list[dict[str, Any]] = []
        for (kind, record_id), held in self.records.items():
            if not held.changed:
                continue
            place = held.placement
            held.conflicts_after = conflicts(held.state, policies_of(kind))
            row = {
                "kind": kind,
                "id": record_id,
                "position": held.position,
                "region": place.region,
                "department": place.department,
                "assigned": bool(place.assignees),
                "parent": place.parent,
                "deleted": is_deleted(held.state),
                "conflict_fields": list(held.conflicts_after),
                "line": encode_line(kind, record_id, held.position, place, held.state, held.conflicts_after),
            }
            (known if held.known else fresh).append(row)
            people += [{"kind": kind, "id": record_id, "officer": o, "active": True} for o in place.assignees]
            if held.former and not held.known:
                people += [{"kind": kind, "id": record_id, "officer": o, "active": False} for o in held.former]
                write_leaves(self.session, self.rt, (kind, record_id), held.position, place, held.former)
        if fresh:
            self.session.execute(RECORDS.insert(), fresh)
        if known:
            self.session.execute(update(SyncedRecord), known)
        insert_ignore(self.session, ASSIGNEES, people)

    def _write_statuses(self) -> None:
        """A status changes where its record does: devices take the position for the line that holds the act."""
        for dot, (status, at_ms) in self.released.items():
            position = self.records[self.record_of[dot]].position
            values = {"status": status, "at_ms": at_ms, "waiting_for": None, "status_position": position}
            self.session.execute(update(Act).where(Act.journal == dot.journal, Act.seq == dot.seq).values(values))
        for dot, to in self.raises.items():
            lower = [status for status in SETTLED if raised(status, to) != status]
            target = update(Act).where(Act.journal == dot.journal, Act.seq == dot.seq, Act.status.in_(lower))
            position = self.records[self.record_of[dot]].position
            self.session.execute(target.values(status=to, status_position=position))

    def _write_conflicts(self) -> None:
        for key, held in self.records.items():
            before, after = set(held.conflict_fields), set(held.conflicts_after)
            if not held.changed or before == after:
                continue
            for name in sorted(after - before):
                self.session.add(
                    Conflict(
                        id=self.rt.new_id(),
                        kind=key[0],
                        record=key[1],
                        field=name,
                        region=held.placement.region,
                        department=held.placement.department,
                        opened_at=self.rt.now(),
                        status="open",
                    )
                )
            gone = update(Conflict).where(
                Conflict.kind == key[0],
                Conflict.record == key[1],
                Conflict.status == "open",
                Conflict.field.in_(before - after),
                Conflict.held.is_(None),
            )
            self.session.execute(gone.values(status="dissolved", ended_at=self.rt.now()))


def write_leaves(
    session: Session, rt: Runtime, key: Key, position: int, before: Placement, officers: Iterable[str]
) -> None:
    """Note that a record placed as `before` left these officers' scopes at `position`; ("",): everybody's there."""
    for officer in officers:
        session.add(
            RecordLeave(
                position=position, officer=officer, kind=key[0], id=key[1],
                region=before.region, department=before.department, at=rt.now(),
            )
        )  # fmt: skip


def _stored_change(dot: Dot, header: bytes, parts: Iterable[bytes]) -> Change:
    """What an accepted act did, from its stored bytes as far as they were not erased; its time does not matter here."""
    delete = json.loads(header)["op"] == DELETE
    fields = {name: value for part in parts if part for name, value in json.loads(part)["fields"].items()}
    return Change(dot, seen_of(header), 0, fields, delete)


def _first_status(verdict: Verdict) -> Verdict:
    """Return the status an act starts with: `merged` is left to the history, which knows more than `seen` lists.

    A handheld restored from a copy may leave out a value that it had seen through another one.
    """
    return Verdict.APPLIED if verdict is Verdict.MERGED else verdict


def seen_of(header: bytes) -> frozenset[Dot]:
    """Return the dots an accepted act had seen, from its stored header."""
    members: Mapping[str, Any] = json.loads(header)
    return frozenset(parse_dot(dot) for dot in members["seen"])


def advance_counter(session: Session, by: int) -> int:
    """Advance the feed counter and return its new value; the row stays locked until the commit."""
    state = session.execute(select(ServerState).where(ServerState.id == 1).with_for_update()).scalar_one()
    state.position += by
    session.flush()
    return state.position
