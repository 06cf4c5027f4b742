"""What handhelds pull: the feed of their scope, page by page or as one stream, and the statuses of their own acts.

A cursor carries, sealed, the scope it was served for. So a device whose own scope has changed since, or that comes from
a snapshot (which is the shared part of a scope), is served exactly the difference.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from server.config import load_secret
from server.devices.standing import load_principal
from server.errors import Problem
from server.fieldsync.erasure import erase_lines
from server.fieldsync.models import Journal
from server.records.feed import FeedScope, Held, Page, read_page
from server.records.models import Act
from server.records.service import read_state
from server.runtime import Runtime
from server.web.principal import Principal
from sync.acts import encode
from sync.cursors import Cursor, CursorError, ForeignCursorError, decode_cursor, encode_cursor

DEFAULT_LINES = 500
"""Acts in one answer about statuses, unless asked for another number."""
MAX_LINES = 2_000
"""Most records in one page."""
STREAM_LINES = 2_000
"""Records that a stream reads in one transaction; each one is short, however slow the reader is."""
LINES_PER_MARK = 100
"""Lines of a stream between two cursors: what a cut costs at most."""
MAX_STREAM_LINES = 250_000
"""Lines after which a stream ends and is to be asked for again: no reader keeps a thread for ever."""
FEED = "device"
"""Name of this feed in its cursors; a cursor of another feed is refused."""
ANYBODY = ""
"""Owner of the cursors in snapshots, which every device of the scope may continue."""

_JOURNAL = select(Journal.device, Journal.head_seq).where(Journal.id == bindparam("journal"))
_OF_JOURNAL = select(Act.seq, Act.status, Act.status_position, Act.problem).where(Act.journal == bindparam("journal"))
_CHANGED = _OF_JOURNAL.where(Act.status_position > bindparam("after"))
_CHANGED_PAGE = _CHANGED.order_by(Act.status_position, Act.seq).limit(bindparam("most"))
_CHANGED_AT = _OF_JOURNAL.where(Act.status_position == bindparam("at")).order_by(Act.seq)
"""Made once: putting a statement together costs more than the database takes to answer it."""


@dataclass(frozen=True)
class Place:
    """Where a reader stands in its feed."""

    epoch: str
    owner: str
    scope: FeedScope
    position: int = 0
    held: Held | None = None
    expired: bool = False
    """Leaves that the reader should have been told of may have been forgotten: it must compare digests afterwards."""

    def cursor(self, key: bytes, position: int, *, whole: bool) -> str:
        """Seal the place at `position`; `whole`: everything that there was at that time has been delivered."""
        held = None if whole or self.held is None else self.held
        known = [_members(self.scope)] if held is None else [_members(self.scope), _members(held.scope), held.upto]
        scope = encode([self.owner, *known]).decode()
        return encode_cursor(key, Cursor(FEED, self.epoch, position, scope))


def cursor_key(rt: Runtime) -> bytes:
    """Return the key that cursors are sealed with."""
    return load_secret(rt.settings, "cursor")


def scope_of(caller: Principal) -> FeedScope:
    """Return what a device may see."""
    return FeedScope(caller.region, caller.department, tuple(sorted(caller.officers)))


def open_place(session: Session, rt: Runtime, caller: Principal, cursor: str) -> Place:
    """Return where a device stands that shows a cursor; without one it stands at the beginning.

    Raises:
        Problem: `stale-cursor` for a cursor of another epoch or device, or one that was not issued here.
    """
    state, scope = read_state(session), scope_of(caller)
    start = Place(state.epoch, caller.subject, scope)
    if not cursor:
        return start
    try:
        opened = decode_cursor(cursor_key(rt), cursor)
        if opened.kind != FEED:
            raise ForeignCursorError
        if opened.epoch != state.epoch or opened.position > state.position:
            raise CursorError("the server was restored since; compare digests and go on from there")
        owner, known, *held = json.loads(opened.scope)
        if owner not in (ANYBODY, caller.subject):
            raise ForeignCursorError("the cursor is another device's")
    except ValueError as error:  # a CursorError, or a scope as earlier versions wrote it
        raise Problem("stale-cursor", field="cursor", detail=str(error)) from error
    place = replace(
        start,
        scope=FeedScope(known[0], known[1], tuple(known[2])),
        position=opened.position,
        held=Held(FeedScope(held[0][0], held[0][1], tuple(held[0][2])), held[1]) if held else None,
        expired=opened.position < state.leaves_expired_to,
    )
    return _moved(place, scope)


def _moved(place: Place, scope: FeedScope) -> Place:
    """Begin anew in another scope, remembering what the reader has from the one before.

    A scope that changes again before the reader has got everything of the last one leaves it with pieces of several:
    then it counts as having the latest, and a comparison of digests finds the rest.
    """
    if place.scope == scope:
        return place
    started_anew = place.held is not None
    held = Held(place.scope, place.position)
    return replace(place, scope=scope, position=0, held=held, expired=place.expired or started_anew)


def _members(scope: FeedScope) -> list[Any]:
    return [scope.region, scope.department, list(scope.officers)]


def pull(session: Session, rt: Runtime, caller: Principal, cursor: str, limit: int) -> list[bytes]:
    """Return one page of the caller's feed: a head line with the next cursor, then the lines.

    Raises:
        Problem: `stale-cursor`, see :func:`open_place`.
    """
    place = open_place(session, rt, caller, cursor)
    page = read_page(session, place.scope, place.position, limit, place.held)
    page = _with_erasures(session, caller, page, place.position)
    head = {"epoch": place.epoch, "position": page.upto, "more": page.more, "reconcile": place.expired}
    head["cursor"] = place.cursor(cursor_key(rt), page.upto, whole=not page.more)
    return [encode(head), *(line for _, line in page.items)]


def stream(rt: Runtime, caller: Principal, place: Place) -> Iterator[bytes]:
    """Yield the caller's feed from a place to its end in chunks of lines, with a cursor every few lines.

    Each piece is read in a short transaction of its own, with the device's rights looked at anew: when they are gone or
    have changed, the stream breaks off without its last line, and the device asks again from the last cursor it got.
    """
    yield encode({"epoch": place.epoch, "position": place.position, "reconcile": place.expired}) + b"\n"
    key, sent, position, more, told = cursor_key(rt), 0, place.position, True, False
    while more and sent < MAX_STREAM_LINES:
        with rt.db.read() as session:
            try:
                unchanged = scope_of(load_principal(session, caller.subject)) == place.scope
            except Problem:
                unchanged = False
            if not unchanged or read_state(session).epoch != place.epoch:
                return
            page = read_page(session, place.scope, position, STREAM_LINES, place.held)
            if not told:
                page, told = _with_erasures(session, caller, page, place.position), True
        if page.items:
            yield _with_marks(key, place, page)
        sent, position, more = sent + len(page.items), page.upto, page.more
    yield _mark(key, place, position, more=more)


def _with_erasures(session: Session, caller: Principal, page: Page, after: int) -> Page:
    """Put before a page what the device is to erase: it hears of it wherever it stands, until it says that it did.

    A device that was restored from a copy stands before what was erased, and has it again: it hears of it once more.
    """
    notes = erase_lines(session, caller.subject, page.upto, after)
    return replace(page, items=notes + page.items, notes=page.notes + len(notes)) if notes else page


def _with_marks(key: bytes, place: Place, page: Page) -> bytes:
    """Join a page's lines, with cursors between records; none may stand before a record of an earlier position."""
    lines = [line for _, line in page.items]
    pieces = lines[: page.notes]
    for start in range(page.notes, len(lines), LINES_PER_MARK):
        if start > page.notes:
            pieces.append(_mark(key, place, page.items[start - 1][0], more=True)[:-1])
        pieces += lines[start : start + LINES_PER_MARK]
    return b"\n".join(pieces) + b"\n"


