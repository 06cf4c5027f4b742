"""The feed of a scope: records by the position of their newest change, and the ids that left the scope.

What a scope sees is a condition over the table of records, so a record enters by being there and leaves by a note
(:class:`RecordLeave`) that its move wrote. A reader whose own scope changed is served by the same scan, with both
scopes in view: entering rows and leaving ids stand at the positions of their records.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, exists, not_, or_, select
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.records.held import Key
from server.records.models import RecordAssignee, RecordLeave, ServerState, SyncedRecord
from sync.acts import encode

MAX_PAGE_BYTES = 4 * 1024 * 1024
"""A page ends with the line that passes this."""
ROWS_AT_ONCE = 500
"""Rows fetched from the database at a time."""
QUERIES_KEPT = 256
"""Statements kept ready, one for each scope that was served lately: making one costs as much as 300 rows."""

_NEWEST = select(ServerState.position).where(ServerState.id == 1)

Item = tuple[int, bytes]
"""(position, line) of a record, or of an id that left."""


@dataclass(frozen=True)
class FeedScope:
    """What a reader may see: a region prefix, a department, and the officers whose assigned records are theirs."""

    region: str
    department: str
    officers: tuple[str, ...]

    def shared(self) -> "FeedScope":
        """The part that all officers of the same region and department share: what is assigned to nobody."""
        return FeedScope(self.region, self.department, ())


@dataclass(frozen=True)
class Held:
    """What a reader holds from an earlier scope: all that `scope` saw up to position `upto`."""

    scope: FeedScope
    upto: int


@dataclass(frozen=True)
class Page:
    """A piece of a feed."""

    items: list[Item]
    notes: int
    """How many of the first items are notes of leaves, which may stand later in the feed than what follows them."""
    upto: int
    """Position up to which everything was delivered, once all items are."""
    more: bool


def visible(scope: FeedScope) -> ColumnElement[bool]:
    """Return the condition under which a scope sees a record."""
    return or_(shared_part(scope), assigned_part(scope))


def shared_part(scope: FeedScope) -> ColumnElement[bool]:
    """Return the condition for what a scope sees although it is assigned to nobody."""
    return and_(_placed(SyncedRecord, scope), not_(SyncedRecord.assigned))


def assigned_part(scope: FeedScope) -> ColumnElement[bool]:
    """Return the condition for what is assigned to a scope's officers."""
    mine = exists().where(
        RecordAssignee.kind == SyncedRecord.kind,
        RecordAssignee.id == SyncedRecord.id,
        RecordAssignee.active.is_(True),
        RecordAssignee.officer.in_(scope.officers),
    )
    return and_(_placed(SyncedRecord, scope), SyncedRecord.assigned.is_(True), mine)


def _placed(table: type[SyncedRecord] | type[RecordLeave], scope: FeedScope) -> ColumnElement[bool]:
    return and_(
        or_(table.region == "", table.region.startswith(scope.region, autoescape=True)),
        or_(table.department == "", table.department == scope.department),
    )


def read_page(session: Session, scope: FeedScope, after: int, limit: int, held: Held | None = None) -> Page:
    """Return up to `limit` record lines of a scope beyond position `after`, and what left it on the way.

    Args:
        session: a session over one snapshot.
        scope: what the reader may see now.
        after: up to where the reader was served under this scope.
        limit: most rows looked up, of records and of leaves each.
        held: what the reader holds from another scope; keep passing it until a page without `more`, since a record
            may have moved on in the feed before it lost its reader.
    """
    newest: int = session.connection().execute(_NEWEST).scalar_one()
    if after >= newest:
        return Page([], 0, newest, more=False)  # nothing stands beyond it, records or leaves
    gone = left_rows(session, scope, after, limit, held)
    last = gone[-1][0] if len(gone) == limit else newest
    items = [(position, left_line(kind, record_id, position)) for position, kind, record_id in gone]
    rows, whole = _rows(session, scope, after, last, limit, held)
    if not whole:
        last = rows[-1][0]
    return Page(items + rows, len(items), last, more=last < newest)


