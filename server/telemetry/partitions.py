"""On PostgreSQL readings lie in partitions, one for each month of data time: old months go whole, new ones stay small.

A worker makes the partitions of this month and the next one before readings come to need them. Data times of any other
month (a station that sends its past, a clock that is wrong) go to the partition `reading_other`, so that nothing a
sensor says makes a table. SQLite has one table, whose key begins with the time.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from server.db.base import micros
from server.runtime import Runtime
from server.telemetry.models import OTHER_MONTHS, StoredReading

READINGS = StoredReading.__tablename__
AHEAD = 2
"""Months for which there are partitions: this one and the next."""


def partition_step(rt: Runtime) -> int:
    """Worker step: make the partitions that readings will need; returns how many it made."""
    if rt.db.engine.dialect.name != "postgresql":
        return 0
    with rt.db.read() as session:
        if not _missing(session, rt.now()):
            return 0
    with rt.db.write() as session:
        missing = _missing(session, rt.now())
        for month in missing:
            _make(session, month)
        return len(missing)


def drop_whole_month(session: Session, first: datetime, limit: datetime) -> datetime | None:
    """Drop the partition that holds `first`, if there is one and all of it lies before `limit`; return where it ends.

    It is for the caller to know that nothing in the whole month is to be kept.
    """
    end = _next(first)
    if end > limit or session.connection().dialect.name != "postgresql" or not _exists(session, first):
        return None
    session.execute(text(f"DROP TABLE {_name(first)}"))
    return end


def month_of(at: datetime) -> datetime:
    """Return when the UTC month of an instant began."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next(at: datetime) -> datetime:
    return month_of(month_of(at) + timedelta(days=32))


def _months(now: datetime) -> Iterator[datetime]:
    month = month_of(now)
    for _ in range(AHEAD):
        yield month
        month = _next(month)


def _name(month: datetime) -> str:
    return f"{READINGS}_{month:%Y_%m}"


def _exists(session: Session, month: datetime) -> bool:
    return session.scalar(select(text("to_regclass(:name)")).params(name=_name(month))) is not None


def _missing(session: Session, now: datetime) -> list[datetime]:
    return [month for month in _months(now) if not _exists(session, month)]


def _make(session: Session, month: datetime) -> None:
    """Make a month's partition, taking with it what came too early and lies in `reading_other`."""
    name = _name(month)
    low, high = micros(month), micros(_next(month))
    # who inserts meanwhile waits: a row that went to the other partition now would stand in the way
    session.execute(text(f"LOCK TABLE {READINGS} IN SHARE ROW EXCLUSIVE MODE"))
    session.execute(text(f"CREATE TABLE {name} (LIKE {READINGS} INCLUDING ALL)"))
    session.execute(
        text(
            f'WITH early AS (DELETE FROM {OTHER_MONTHS} WHERE "at" >= :low AND "at" < :high RETURNING *) '  # noqa: S608
            f"INSERT INTO {name} SELECT * FROM early"
        ),
        {"low": low, "high": high},
    )
    session.execute(text(f"ALTER TABLE {READINGS} ATTACH PARTITION {name} FOR VALUES FROM ({low}) TO ({high})"))


def partition_names(session: Session) -> list[str]:
    """Return the names of all partitions, in order; none on SQLite."""
    if session.connection().dialect.name != "postgresql":
        return []
    query = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(:name) ORDER BY 1")
    return list(session.scalars(query, {"name": READINGS}))
