"""Runs the rules over newly judged readings, keeps their state, and records the episodes they find.

Readings come in the sensors' own order (`ordering`). A valid mean older than what its rule has seen makes the rule run
again over the stored means around it; an episode found then is new only if it touches no recorded one, because a
lead that was opened is not taken back and not opened twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from operator import itemgetter
from typing import cast

import msgspec
from sqlalchemy import Table, or_, select
from sqlalchemy.orm import Session

from schemas.telemetry import HOUR
from server.db.bulk import Bulk
from server.telemetry.models import RuleState, StoredEpisode, StoredReading
from server.telemetry.ordinary import ValidMean
from server.telemetry.registry import Registry, SensorEntry
from server.telemetry.rules import (
    BREACH,
    Episode,
    Mean,
    Rule,
    State,
    advance,
    episode_key,
    means_from_json,
    means_to_json,
    replay,
    state_from_json,
    state_to_json,
)
from server.telemetry.settling import Row
from server.telemetry.stuck import flat_stretches

LATE_LIMIT = timedelta(days=31)
"""A mean later than this behind the newest one is stored, but opens nothing."""
LOOK_BACK = timedelta(days=14)
"""How far before a late mean the rule begins again."""

StateKey = tuple[str, str]
"""(rule id, sensor id)."""
STATES = Bulk(cast(Table, RuleState.__table__), ("rule_id", "sensor_id", "state"))
_encode, _decode = msgspec.json.encode, msgspec.json.decode


@dataclass(frozen=True, slots=True)
class EpisodeChange:
    """An episode that was confirmed (`opened`) or whose course went on or ended."""

    key: str
    rule: Rule
    sensor: SensorEntry
    episode: Episode
    opened: bool
    withdrawn: bool = False
    """Whether the data, as they are now, do not support it any more."""


@dataclass(slots=True)
class _Course:
    """One rule's way through one sensor's ordinary means.

    While nothing exceeds the threshold only the newest mean matters, and `low` holds it.
    """

    rule: Rule
    quiet: bool
    threshold: float
    always: bool
    low: tuple[datetime, float] | None = None


@dataclass
class Evaluation:
    """One batch's run of all rules: :meth:`take` steps in order, then :meth:`finish` once."""

    session: Session
    registry: Registry
    sensors: Mapping[str, SensorEntry]
    stored: dict[StateKey, str] = field(default_factory=dict)
    states: dict[StateKey, State] = field(default_factory=dict)
    dirty: set[StateKey] = field(default_factory=set)
    changes: dict[str, EpisodeChange] = field(default_factory=dict)
    """By episode key: the last word on each episode this batch touched."""

    @classmethod
    def begin(cls, session: Session, registry: Registry, sensors: Mapping[str, SensorEntry]) -> "Evaluation":
        """Load what the rules remember of these sensors."""
        run = cls(session, registry, sensors)
        for rule_id, sensor_id, state in STATES.find(session, "sensor_id", sorted(sensors)):
            run.stored[rule_id, sensor_id] = state
        return run

    def take(self, judged: int, rows: Sequence[Row]) -> None:
        """Let the rules look at readings of one message, in order of data time; invalid ones never count.

        `judged` is the number up to which the sensor's messages have been looked at, this one included.
        """
        for row in sorted(rows, key=lambda row: (row.at, row.factor)):
            if not row.valid or row.kind != HOUR or row.value is None:
                continue
            sensor = self.sensors[row.sensor_id]
            for rule in self.registry.rules_for(sensor, row.factor):
                if rule.in_force(row.at):
                    self._mean(rule, sensor, Mean(row.at, row.value), judged)

    def take_ordinary(self, sensor: SensorEntry, means: Sequence[ValidMean], judged: int) -> None:
        """Let the rules look at valid means of one sensor, each newer than all that is stored of its factor."""
        courses: dict[str, list[_Course]] = {}
        for at, factor, value in means:
            found = courses.get(factor)
            if found is None:
                found = courses[factor] = self._courses(sensor, factor)
            for course in found:
                if course.quiet and value <= course.threshold:
                    if course.always or course.rule.in_force(at):
                        course.low = (at, value)
                    continue
                self._rest(course, sensor)
                if course.rule.in_force(at):
                    self._mean(course.rule, sensor, Mean(at, value), judged)
                    course.quiet = self._is_quiet(course.rule, sensor)
        for found in courses.values():
            for course in found:
                self._rest(course, sensor)

    def _courses(self, sensor: SensorEntry, factor: str) -> list[_Course]:
        rules = self.registry.rules_for(sensor, factor)
        return [_Course(rule, self._is_quiet(rule, sensor), rule.threshold, rule.always) for rule in rules]

    def _is_quiet(self, rule: Rule, sensor: SensorEntry) -> bool:
        return rule.plain and not rule.below and self._state((rule.id, sensor.id)).episode is None

    def _rest(self, course: _Course, sensor: SensorEntry) -> None:
        """Write down the newest mean of a quiet course, as :func:`advance` would have left it."""
        if course.low is not None:
            key = (course.rule.id, sensor.id)
            self.states[key] = State(course.low[0], (Mean(*course.low),))
            self.dirty.add(key)
            course.low = None

    def _state(self, key: StateKey) -> State:
        state = self.states.get(key)
        if state is None:
            stored = self.stored.get(key)
            state = self.states[key] = State() if stored is None else state_from_json(_decode(stored))
        return state

    def finish(self) -> tuple[EpisodeChange, ...]:
        """Write states and episodes; return the changes in order of their keys."""
        by_sensor = sorted(self.dirty, key=itemgetter(1, 0))
        rows = [(*key, _encode(state_to_json(self.states[key])).decode()) for key in by_sensor]
        STATES.replace(self.session, rows, keys=("rule_id", "sensor_id"))
        for name in sorted(self.changes):
            self._save_episode(self.changes[name])
        return tuple(self.changes[name] for name in sorted(self.changes))

    def _mean(self, rule: Rule, sensor: SensorEntry, mean: Mean, judged: int) -> None:
        key = (rule.id, sensor.id)
        state = self._state(key)
        if state.position is not None and mean.at <= state.position:
            self._late(rule, sensor, state.position, mean, judged)
            return
        self.states[key], episodes = advance(rule, state, mean)
        self.dirty.add(key)
        if any(self._is_stuck(rule, sensor, episode) for episode in episodes):
            self.states[key] = State(mean.at)
            episodes = tuple(episode for episode in episodes if episode.ended_at is not None)
        current = self.states[key].episode
        for episode in episodes:
            self._change(rule, sensor, episode, opened=episode.ended_at is None)
        if current is not None and current not in episodes:
            self._change(rule, sensor, current, opened=False)

    def _is_stuck(self, rule: Rule, sensor: SensorEntry, episode: Episode) -> bool:
        """Tell whether an episode that was just confirmed rests on values of a channel that stands still."""
        if rule.category != BREACH or episode.ended_at is not None:
            return False
        span = (episode.started_at, episode.confirmed_at)
        return bool(flat_stretches(self.session, rule.factor, [sensor.id], *span, lasting=True))

    def _change(self, rule: Rule, sensor: SensorEntry, episode: Episode, *, opened: bool) -> None:
        key = episode_key(rule, sensor.id, episode)
        before = self.changes.get(key)
        opened = opened or (before is not None and before.opened)
        self.changes[key] = EpisodeChange(key, rule, sensor, episode, opened)

    def _late(self, rule: Rule, sensor: SensorEntry, position: datetime, mean: Mean, judged: int) -> None:
        """Run a rule again around a late mean, over what the sensor had said up to message number `judged`."""
        if mean.at < position - LATE_LIMIT:
            return
        since = mean.at - LOOK_BACK
        state, found = replay(rule, self._history(rule, sensor, since, position, judged))
        recorded = self._recorded(rule, sensor, since)
        unmatched = {episode.started_at for episode in recorded if episode.ended_at is None}
        current: Episode | None = None
        for replayed in found:
            match = _touching(replayed, recorded)
            episode = replayed
            if match is not None:
                unmatched.discard(match.started_at)
                last_at, peak = max(match.last_at, replayed.last_at), rule.worst((match.peak, replayed.peak))
                episode = replace(match, last_at=last_at, peak=peak, ended_at=replayed.ended_at)
            if match is None and self._is_stuck(rule, sensor, episode):
                continue
            self._change(rule, sensor, episode, opened=match is None)
            current = episode if episode.ended_at is None else None
        for episode in recorded:
            if episode.started_at in unmatched:
                self._change(rule, sensor, replace(episode, ended_at=episode.last_at), opened=False)
        key = (rule.id, sensor.id)
        self.states[key] = replace(state, position=position, episode=current)
        self.dirty.add(key)

    def _history(self, rule: Rule, sensor: SensorEntry, since: datetime, until: datetime, judged: int) -> list[Mean]:
        query = (
            select(StoredReading.at, StoredReading.value)
            .where(
                StoredReading.at.between(since, until),
                StoredReading.sensor_id == sensor.id,
                StoredReading.factor == rule.factor,
                StoredReading.kind == HOUR,
                StoredReading.valid.is_(True),
                StoredReading.seq <= judged,
            )
            .order_by(StoredReading.at)
        )
        return [Mean(at, value or 0.0) for at, value in self.session.execute(query) if rule.in_force(at)]

    def _recorded(self, rule: Rule, sensor: SensorEntry, since: datetime) -> list[Episode]:
        """Return the episodes known so far that reach beyond `since`, this batch's included, in order."""
        query = select(StoredEpisode).where(
            StoredEpisode.rule_id == rule.id,
            StoredEpisode.sensor_id == sensor.id,
            StoredEpisode.withdrawn_at.is_(None),
            or_(StoredEpisode.ended_at.is_(None), StoredEpisode.ended_at > since),
        )
        known = {row.key: as_episode(row) for row in self.session.scalars(query)}
        for key, change in self.changes.items():
            if (change.rule.id, change.sensor.id) == (rule.id, sensor.id):
                known[key] = change.episode
        return sorted(known.values(), key=lambda episode: episode.started_at)

    def _save_episode(self, change: EpisodeChange) -> None:
        episode = change.episode
        row = self.session.get(StoredEpisode, change.key)
        if row is None:
            row = StoredEpisode(key=change.key, rule_id=change.rule.id, sensor_id=change.sensor.id)
            row.started_at, row.confirmed_at = episode.started_at, episode.confirmed_at
            row.means = means_to_json(episode.means)
            self.session.add(row)
        row.last_at, row.ended_at, row.peak = episode.last_at, episode.ended_at, episode.peak


def _touching(episode: Episode, recorded: Sequence[Episode]) -> Episode | None:
    """Return the recorded episode that overlaps in its exceeding hours; the open one before the earliest."""
    touching = [
        known for known in recorded if known.started_at <= episode.last_at and episode.started_at <= known.last_at
    ]
    still_open = [known for known in touching if known.ended_at is None]
    return next(iter(still_open or touching), None)


def as_episode(row: StoredEpisode) -> Episode:
    """Return the pure episode of a stored one."""
    means = means_from_json(row.means)
    return Episode(row.started_at, row.confirmed_at, means, row.peak, row.last_at, row.ended_at, row.key)
