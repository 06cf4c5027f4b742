"""Stuck channels: values within a standing flat line are suspected of being no measurement, and accuse nobody."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import false, or_, select
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.telemetry.models import RuleVersion, StoredEpisode
from server.telemetry.rules import FLAT

Stretch = tuple[datetime, datetime]
"""First and last data time, both included."""


def flat_stretches(
    session: Session,
    factor: str,
    sensor_ids: Iterable[str],
    since: datetime,
    until: datetime,
    *,
    lasting: bool = False,
) -> dict[str, list[Stretch]]:
    """Return sensor → when a factor's channel was flat, of the episodes that stand and touch a span of time.

    With `lasting`, one touches up to where it ended, and all that is behind if it has not: whether it goes on is found
    out hour by hour.
    """
    wanted, found = sorted(sensor_ids), defaultdict[str, list[Stretch]](list)
    flat = select(RuleVersion.id).where(RuleVersion.measure == FLAT, RuleVersion.factor == factor)
    unknown = or_(StoredEpisode.ended_at.is_(None), StoredEpisode.ended_at > since)
    columns = (StoredEpisode.sensor_id, StoredEpisode.started_at, StoredEpisode.last_at)
    for start in range(0, len(wanted), IN_LIST_LIMIT):
        query = select(*columns).where(
            StoredEpisode.rule_id.in_(flat),
            StoredEpisode.sensor_id.in_(wanted[start : start + IN_LIST_LIMIT]),
            StoredEpisode.withdrawn_at.is_(None),
            StoredEpisode.started_at <= until,
            or_(StoredEpisode.last_at >= since, unknown if lasting else false()),
        )
        for sensor_id, started_at, last_at in session.execute(query):
            found[sensor_id].append((started_at, last_at))
    return dict(found)


def is_within(at: datetime, stretches: Iterable[Stretch]) -> bool:
    """Tell whether a data time lies within one of some stretches."""
    return any(first <= at <= last for first, last in stretches)
