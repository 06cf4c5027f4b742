"""Noting which aggregates readings make stale, in the transaction that stores the readings, at almost no price.

Readings of hours that are still coming cost one row an hour, whatever their number. Readings of earlier hours (a sensor
was cut off, or repeats its history) cost one row for each sensor and batch. A worker may take a live hour up only
`SETTLING` after its end, long after the last transaction that took it for live: so that note needs no lock.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import cast

from sqlalchemy import Table
from sqlalchemy.orm import Session

from schemas.telemetry import HOUR, TIER_NUMBERS
from server.db.base import instant, micros
from server.db.bulk import Bulk
from server.db.engine import insert_ignore
from server.telemetry.averaging import DAY_US, HOUR_US, hour_start
from server.telemetry.models import LiveHour, StaleSpan
from server.telemetry.ordinary import Line
from server.telemetry.settling import Key

LIVE = timedelta(minutes=5)
"""How long after its end an hour is still live."""
SETTLING = timedelta(minutes=10)
"""How long after its end an hour is aggregated."""
EVERY_SENSOR = ""
SPANS = Bulk(cast(Table, StaleSpan.__table__), ("tier", "sensor_id", "first", "last"))
Span = tuple[int, str, int, int]
"""(number of the tier, sensor, first data time, last one)."""


def note_stale(session: Session, lines: Sequence[Line], changed: Iterable[Key], now: datetime) -> None:
    """Note what a batch makes stale.

    Args:
        session: the write session.
        lines: the ordinary lines that were stored.
        changed: keys of the readings that were stored or replaced with care.
        now: the time of the platform.
    """
    live_from = hour_start(micros(now - LIVE))
    live: set[int] = set()
    spans: list[Span] = []
    for line in lines:
        times = [row[0] for row in line.rows]
        if line.others:
            times += [row[0] for row in line.others]
        if times:
            first, last = min(times), max(times)
            if first >= live_from:
                live.update(range(hour_start(first), last + 1, HOUR_US))
            else:
                spans += spans_of(line.sensor.id, times if last - first > DAY_US else (first, last))
    by_sensor: dict[str, list[int]] = {}
    for at, sensor_id, _, _ in changed:
        by_sensor.setdefault(sensor_id, []).append(micros(at))
    for sensor_id, times in by_sensor.items():
        spans += spans_of(sensor_id, times)
    insert_ignore(session, cast(Table, LiveHour.__table__), [{"at": instant(at)} for at in sorted(live)])
    SPANS.append(session, spans)


def spans_of(sensor_id: str, times: Iterable[int]) -> list[Span]:
    """Return the spans that hold some data times; what lies more than a day apart is not joined."""
    found: list[list[int]] = []
    for at in sorted(times):
        if found and at - found[-1][1] <= DAY_US:
            found[-1][1] = at
        else:
            found.append([at, at])
    return [(TIER_NUMBERS[HOUR], sensor_id, first, last) for first, last in found]
