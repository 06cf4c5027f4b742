"""Finding the episodes of one rule at many sensors, in a stretch of the past that changed."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from schemas.telemetry import HOUR as HOUR_TIER
from schemas.telemetry import MINUTE
from server.db.engine import IN_LIST_LIMIT
from server.telemetry.episodes import BEGINNING, LOOK_AHEAD, LOOK_BACK, Known, Start, find, settled_at, start_of
from server.telemetry.evaluation import as_episode
from server.telemetry.models import RuleVersion, StoredEpisode, TierHorizon
from server.telemetry.registry import SensorEntry
from server.telemetry.rules import HOUR, HOUR_S, Episode, Rule, State
from server.telemetry.supply import Supply

Span = tuple[datetime, datetime]
"""First and last data time that changed, both included."""


@dataclass(frozen=True, slots=True)
class Search:
    """What a rule finds at one sensor between `start` and `until`."""

    rule: Rule
    sensor: SensorEntry
    start: Start
    until: datetime
    state: State
    found: list[Episode]


@dataclass(slots=True)
class _Task:
    sensor: SensorEntry
    start: Start
    last: datetime
    until: datetime
    limit: datetime
    standing: list[Episode]


def search(
    session: Session, supply: Supply, rule: Rule, spans: Mapping[str, tuple[SensorEntry, Span]], until: datetime
) -> list[Search]:
    """Run a rule over aggregates around what changed, as far as what changed can reach; never beyond `until`.

    Args:
        session: a session.
        supply: what there is to look at.
        rule: the rule.
        spans: sensor → its entry, and what changed.
        until: the watermark, not included.
    """
    horizon = horizon_of(session, rule, HOUR_TIER if rule.step_s == HOUR_S else MINUTE)
    spans = {
        sensor_id: (sensor, (max(first, horizon), last))
        for sensor_id, (sensor, (first, last)) in spans.items()
        if last >= horizon
    }
    if not spans:
        return []
    earliest = min(first for _, (first, _) in spans.values())
    known = recorded(session, rule, spans, earliest)
    tasks = []
    for sensor_id, (sensor, (first, last)) in spans.items():
        mine = [item for item in known[sensor_id] if item.rule_id == rule.id and not item.withdrawn]
        limit = min(until, last + LOOK_AHEAD)
        begin = start_of(rule, first, mine, horizon)
        standing = [item.episode for item in mine]
        tasks.append(_Task(sensor, begin, last, min(limit, last + rule.window + HOUR), limit, standing))
    done: list[Search] = []
    while tasks:
        tasks = _round(supply, rule, tasks, done)
    return done


def _round(supply: Supply, rule: Rule, tasks: Iterable[_Task], done: list[Search]) -> list[_Task]:
    """Run each task once, those of the same stretch together; return those that must look further ahead."""
    groups: defaultdict[Span, list[_Task]] = defaultdict(list)
    for task in tasks:
        groups[task.start.warm_from, task.until].append(task)
    further: list[_Task] = []
    for (since, until), group in groups.items():
        values = supply.values(rule, [task.sensor for task in group], since, until)
        for task in group:
            state, found = find(rule, task.start, values[task.sensor.id], until)
            reached = [item for item in task.standing if task.start.since <= item.confirmed_at <= until]
            quiet = settled_at(rule, task.last, [*found, *reached], until)
            if until >= task.limit or (quiet is not None and quiet <= until):
                done.append(Search(rule, task.sensor, task.start, until, state, found))
            else:
                task.until = min(task.limit, quiet or until + 2 * (until - task.start.warm_from))
                further.append(task)
    return further


def horizon_of(session: Session, rule: Rule, tier: str) -> datetime:
    """Return from when on a tier holds whole windows of a rule: what was cleared away must not change its mind."""
    cleared_to = session.scalar(select(TierHorizon.cleared_to).where(TierHorizon.tier == tier))
    return BEGINNING if cleared_to is None else cleared_to + rule.window


def recorded(
    session: Session, rule: Rule, sensor_ids: Collection[str], first: datetime
) -> defaultdict[str, list[Known]]:
    """Return sensor → its recorded episodes of all versions of a rule, as far back as a search from `first` may go."""
    since = first - LOOK_BACK - rule.window
    wanted, found = sorted(sensor_ids), defaultdict[str, list[Known]](list)
    versions = select(RuleVersion.id).where(RuleVersion.code == rule.code)
    recent = or_(StoredEpisode.ended_at.is_(None), StoredEpisode.ended_at >= since)
    for start in range(0, len(wanted), IN_LIST_LIMIT):
        mine = StoredEpisode.sensor_id.in_(wanted[start : start + IN_LIST_LIMIT])
        for row in session.scalars(select(StoredEpisode).where(StoredEpisode.rule_id.in_(versions), mine, recent)):
            found[row.sensor_id].append(Known(as_episode(row), row.rule_id, row.withdrawn_at is not None))
    return found