def _mark(key: bytes, place: Place, position: int, *, more: bool) -> bytes:
    cursor = place.cursor(key, position, whole=not more)
    return encode({"cursor": cursor, "position": position, "more": more}) + b"\n"


def statuses(session: Session, caller: Principal, journal_id: str, after: int, limit: int) -> list[bytes]:
    """Return the acts of one's own journal whose status changed beyond position `after`: a head line, then the acts.

    Raises:
        Problem: `not-found` for a journal that is not the caller's.
    """
    connection = session.connection()
    journal = connection.execute(_JOURNAL, {"journal": journal_id}).one_or_none()
    if journal is None or journal.device != caller.subject:
        raise Problem("not-found", field="journal", detail="no journal of this device")
    rows = list(connection.execute(_CHANGED_PAGE, {"journal": journal_id, "after": after, "most": limit}))
    if len(rows) == limit:  # the limit may have cut a position in two, and `after` can only stand between positions
        last = rows[-1].status_position
        whole = [row for row in rows if row.status_position != last]
        rows = whole or list(connection.execute(_CHANGED_AT, {"journal": journal_id, "at": last}))
    head: dict[str, Any] = {"epoch": read_state(session).epoch, "journal": journal_id, "head_seq": journal.head_seq}
    head["after"] = rows[-1].status_position if rows else after
    return [
        encode(head),
        *(
            encode({"seq": row.seq, "status": row.status, "position": row.status_position, "problem": row.problem})
            for row in rows
        ),
    ]