def _rows(
    session: Session, scope: FeedScope, after: int, last: int, limit: int, held: Held | None
) -> tuple[list[Item], bool]:
    """Read lines up to a number and size; also tells whether that was all of them."""
    rows: list[Item] = []
    size_bytes = 0
    values = {"after": after, "last": last, "most": limit}
    # On the connection: rows go past the ORM, which would cost as much as reading them.
    with session.connection().execute(_lines_query(scope, held), values) as found:
        for some in found.partitions():
            if held is None:
                rows += some
            else:
                rows += [(at, left_line(kind, key, at) if line is None else line) for at, line, kind, key in some]
            size_bytes += sum([len(line) for _, line in rows[-len(some) :]])
            if size_bytes >= MAX_PAGE_BYTES:
                return rows, False
    return rows, len(rows) < limit


@lru_cache(maxsize=QUERIES_KEPT)
def _lines_query(scope: FeedScope, held: Held | None) -> Select[Any]:
    """The statement behind a page of lines; a line that is null stands for a record that left."""
    columns: list[Any] = [SyncedRecord.position, SyncedRecord.line]
    wanted = visible(scope)
    if held is not None:
        was, now = visible(held.scope), visible(scope)
        columns = [SyncedRecord.position, case((now, SyncedRecord.line)), SyncedRecord.kind, SyncedRecord.id]
        known = and_(SyncedRecord.position <= held.upto, was)
        wanted = or_(and_(now, not_(known)), and_(was, not_(now)))
    reached = and_(SyncedRecord.position > bindparam("after"), SyncedRecord.position <= bindparam("last"))
    query = select(*columns).where(reached, wanted).order_by(SyncedRecord.position)
    return query.limit(bindparam("most")).execution_options(yield_per=ROWS_AT_ONCE)


def left_rows(
    session: Session, scope: FeedScope, after: int, limit: int, held: Held | None = None
) -> list[tuple[int, str, str]]:
    """Return (position, kind, id) of what left a scope (or one held) beyond `after` and is not back in it."""
    found = session.connection().execute(_leaves_query(scope, held), {"after": after, "most": limit})
    return [(position, kind, record_id) for position, kind, record_id in found]


@lru_cache(maxsize=QUERIES_KEPT)
def _leaves_query(scope: FeedScope, held: Held | None) -> Select[int, str, str]:
    scopes = [scope] if held is None else [scope, held.scope]
    told = or_(*(leave_of(one) for one in scopes))
    back = exists().where(SyncedRecord.kind == RecordLeave.kind, SyncedRecord.id == RecordLeave.id, visible(scope))
    columns = (RecordLeave.position, RecordLeave.kind, RecordLeave.id)
    query = select(*columns).where(RecordLeave.position > bindparam("after"), told, not_(back))
    return query.order_by(RecordLeave.position).distinct().limit(bindparam("most"))


def leave_of(scope: FeedScope) -> ColumnElement[bool]:
    """Return the condition under which a scope is told of a leave."""
    return and_(_placed(RecordLeave, scope), RecordLeave.officer.in_(("", *scope.officers)))


def read_lines(session: Session, scope: FeedScope, keys: Iterable[Key]) -> list[Item]:
    """Return the lines of named records as far as the scope sees them; for the others, that they are not in it."""
    by_kind: dict[str, set[str]] = {}
    for kind, record_id in keys:
        by_kind.setdefault(kind, set()).add(record_id)
    newest = session.execute(_NEWEST).scalar_one()
    items: list[Item] = []
    for kind, ids in by_kind.items():
        ordered = sorted(ids)
        for start in range(0, len(ordered), IN_LIST_LIMIT):
            chunk = ordered[start : start + IN_LIST_LIMIT]
            query = select(SyncedRecord.id, SyncedRecord.position, SyncedRecord.line)
            found = session.execute(
                query.where(SyncedRecord.kind == kind, SyncedRecord.id.in_(chunk), visible(scope))
            ).all()
            seen = {record_id for record_id, _, _ in found}
            items += [(position, line) for _, position, line in found]
            items += [(newest, left_line(kind, one, newest)) for one in chunk if one not in seen]
    return items


def left_line(kind: str, record_id: str, position: int) -> bytes:
    """Return the line that says that a record has left the reader's scope."""
    return encode({"kind": kind, "id": record_id, "position": position, "left": True})
