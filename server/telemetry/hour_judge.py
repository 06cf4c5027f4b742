"""The worker's step that runs rules over aggregates, hour by hour: all but those that `evaluation` runs on arrival.

It reads without the writer's lock and writes in a short transaction that claims the turn and the notes it dealt with.
What it leaves is a function of the aggregates alone (`episodes`): the episodes that stand are those that the rules find
in the data as they are now, whatever came when. A rule that was put in force, or that someone wants run again, is run
this way too, the ones that look at arriving means included.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.runtime import Runtime
from server.telemetry.counting import raise_counters
from server.telemetry.episodes import BEGINNING, Known, Verdict, find, reconcile, start_of
from server.telemetry.evaluation import STATES, EpisodeChange
from server.telemetry.judging_notes import (
    EVERY_RULE,
    Note,
    Overtaken,
    ask,
    begin,
    finish,
    note_silence,
    open_notes,
    settled,
    take_turn,
    unfold,
    watermark,
)
from server.telemetry.models import Sensor, SensorProgress, StoredEpisode
from server.telemetry.neighbours import Neighbourhood
from server.telemetry.registry import Registry, SensorEntry
from server.telemetry.retention import RAW
from server.telemetry.rules import (
    ABSENCE,
    BREACH,
    DRIFT,
    EXPRESSION,
    FLAT,
    Rule,
    episode_key,
    means_to_json,
    state_to_json,
)
from server.telemetry.searching import Search, Span, horizon_of, recorded, search
from server.telemetry.staleness import EVERY_SENSOR
from server.telemetry.supply import END, Supply

Take = Callable[[Session, Runtime, Iterable[EpisodeChange]], int]
"""Opens and follows the leads of episodes."""
Spans = dict[str, tuple[SensorEntry, Span]]


@dataclass
class _Plan:
    """What one step is to record."""

    searches: list[Search] = field(default_factory=list)
    again: list[tuple[Rule, SensorEntry, Span]] = field(default_factory=list)
    """Rules over means that sensors say themselves: run within the writing transaction, which `evaluation` shares."""


class HourJudge:
    """The step; remembers the registry between two runs."""

    def __init__(self, take: Take) -> None:
        """Remember who takes the changes."""
        self._take, self._registry = take, Registry()
        self._neighbours: dict[str, Neighbourhood] = {}

    def __call__(self, rt: Runtime) -> int:
        """Run rules over some hours; return how many notes were dealt with."""
        now = rt.now()
        with rt.db.read() as session:
            if not settled(session, now):
                return 0
            turn, judged_to = begin(session)
            version = self._registry.version
            self._registry.refresh(session)
            if version != self._registry.version:
                self._neighbours.clear()
            silent = any(rule.measure == ABSENCE for rule in self._registry.rules)
            notes, until = open_notes(session, now), watermark(now)
            hours_passed = silent and (judged_to is None or judged_to < until)
            if not notes and not hours_passed:
                return 0
            plan = self._plan(session, notes, until)
        try:
            with rt.db.write() as session:
                take_turn(session, turn, until)
                finish(session, notes)
                if hours_passed and judged_to is not None:
                    note_silence(session, judged_to, until)
                for note in notes:
                    if note.sensor_id == EVERY_SENSOR:
                        unfold(session, note, silent=silent)
                changes = self._settle(session, plan.searches, now)
                changes += [change for item in plan.again for change in _run_again(session, *item, now)]
                raise_counters(session, {"episodes": sum(change.opened for change in changes)})
                self._take(session, rt, changes)
        except Overtaken:
            return 0
        return len(notes) + hours_passed

    def _plan(self, session: Session, notes: Sequence[Note], until: datetime) -> _Plan:
        plan, supply = _Plan(), Supply(session, self._neighbours)
        known = self._registry.sensors(session, {note.sensor_id for note in notes if note.sensor_id != EVERY_SENSOR})
        for rule in self._registry.rules:
            named = [note for note in notes if note.rule_id == rule.id and note.sensor_id in known]
            usual = [note for note in notes if note.rule_id == EVERY_RULE and note.sensor_id in known]
            usual = [note for note in usual if _in_force(rule, note)]
            if not named and not usual:
                continue
            spans = self._spans(session, supply, rule, named + usual, known)
            if rule.immediate and spans:
                asked = {note.sensor_id for note in named}
                told = _tell_hours(session, rule, spans)
                plan.again += [(rule, *spans[name]) for name in sorted(told & asked)]
                spans = {name: span for name, span in spans.items() if name not in told}
            if spans:
                plan.searches += search(session, supply, rule, spans, until)
        return plan

    def _spans(
        self,
        session: Session,
        supply: Supply,
        rule: Rule,
        notes: Sequence[Note],
        known: Mapping[str, SensorEntry],
    ) -> Spans:
        """Return the sensors at which a rule must look again, each with all that changed for it."""
        found: dict[str, Span] = {}
        mates = _mates(session, known.values()) if rule.measure == EXPRESSION else {}
        for note in notes:
            names = mates.get(known[note.sensor_id].entity_id, [note.sensor_id])
            if rule.measure == DRIFT and rule.factor in known[note.sensor_id].channels:
                near = supply.neighbourhood(rule.factor).near(note.sensor_id, rule.radius_km, None)
                names = [note.sensor_id, *near]
            for name in names:
                first, last = found.get(name, (note.first, note.last))
                found[name] = (min(first, note.first), max(last, note.last))
        involved = self._registry.sensors(session, found)
        return {
            name: (entry, found[name])
            for name, entry in sorted(involved.items())
            if rule.factor in entry.channels
            and rule.applies(rule.factor, entry.region, entry.department, entry.entity_id)
        }

    def _settle(self, session: Session, searches: Iterable[Search], now: datetime) -> list[EpisodeChange]:
        """Record what searches found."""
        changes: list[EpisodeChange] = []
        for rule, found in groupby(searches, key=lambda item: item.rule):
            items = list(found)
            known = recorded(session, rule, [item.sensor.id for item in items], min(item.start.since for item in items))
            for item in items:
                verdicts = reconcile(rule, item.found, known[item.sensor.id], item.start, item.until)
                made = [_save(session, rule, item.sensor, verdict, now) for verdict in verdicts]
                if rule.measure == FLAT:
                    self._ask_others(session, made, known[item.sensor.id])
                changes += made
        return changes

    def _ask_others(self, session: Session, changes: Iterable[EpisodeChange], known: Iterable[Known]) -> None:
        """Have the other rules look again at what turned out to be stuck, or not to be."""
        before = {item.episode.key: item.episode for item in known if not item.withdrawn}
        for change in changes:
            episode, old = change.episode, before.get(change.key)
            since, last = episode.started_at, episode.last_at
            if old is not None and not change.withdrawn:
                moved = old.started_at != episode.started_at
                since = min(old.started_at, since) if moved else min(old.last_at, last)
                last = max(old.last_at, last)
            others = self._registry.rules_for(change.sensor, change.rule.factor)
            for rule_id in [EVERY_RULE, *(rule.id for rule in others if rule.category == BREACH)]:
                ask(session, rule_id, change.sensor.id, since, last + change.rule.step)


def _in_force(rule: Rule, note: Note) -> bool:
    """Tell whether a rule may have something to say about the hours of a note."""
    return (rule.effective_from is None or rule.effective_from <= note.last) and (
        rule.effective_to is None or rule.effective_to > note.first
    )


def _mates(session: Session, sensors: Iterable[SensorEntry]) -> dict[str, list[str]]:
    """Return entity → its sensors."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    entities = sorted({sensor.entity_id for sensor in sensors})
    query = select(Sensor.entity_id, Sensor.id).where(Sensor.entity_id.in_(entities)).order_by(Sensor.id)
    for entity_id, sensor_id in session.execute(query):
        found[entity_id].append(sensor_id)
    return dict(found)


