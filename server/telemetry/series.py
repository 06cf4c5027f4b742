"""Aggregates of one channel, in pages and as charts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from schemas.telemetry import HOUR
from server.db.base import instant, micros
from server.errors import Problem
from server.telemetry.lttb import lttb
from server.telemetry.models import StoredAggregate, StoredReading

RAW = "raw"
CHART_ROWS = 100_000
"""Most rows a chart is drawn from: seventy days of minutes, eleven years of hours."""


@dataclass(frozen=True)
class Selection:
    """One channel, one tier (`raw`: readings of `kind`), and a range of data times."""

    sensor_id: str
    factor: str
    tier: str
    since: datetime
    until: datetime
    """Not included."""
    kind: str = HOUR


def list_aggregates(
    session: Session, chosen: Selection, *, after: datetime | None, limit: int
) -> Sequence[StoredAggregate]:
    """Return aggregates in order of time, behind the period that began at `after`."""
    query = select(StoredAggregate).where(*_aggregates(chosen))
    if after is not None:
        query = query.where(StoredAggregate.at > after)
    return session.scalars(query.order_by(StoredAggregate.at).limit(limit)).all()


def chart(session: Session, chosen: Selection, points: int) -> tuple[list[tuple[datetime, float]], int]:
    """Return at most `points` (time, value) that look like all valid ones in the range, and how many those are.

    Raises:
        Problem: `invalid-field` if there are more than :data:`CHART_ROWS`.
    """
    if chosen.tier == RAW:
        query = select(StoredReading.at, StoredReading.value).where(
            StoredReading.at >= chosen.since,
            StoredReading.at < chosen.until,
            StoredReading.sensor_id == chosen.sensor_id,
            StoredReading.factor == chosen.factor,
            StoredReading.kind == chosen.kind,
            StoredReading.valid,
            StoredReading.value.is_not(None),
        )
        query = query.order_by(StoredReading.at)
    else:
        columns = select(StoredAggregate.at, StoredAggregate.mean)
        query = columns.where(*_aggregates(chosen), StoredAggregate.valid).order_by(StoredAggregate.at)
    rows = session.execute(query.limit(CHART_ROWS + 1)).all()
    if len(rows) > CHART_ROWS:
        raise Problem("invalid-field", field="since", detail="take a shorter range or a higher tier")
    drawn = lttb([(float(micros(at)), value) for at, value in rows if value is not None], points)
    return [(instant(int(at)), value) for at, value in drawn], len(rows)


def _aggregates(chosen: Selection) -> tuple[ColumnElement[bool], ...]:
    return (
        StoredAggregate.sensor_id == chosen.sensor_id,
        StoredAggregate.factor == chosen.factor,
        StoredAggregate.tier == chosen.tier,
        StoredAggregate.at >= chosen.since,
        StoredAggregate.at < chosen.until,
    )
