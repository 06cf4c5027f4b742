"""Acts whose personal part was lawfully erased: reading them, and keeping erased records free of what arrives later.

An erased field keeps its dot and reads as null, so that chains, signatures and merging stay as they were. A record once
erased takes no personal data any more: what a handheld still brings is destroyed before it is stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from schemas.kinds import KINDS, personal_fields
from server.db.engine import IN_LIST_LIMIT
from server.errors import Problem
from server.fieldsync.checks import CheckedAct
from server.fieldsync.models import ErasedAct, ErasedRecord, ErasureNotice
from server.fieldsync.segment import LinkedAct
from server.records.held import Key
from server.records.models import Act
from server.web.body import parse_json
from sync.acts import ActError, ActParts, erased_names, is_erased
from sync.dots import Dot

NO_PERSONAL = b'"personal":null'
"""How the header of an act without a personal part says so."""

Content = Mapping[int, CheckedAct | Problem]


def erased_fields(session: Session, acts: Iterable[Act]) -> dict[Dot, list[str]]:
    """Return, for those of the given acts that were erased, which fields they had set."""
    suspects = [(act.journal, act.seq) for act in acts if not act.personal and NO_PERSONAL not in act.header]
    found: dict[Dot, list[str]] = {}
    for start in range(0, len(suspects), IN_LIST_LIMIT):
        chunk = tuple_(ErasedAct.journal, ErasedAct.seq).in_(suspects[start : start + IN_LIST_LIMIT])
        found |= {
            Dot(row.journal, row.seq): row.fields for row in session.execute(select(ErasedAct).where(chunk)).scalars()
        }
    return found


def lacks_personal(act: LinkedAct, checked: CheckedAct) -> bool:
    """Tell whether an act commits to a personal part that did not come with it."""
    return checked.header.personal is not None and is_erased(act.parts.personal)


def refuse_incomplete(fresh: Sequence[LinkedAct], content: Content) -> Content:
    """Return the content with acts refused that lack a personal part: only erased records take those."""
    missing = {
        act.seq: _missing()
        for act in fresh
        if isinstance(found := content[act.seq], CheckedAct) and lacks_personal(act, found)
    }
    return {**content, **missing} if missing else content


def _missing() -> Problem:
    return Problem("invalid-field", field="personal", detail="does not match its commitment")


def without_erased(
    session: Session, device: str, fresh: Sequence[LinkedAct], content: Content
) -> tuple[list[LinkedAct], Content]:
    """Destroy the personal parts of arriving acts on erased records; refuse other acts that lack theirs.

    Called only where anything has ever been erased. The device is told to destroy its own.
    """
    wanted = {named_key(act) for act in fresh}
    query = select(ErasedRecord).where(tuple_(ErasedRecord.kind, ErasedRecord.record).in_(wanted))
    orders = {(row.kind, row.record): row.order for row in session.execute(query).scalars()}
    kept: list[LinkedAct] = []
    looked_at: dict[int, CheckedAct | Problem] = dict(
        refuse_incomplete([a for a in fresh if named_key(a) not in orders], content)
    )
    for act in fresh:
        order = orders.get(named_key(act))
        found = content[act.seq]
        if order is None or (isinstance(found, CheckedAct) and found.header.personal is None):
            kept.append(act)
            continue
        private = personal_of(named_key(act)[0])
        bad = isinstance(found, Problem) and may_hold(act.parts.body, private)
        kept.append(act._replace(parts=ActParts(act.parts.header, b"" if bad else act.parts.body, b"")))
        names = _destroy(session, act.dot, act, order)
        if isinstance(found, CheckedAct):
            ordinary = {name: value for name, value in found.fields.items() if name not in names}
            looked_at[act.seq] = CheckedAct(found.header, ordinary | dict.fromkeys(names))
        notify(session, device, named_key(act), order)
    return kept, looked_at


def named_key(act: LinkedAct) -> Key:
    """Return the record that an act names, as far as its unchecked header can be looked up."""
    if act.header is not None:
        return act.header.kind, act.header.record
    kind, record = (str(act.members.get(name))[:64].replace("\x00", "") for name in ("kind", "record"))
    return kind, record


def _destroy(session: Session, dot: Dot, act: LinkedAct, order: str) -> list[str]:
    """Note an arriving act as erased; returns the fields it had set, from its bytes or from an earlier note."""
    noted = session.get(ErasedAct, dot)
    if noted is not None:
        return noted.fields
    names = (_left_names if is_erased(act.parts.personal) else field_names)(act.parts.personal) or []
    session.add(ErasedAct(journal=dot.journal, seq=dot.seq, order=order, fields=names))
    session.flush()
    return names


def personal_of(kind: str) -> frozenset[str]:
    """Return the names of a kind's personal fields; none for a kind that is not known."""
    return personal_fields(KINDS[kind].schema) if kind in KINDS else frozenset()


def may_hold(body: bytes, private: frozenset[str]) -> bool:
    """Tell whether the body of an act that is not sound may hold personal data in the wrong place."""
    names = field_names(body)
    return names is None or not private.isdisjoint(names)


def _left_names(part: bytes) -> list[str]:
    try:
        return erased_names(part)
    except ActError:
        return []


def field_names(part: bytes) -> list[str] | None:
    """Return the names of the fields in a part, in order; none for an empty part, None for one that cannot be read."""
    try:
        members = parse_json(part) if part else {"fields": {}}
    except Problem:
        return None
    fields = members.get("fields") if isinstance(members, dict) else None
    return sorted(fields) if isinstance(fields, dict) else None


def with_nulls(session: Session, act: LinkedAct, checked: CheckedAct) -> CheckedAct:
    """Return what a stored act says that waited: fields erased meanwhile are null.

    Raises:
        Problem: `invalid-field` when its personal part is missing without having been erased.
    """
    if not lacks_personal(act, checked):
        return checked
    noted = session.get(ErasedAct, checked.header.dot)
    if noted is None:
        raise _missing()
    return CheckedAct(checked.header, {**checked.fields, **dict.fromkeys(noted.fields)})


def notify(session: Session, device: str, key: Key, order: str) -> None:
    """Let a device know that it is to destroy the personal parts of its own acts on a record."""
    row: Any = session.get(ErasureNotice, (device, *key))
    if row is None:
        session.add(ErasureNotice(device=device, kind=key[0], record=key[1], order=order, acknowledged_at=None))
        session.flush()
    else:
        row.acknowledged_at = None
