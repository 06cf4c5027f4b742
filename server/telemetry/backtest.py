"""What a rule would have raised: run over stored data, with nothing recorded but that it was looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.telemetry.episodes import Start, find
from server.telemetry.models import Sensor, StoredEpisode
from server.telemetry.registry import Registry, SensorEntry
from server.telemetry.rules import Episode, Rule
from server.telemetry.supply import Supply
from server.telemetry.wording import explain

SPAN_LIMIT = timedelta(days=366)
"""Longest stretch of one back-test."""
SENSORS_LIMIT = 500
"""Most sensors of one back-test: the first by id."""
EPISODES_LIMIT = 500
"""Most episodes shown."""
STEPS_LIMIT = 5_000_000
"""Most steps of time, sensors together: more would take minutes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One episode that the rule would have raised."""

    sensor_id: str
    sensor_name: str
    entity_id: str
    started_at: datetime
    confirmed_at: datetime
    last_at: datetime
    ended_at: datetime | None
    peak: float
    explanation_zh: str
    explanation_en: str
    known: bool
    """Whether an episode of that sensor, of whatever rule, stands at that time already."""


@dataclass(frozen=True, slots=True)
class BackTest:
    """What a back-test found."""

    since: datetime
    until: datetime
    sensors: int
    """How many sensors were looked at."""
    sensors_left_out: int
    sensors_with_data: int
    """How many of them had a value that the rule could look at."""
    episodes: int
    shown: Sequence[Finding]


def back_test(
    session: Session,
    rule: Rule,
    since: datetime,
    until: datetime,
    *,
    region: str = "",
    department: str = "",
    sensor_ids: Sequence[str] = (),
) -> BackTest:
    """Run a rule, in force or not, over what is stored from `since` up to `until` (not included).

    Args:
        session: a session; nothing is written.
        rule: the rule.
        since: first data time.
        until: end of the data times, not included.
        region: only sensors of this region prefix, besides the rule's own.
        department: only sensors of this department, besides the rule's own.
        sensor_ids: only these sensors; empty: all.

    Raises:
        Problem: `invalid-field`.
    """
    if not since < until <= since + SPAN_LIMIT:
        raise Problem("invalid-field", field="until", detail=f"must lie up to {SPAN_LIMIT.days} days after since")
    sensors, left_out = _sensors(session, rule, region, department, sensor_ids)
    if len(sensors) * ((until - since) / rule.step) > STEPS_LIMIT:
        raise Problem("limit-exceeded", field="since", limit=STEPS_LIMIT, detail="take fewer sensors or a shorter time")
    rule = replace(rule, effective_from=None, effective_to=None)
    start = Start(since, since)
    findings: list[tuple[SensorEntry, Episode]] = []
    with_data = 0
    values = Supply(session).values(rule, sensors, since, until)
    for sensor in sensors:
        with_data += bool(values[sensor.id])
        findings += [(sensor, episode) for episode in find(rule, start, values[sensor.id], until)[1]]
    findings.sort(key=lambda item: (item[1].started_at, item[0].id))
    shown = [_finding(session, rule, sensor, episode) for sensor, episode in findings[:EPISODES_LIMIT]]
    return BackTest(since, until, len(sensors), left_out, with_data, len(findings), shown)


def _sensors(
    session: Session, rule: Rule, region: str, department: str, sensor_ids: Sequence[str]
) -> tuple[list[SensorEntry], int]:
    """Return the sensors to look at, and how many more there are."""
    mine = [Sensor.region.startswith(prefix, autoescape=True) for prefix in (rule.region, region) if prefix]
    mine += [Sensor.department == name for name in (rule.department, department) if name]
    mine += [Sensor.entity_id == rule.entity_id] if rule.entity_id else []
    mine += [Sensor.id.in_(sensor_ids)] if sensor_ids else []
    rows = session.execute(select(Sensor.id, Sensor.channels).where(*mine).order_by(Sensor.id))
    names = [sensor_id for sensor_id, channels in rows if rule.factor in channels]
    entries = Registry().sensors(session, names[:SENSORS_LIMIT])
    return [entries[name] for name in names[:SENSORS_LIMIT]], max(0, len(names) - SENSORS_LIMIT)


def _finding(session: Session, rule: Rule, sensor: SensorEntry, episode: Episode) -> Finding:
    zh, en = explain(rule, episode.means)
    there = (
        StoredEpisode.sensor_id == sensor.id,
        StoredEpisode.withdrawn_at.is_(None),
        StoredEpisode.started_at <= episode.last_at,
        StoredEpisode.last_at >= episode.started_at,
    )
    known = session.scalar(select(func.count()).select_from(StoredEpisode).where(*there))
    return Finding(
        sensor_id=sensor.id,
        sensor_name=sensor.name,
        entity_id=sensor.entity_id,
        started_at=episode.started_at,
        confirmed_at=episode.confirmed_at,
        last_at=episode.last_at,
        ended_at=episode.ended_at,
        peak=episode.peak,
        explanation_zh=zh,
        explanation_en=en,
        known=bool(known),
    )