def _tell_hours(session: Session, rule: Rule, names: Iterable[str]) -> set[str]:
    """Return which sensors say the hourly means of the rule's factor themselves."""
    wanted, found = sorted(names), set()
    for start in range(0, len(wanted), IN_LIST_LIMIT):
        mine = SensorProgress.sensor_id.in_(wanted[start : start + IN_LIST_LIMIT])
        for sensor_id, newest in session.execute(select(SensorProgress.sensor_id, SensorProgress.newest).where(mine)):
            if rule.factor in json.loads(newest):
                found.add(sensor_id)
    return found


def _run_again(session: Session, rule: Rule, sensor: SensorEntry, span: Span, now: datetime) -> list[EpisodeChange]:
    """Run a rule over the means that a sensor said, and leave its state as if it had seen no others."""
    horizon = horizon_of(session, rule, RAW)
    if span[1] < horizon:
        return []
    session.get(SensorProgress, sensor.id, with_for_update=True)  # ingesters hold this row while they judge
    first = max(span[0], horizon)
    known = recorded(session, rule, [sensor.id], first)[sensor.id]
    standing = [item for item in known if item.rule_id == rule.id and not item.withdrawn]
    start = start_of(rule, first, standing, horizon)
    means = Supply(session).said(rule, sensor.id, start.warm_from)
    state, found = find(rule, start, means, BEGINNING)
    changes = [_save(session, rule, sensor, verdict, now) for verdict in reconcile(rule, found, known, start, END)]
    if state.episode is not None:
        names = {change.episode.started_at: change.key for change in changes}
        names |= {item.episode.started_at: item.episode.key for item in known if item.episode.started_at not in names}
        state = replace(state, episode=replace(state.episode, key=names.get(state.episode.started_at, "")))
    text = msgspec.json.encode(state_to_json(state)).decode()
    STATES.replace(session, [(rule.id, sensor.id, text)], keys=("rule_id", "sensor_id"))
    return changes


def _save(session: Session, rule: Rule, sensor: SensorEntry, verdict: Verdict, now: datetime) -> EpisodeChange:
    """Write one episode as it is now; it keeps the name under which it was first recorded."""
    episode = verdict.episode
    key = episode.key or _free_key(session, episode_key(rule, sensor.id, episode))
    row = session.get(StoredEpisode, key)
    if row is None:
        row = StoredEpisode(key=key, sensor_id=sensor.id)
        session.add(row)
    row.rule_id = rule.id
    row.started_at, row.confirmed_at, row.means = episode.started_at, episode.confirmed_at, means_to_json(episode.means)
    row.last_at, row.ended_at, row.peak = episode.last_at, episode.ended_at, episode.peak
    row.withdrawn_at = now if verdict.withdrawn else None
    session.flush()
    return EpisodeChange(key, rule, sensor, replace(episode, key=key), verdict.opened, verdict.withdrawn)


def _free_key(session: Session, key: str) -> str:
    """Return a name that no other episode has: one that began there may have been moved by late data."""
    number, free = 1, key
    while session.get(StoredEpisode, free) is not None:
        number += 1
        free = f"{key}~{number}"
    return free
