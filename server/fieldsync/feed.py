"""What handhelds pull: the feed of their scope by cursor, and the statuses of their own acts by position."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.config import load_secret
from server.errors import Problem
from server.fieldsync.models import Journal
from server.records.models import Act
from server.records.service import FeedScope, feed_page, server_state
from server.runtime import Runtime
from server.web.auth import Principal
from sync.acts import encode
from sync.cursors import Cursor, CursorError, encode_cursor, open_cursor

DEFAULT_LINES = 500
MAX_LINES = 2_000
"""Most records in one page."""
FEED = "device"
"""Name of this feed in its cursors; a cursor of another feed is refused."""


def pull(session: Session, rt: Runtime, caller: Principal, cursor: str, limit: int) -> list[bytes]:
    """Return a page of the caller's feed: a head line with the next cursor, then the record lines.

    Raises:
        Problem: `stale-cursor` for a cursor of another epoch or scope, `invalid-field` for one we did not issue.
    """
    state = server_state(session)
    key = load_secret(rt.settings, "cursor")
    scope = scope_version(caller)
    after = 0
    if cursor:
        try:
            after = open_cursor(key, cursor, kind=FEED, epoch=state.epoch, scope=scope).position
        except CursorError as error:
            raise Problem("stale-cursor", field="cursor", detail=str(error)) from error
    page = feed_page(session, FeedScope(caller.region, caller.department, caller.officers), after, limit)
    more = len(page) == limit
    position = page[-1][0] if more else state.position
    head = {"epoch": state.epoch, "position": position, "more": more}
    head["cursor"] = encode_cursor(key, Cursor(FEED, state.epoch, position, scope))
    return [encode(head), *(line for _, line in page)]


def scope_version(caller: Principal) -> str:
    """Return what a cursor's scope is checked against: another device, region, department or officer starts anew."""
    return "/".join((caller.subject, caller.region, caller.department, *caller.officers))


def statuses(session: Session, caller: Principal, journal_id: str, after: int, limit: int) -> list[bytes]:
    """Return the acts of one's own journal whose status changed beyond position `after`: a head line, then the acts.

    Raises:
        Problem: `not-found` for a journal that is not the caller's.
    """
    journal = session.get(Journal, journal_id)
    if journal is None or journal.device != caller.subject:
        raise Problem("not-found", field="journal", detail="no journal of this device")
    query = (
        select(Act.seq, Act.status, Act.status_position, Act.problem)
        .where(Act.journal == journal_id, Act.status_position > after)
        .order_by(Act.status_position, Act.seq)
        .limit(limit)
    )
    rows = list(session.execute(query))
    if len(rows) == limit:  # the limit may have cut a position in two, and `after` can only stand between positions
        last = rows[-1].status_position
        whole = [row for row in rows if row.status_position != last]
        rows = whole or list(session.execute(query.where(Act.status_position == last).limit(None)))
    head: dict[str, Any] = {"journal": journal_id, "head_seq": journal.head_seq}
    head["after"] = rows[-1].status_position if rows else after
    return [
        encode(head),
        *(
            encode({"seq": row.seq, "status": row.status, "position": row.status_position, "problem": row.problem})
            for row in rows
        ),
    ]
