"""Merging a batch of acts: records are loaded once, merged in memory, and written with a few bulk statements.

Lock order: record rows by (kind, id), the counter row last. The position of a change is taken from the counter in the
same transaction, so readers meet positions in the order of commits, without gaps, on both databases.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from sqlalchemy import BindParameter, Table, bindparam, select, update
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from server.db.engine import IN_LIST_LIMIT
from server.db.many_rows import insert_rows
from server.db.prepared import Prepared
from server.records.held import ASSIGNEES, RECORDS, Held, Key
from server.records.lines import Placement, policies_of
from server.records.models import Act, ServerState
from server.records.served import Served
from server.records.writing import write_conflicts, write_records
from server.runtime import Runtime
from sync.acts import DELETE, ActParts
from sync.dots import Dot, parse_dot
from sync.merge import Verdict, concurrent, contradict, merge, raised
from sync.registers import Change, RecordState

ACTS = cast(Table, Act.__table__)
STATE = cast(Table, ServerState.__table__)
SETTLED = (Verdict.APPLIED, Verdict.MERGED, Verdict.CONFLICT)
"""Statuses of acts that are part of their record's state."""

_AMONG: BindParameter[str] = bindparam("ids", expanding=True)
_RECORDS_OF = Prepared(
    select(
        RECORDS.c.id, RECORDS.c.region, RECORDS.c.department, RECORDS.c.parent, RECORDS.c.deleted,
        RECORDS.c.conflict_fields, RECORDS.c.line,
    )
    .where(RECORDS.c.kind == bindparam("of"), RECORDS.c.id.in_(_AMONG))
    .order_by(RECORDS.c.id)
    .with_for_update(),
    "ids",
)  # fmt: skip
_PEOPLE_OF = Prepared(
    select(ASSIGNEES.c.id, ASSIGNEES.c.officer, ASSIGNEES.c.active)
    .where(ASSIGNEES.c.kind == bindparam("of"), ASSIGNEES.c.id.in_(_AMONG))
    .order_by(ASSIGNEES.c.officer),
    "ids",
)
_ADVANCE = Prepared(
    update(STATE).where(STATE.c.id == 1).values(position=STATE.c.position + bindparam("by")).returning(STATE.c.position)
)


class Incoming(NamedTuple):
    """An act that is ready to be merged: checked, stamped, its causes applied."""

    kind: str
    record: str
    change: Change
    author: str
    device: str | None
    parts: ActParts
    held_row: bool = False
    """Whether its row is in the database already (a held act being released)."""
    hash: str = ""
    """The act's hash where it is known already."""


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

    def __post_init__(self) -> None:
        self.now = self.rt.now()

    def load(self, keys: Iterable[Key]) -> None:
        """Read the records (and lock them, where the database locks rows) that the batch will touch."""
        by_kind: dict[str, list[str]] = {}
        for kind, record_id in sorted(set(keys) - self.records.keys()):
            by_kind.setdefault(kind, []).append(record_id)
        for kind, ids in by_kind.items():
            for start in range(0, len(ids), IN_LIST_LIMIT):
                self._load(kind, ids[start : start + IN_LIST_LIMIT])

    def _load(self, kind: str, ids: list[str]) -> None:
        rows = _RECORDS_OF.rows(self.session, {"of": kind, "ids": ids})
        people = self._assignees(kind, [row[0] for row in rows]) if rows else {}
        for record_id, region, department, parent, deleted, conflict_fields, line in rows:
            present, former = people.get(record_id, ((), ()))
            place, clashes = Placement(region, department, present, parent), tuple(conflict_fields)
            held = Held(place, Served.decode(line), place, former, clashes, clashes, deleted)
            self.records[kind, record_id] = held

    def _assignees(self, kind: str, ids: list[str]) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """The officers that records of a kind are assigned to, and those that they were assigned to before."""
        found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
        for record_id, officer, active in _PEOPLE_OF.rows(self.session, {"of": kind, "ids": ids}):
            present, former = found.get(record_id, ((), ()))
            found[record_id] = ((*present, officer), former) if active else (present, (*former, officer))
        return found

    def create(self, key: Key, placement: Placement, former: tuple[str, ...] = ()) -> None:
        """Prepare a record that does not exist yet; `former`: it is made by officers whose record it will not be."""
        self.records[key] = Held(placement, Served({}), None, former)

    def apply(self, act: Incoming) -> None:
        """Merge one act into its (loaded or created) record and queue the rows that follow from it."""
        key, change = (act.kind, act.record), act.change
        held, policies, unseen = self.records[key], policies_of(act.kind), False
        advanced = None if held.conflicts_after else held.served.advanced(change, policies)
        if advanced is not None:
            held.advance(advanced, change.fields)
            verdict = Verdict.APPLIED
        else:
            outcome = merge(held.state, change, policies)
            held.take(outcome.state, policies)
            verdict, unseen = outcome.verdict, bool(outcome.unseen)
            for rival in outcome.rivals:  # undone decisions stand against values of their own past, too
                self.record_of[rival] = key
                self._raise(rival, Verdict.CONFLICT)
        held.changed = True
        self.record_of[change.dot], self.merged[change.dot] = key, change
        if act.held_row:
            self.released[change.dot] = (_first_status(verdict), change.at_ms)
        else:
            self.rows[change.dot] = self._act_row(act, verdict)
        if unseen:
            self._raise_concurrent(key, held, change)
        elif held.history is not None:
            held.history[change.dot] = change

    def rewrite(self, key: Key, state: RecordState) -> None:
        """Give a loaded record this state at a new position, and all that follows from it."""
        held = self.records[key]
        held.take(state, policies_of(key[0]))
        held.changed = True

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
            row["status"] = str(raised(Verdict(row["status"]), to))
        elif dot in self.released:
            status, at_ms = self.released[dot]
            self.released[dot] = (raised(status, to), at_ms)
        else:
            self.raises[dot] = raised(self.raises.get(dot, Verdict.APPLIED), to)

    def _act_row(self, act: Incoming, verdict: Verdict) -> dict[str, Any]:
        return {
            "journal": act.change.dot.journal,
            "seq": act.change.dot.seq,
            "hash": act.hash or act.parts.hash(),
            "kind": act.kind,
            "record": act.record,
            "device": act.device,
            "author": act.author,
            "header": act.parts.header,
            "body": act.parts.body,
            "personal": act.parts.personal,
            "received_at": self.now,
            "at_ms": act.change.at_ms,
            "verdict": str(verdict),
            "status": str(_first_status(verdict)),
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
        write_records(self.session, self.rt, self.records)
        for dot, row in self.rows.items():
            if dot in self.record_of:
                row["status_position"] = self.records[self.record_of[dot]].position
        insert_rows(self.session, ACTS, list(self.rows.values()))
        self._write_statuses()
        write_conflicts(self.session, self.rt, self.records)
        return [key for key, held in self.records.items() if held.changed]

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
    session.flush()
    newest: int = _ADVANCE.rows(session, {"by": by})[0][0]
    loaded = session.identity_map.get(identity_key(ServerState, 1))
    if loaded is not None:
        set_committed_value(loaded, "position", newest)
    return newest
