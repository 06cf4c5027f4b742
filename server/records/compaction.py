"""Compacting the feed. Records need none, since the feed holds each one once, at its newest change; leaves expire."""

from datetime import timedelta

from sqlalchemy import delete, func, select

from server.records.models import RecordLeave, ServerState
from server.runtime import Runtime

LEAVES_KEPT_DAYS = 90
"""How long a reader may stay away and still be told of everything that left; after that it compares digests."""
LEAVES_PER_STEP = 10_000


def expire_leaves(rt: Runtime) -> int:
    """Worker step: forget leaves that are older than the horizon, and remember how far. Returns how many went.

    Readers behind that position lose nothing: the feed goes on where they stand, and says that they must make sure.
    """
    horizon = rt.now() - timedelta(days=LEAVES_KEPT_DAYS)
    expired = select(RecordLeave.position).where(RecordLeave.at < horizon).order_by(RecordLeave.position)
    with rt.db.read() as session:
        if session.execute(expired.limit(1)).first() is None:
            return 0
    with rt.db.write() as session:
        some = expired.limit(LEAVES_PER_STEP).subquery()
        last = session.execute(select(func.max(some.c.position))).scalar_one()
        state = session.execute(select(ServerState).where(ServerState.id == 1).with_for_update()).scalar_one()
        state.leaves_expired_to = max(state.leaves_expired_to, last or 0)
        gone = delete(RecordLeave).where(RecordLeave.position <= state.leaves_expired_to)
        return len(session.execute(gone.returning(RecordLeave.position)).all())
