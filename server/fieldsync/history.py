"""The history of a record: every value anyone wrote to it and that was not lawfully erased, and who decided what.

It is read from the acts themselves, whatever became of them: merged, held, quarantined, mended, dismissed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.clock import from_ms
from server.db.engine import IN_LIST_LIMIT
from server.errors import Problem
from server.fieldsync.models import ActRuling, ErasedAct
from server.records.models import Act, Conflict, SyncedRecord
from server.web.body import parse_json
from server.web.principal import Principal, require_scope
from sync.dots import Dot, parse_dot

CHUNK = 200
"""Acts read at a time while looking for those that set one field."""


@dataclass(frozen=True)
class Entry:
    """One act on a record."""

    dot: str
    op: str
    fields: Mapping[str, Any]
    """What it set; fields whose values were erased are named in `erased`."""
    erased: Sequence[str]
    erasure: str | None
    """The order by which they were erased."""
    author: str
    """Officer or account id."""
    device: str | None
    wall_ms: int | None
    """The device's clock at writing, uncorrected; None where the header cannot be read."""
    at: datetime
    """Corrected time."""
    received_at: datetime
    seen: Sequence[str]
    verdict: str
    """What it was first answered."""
    status: str
    """What has become of it."""
    waiting_for: str | None
    problem: Mapping[str, Any] | None
    decision: Conflict | None
    """The conflict that this act decided."""
    ruling: ActRuling | None
    """What a person did about it, if it was quarantined."""


@dataclass(frozen=True)
class HistoryPage:
    """A piece of a history, oldest first; `after` continues it and is empty at the end."""

    entries: Sequence[Entry]
    after: str


def read_history(
    session: Session, caller: Principal, kind: str, record_id: str, *, field: str = "", after: str = "", limit: int = 50
) -> HistoryPage:
    """Return a record's acts in order of corrected time, or only those that set one field (`_deleted`: deletions).

    Args:
        session: a read session.
        caller: who asks; the record must lie in their scope.
        kind: kind of the record.
        record_id: its id.
        field: name of a field, or nothing for all.
        after: where the page before ended.
        limit: most entries.

    Raises:
        Problem: `not-found`, or `invalid-field` for an `after` that is not ours.
    """
    record = session.get(SyncedRecord, (kind, record_id))
    if record is None:
        raise Problem("not-found", detail="no record with this kind and id")
    require_scope(caller, record.region, record.department)
    found: list[tuple[Act, dict[str, Any]]] = []
    place = _place(after) if after else None
    while True:
        acts = _acts(session, kind, record_id, place, limit if not field else CHUNK)
        for act in acts:
            place = (act.at_ms, act.journal, act.seq)
            members = read_act(act)
            if not field or _touches(session, act, members, field):
                found.append((act, members))
            if len(found) == limit:
                return HistoryPage(_entries(session, record, found), ":".join(map(str, place)))
        if len(acts) < (limit if not field else CHUNK):
            return HistoryPage(_entries(session, record, found), "")


def _place(after: str) -> tuple[int, str, int]:
    at_ms, _, dot = after.partition(":")
    try:
        named = parse_dot(dot)
        return int(at_ms[:16]), named.journal, named.seq
    except ValueError as error:
        raise Problem("invalid-field", field="after", detail="is not the end of a page") from error


def _acts(session: Session, kind: str, record_id: str, place: tuple[int, str, int] | None, limit: int) -> Sequence[Act]:
    order = (Act.at_ms, Act.journal, Act.seq)
    query = select(Act).where(Act.kind == kind, Act.record == record_id)
    if place is not None:
        query = query.where(tuple_(*order) > tuple_(*place))
    return session.execute(query.order_by(*order).limit(limit)).scalars().all()


def read_act(act: Act) -> dict[str, Any]:
    """Return `op`, `wall_ms`, `seen` and `fields` of an act as far as they can be read: a bad one may be anything."""
    read: dict[str, Any] = {"fields": {}}
    header = _decoded(act.header)
    read |= {name: header.get(name) for name in ("op", "wall_ms", "seen")}
    for part in (act.body, act.personal):
        fields = _decoded(part).get("fields")
        if isinstance(fields, dict):
            read["fields"] |= fields
    return read


def _decoded(part: bytes) -> dict[str, Any]:
    try:
        members = parse_json(part) if part else {}
    except Problem:
        return {}
    return members if isinstance(members, dict) else {}


def _touches(session: Session, act: Act, members: Mapping[str, Any], field: str) -> bool:
    if field in members["fields"] or (field == "_deleted" and members["op"] == "delete"):
        return True
    erased = session.get(ErasedAct, (act.journal, act.seq)) if not act.personal else None
    return erased is not None and field in erased.fields


def _entries(session: Session, record: SyncedRecord, found: Sequence[tuple[Act, dict[str, Any]]]) -> Sequence[Entry]:
    dots = [(act.journal, act.seq) for act, _ in found]
    erased = {Dot(row.journal, row.seq): row for row in _rows(session, ErasedAct, dots)}
    rulings = {Dot(row.journal, row.seq): row for row in _rows(session, ActRuling, dots)}
    decisions = {row.decision["dot"]: row for row in _decided(session, record) if row.decision}
    return [
        _entry(
            act, members, erased.get(Dot(act.journal, act.seq)), rulings.get(Dot(act.journal, act.seq)),
            decisions.get(f"{act.journal}:{act.seq}"),
        )
        for act, members in found
    ]  # fmt: skip


def _rows(session: Session, table: Any, dots: Sequence[tuple[str, int]]) -> Iterable[Any]:  # noqa: ANN401 - two models
    for start in range(0, len(dots), IN_LIST_LIMIT):
        chunk = dots[start : start + IN_LIST_LIMIT]
        yield from session.execute(select(table).where(tuple_(table.journal, table.seq).in_(chunk))).scalars()


def _decided(session: Session, record: SyncedRecord) -> Iterable[Conflict]:
    query = select(Conflict).where(
        Conflict.kind == record.kind, Conflict.record == record.id, Conflict.status.in_(("decided", "reverted"))
    )
    return session.execute(query).scalars()


def _entry(
    act: Act, members: Mapping[str, Any], erased: ErasedAct | None, ruling: ActRuling | None, decision: Conflict | None
) -> Entry:
    wall_ms, seen = members["wall_ms"], members["seen"]
    return Entry(
        dot=f"{act.journal}:{act.seq}",
        op=members["op"] if members["op"] in ("put", "delete") else "",
        fields=members["fields"],
        erased=erased.fields if erased else (),
        erasure=erased.order if erased else None,
        author=act.author,
        device=act.device,
        wall_ms=wall_ms if isinstance(wall_ms, int) else None,
        at=from_ms(act.at_ms),
        received_at=act.received_at,
        seen=[dot for dot in seen if isinstance(dot, str)] if isinstance(seen, list) else [],
        verdict=act.verdict,
        status=act.status,
        waiting_for=act.waiting_for,
        problem=act.problem,
        decision=decision,
        ruling=ruling,
    )
