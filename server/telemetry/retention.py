"""How long telemetry is kept, tier by tier: readings, minutes, hours, days.

A step clears about `BATCH` rows of a tier away, at most a day of data time, oldest first, and notes how far it came in
the same transaction (`tier_horizon`): what lies before is final, and is not made anew from what is left. Never cleared
away is the time since the earliest reading that waits to be aggregated; nor the days of a sensor that one of its
episodes touches, with the window before it: a lead's extract can be drawn from the readings again, as evidence must.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Select, delete, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from schemas.telemetry import TIER_NUMBERS
from server.db.base import instant, micros
from server.runtime import Runtime
from server.telemetry.averaging import DAY_US, day_start
from server.telemetry.models import LiveHour, StaleSpan, StoredAggregate, StoredEpisode, StoredReading, TierHorizon
from server.telemetry.partitions import drop_whole_month, month_of
from server.telemetry.rules import WINDOW_LIMIT_HOURS

BATCH = 20_000
"""About how many rows one transaction clears away; rows of one instant go together."""
WINDOW = timedelta(hours=WINDOW_LIMIT_HOURS)
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
RAW = "raw"
LONGEST_MONTH = timedelta(days=31)
_MOMENT = timedelta(microseconds=1)


def retention_step(rt: Runtime) -> int:
    """Worker step: clear a batch of each tier away whose time has passed; returns how many rows went."""
    gone = 0
    for tier in TIER_NUMBERS:
        days = getattr(rt.settings.telemetry_days, tier)
        if days:
            gone += _clear(rt, tier, days)
    return gone


def _clear(rt: Runtime, tier: str, days: int) -> int:
    with rt.db.read() as session:
        if _limit(session, rt, days) <= _cleared_to(session, tier):
            return 0
    with rt.db.write() as session:
        limit, since = _limit(session, rt, days), _cleared_to(session, tier)
        at: InstrumentedAttribute[datetime] = StoredReading.at if tier == RAW else StoredAggregate.at
        mine: list[ColumnElement[bool]] = [] if tier == RAW else [StoredAggregate.tier == tier]
        first = session.scalar(select(func.min(at)).where(at >= since, at < limit, *mine))
        if first is None:
            session.merge(TierHorizon(tier=tier, cleared_to=max(limit, since)))
            return 0
        whole_to = _drop_month(session, first, limit) if tier == RAW else None
        if whole_to is not None:
            session.merge(TierHorizon(tier=tier, cleared_to=whole_to))
            return 1
        end = min(limit, instant(day_start(micros(first)) + DAY_US))
        nth = session.scalar(select(at).where(at >= first, at < end, *mine).order_by(at).offset(BATCH).limit(1))
        if nth is not None:
            end = max(nth, first + _MOMENT)
        session.merge(TierHorizon(tier=tier, cleared_to=end))
        if tier == RAW:
            mine.append(StoredReading.sensor_id.not_in(_accused(first)))
        table = StoredReading if tier == RAW else StoredAggregate
        done = session.connection().execute(delete(table).where(at >= first, at < end, *mine))
        return done.rowcount


def _drop_month(session: Session, first: datetime, limit: datetime) -> datetime | None:
    """Drop a month of readings whole where that is possible: it has a partition, and nobody in it is accused."""
    month = month_of(first)
    if session.scalar(select(exists(_near(month, month + LONGEST_MONTH)))):
        return None
    return drop_whole_month(session, first, limit)


def _limit(session: Session, rt: Runtime, days: int) -> datetime:
    """Return before which data time rows may go: old enough, and not waiting for anything."""
    limit = day_start(micros(rt.now()) - days * DAY_US)
    for waiting in (StaleSpan.first, LiveHour.at):
        earliest = session.scalar(select(func.min(waiting)))
        if earliest is not None:
            limit = min(limit, day_start(micros(earliest)))
    return instant(limit)


def _cleared_to(session: Session, tier: str) -> datetime:
    query = select(TierHorizon.cleared_to).where(TierHorizon.tier == tier)
    return session.scalar(query) or BEGINNING


def _accused(at: datetime) -> ColumnElement[str]:
    """Return the sensors one of whose episodes, or the window before it, touches the day of a data time."""
    start = instant(day_start(micros(at)))
    return _near(start, start + timedelta(days=1)).scalar_subquery()


def _near(start: datetime, end: datetime) -> Select[str]:
    """Select the sensors one of whose episodes, or the window before it, touches a span of data time."""
    return select(StoredEpisode.sensor_id).where(
        StoredEpisode.confirmed_at < end + WINDOW, StoredEpisode.last_at >= start - timedelta(days=1)
    )
