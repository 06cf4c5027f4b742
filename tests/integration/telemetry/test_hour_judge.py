"""Rules of every measure over aggregates: the same readings in any order and batching give the same leads."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from schemas.telemetry import MINUTE, Message, Reading, readings_topic
from server.leads.models import Lead
from server.leads.service import take_changes
from server.runtime import Runtime
from server.telemetry.aggregation import aggregate_step
from server.telemetry.counting import REGISTRY_VERSION, raise_counters
from server.telemetry.hour_judge import HourJudge
from server.telemetry.intake import take_in
from server.telemetry.models import RuleVersion, StoredEpisode
from server.telemetry.rules import MEASURES
from server.telemetry.service import SensorDraft, register_sensor
from tests.conftest import START

QUARTER = timedelta(minutes=15)
HOURS = 8
FIRST = START - timedelta(hours=HOURS + 1)
"""The data end an hour before the clock of the tests."""
numbers = count()
USUAL: dict[str, Any] = {
    "unit": "ug/m3", "factor": "SO2", "threshold": 100.0, "clear_level": 50.0, "window_hours": 1.0,
    "min_valid_hours": 0.75, "max_silence_hours": 3.0,
}  # fmt: skip
RULES: dict[str, dict[str, Any]] = {
    "level": {"settings": {"step_s": 900, "share": 0.75}},
    "hourly": {"measure": "level", "window_hours": 2.0, "min_valid_hours": 2.0},
    "by-night": {"measure": "level", "settings": {"step_s": 900, "daily_from": 0, "daily_to": 360}},
    "low": {"measure": "level", "threshold": 20.0, "clear_level": 50.0, "settings": {"step_s": 900, "below": True}},
    "rate": {"threshold": 200.0, "clear_level": 40.0, "window_hours": 0.25, "min_valid_hours": 0.25,
             "settings": {"step_s": 900}},
    "flat": {"threshold": 0.0, "clear_level": 0.0, "category": "fraud", "window_hours": 1.5, "min_valid_hours": 1.0,
             "settings": {"step_s": 900}},
    "absence": {"threshold": 60.0, "clear_level": 30.0, "unit": "%", "category": "outage", "window_hours": 2.0,
                "min_valid_hours": 2.0},
    "drift": {"threshold": 60.0, "clear_level": 20.0, "unit": "%", "window_hours": 1.0, "min_valid_hours": 0.5,
              "settings": {"step_s": 900, "radius_km": 20.0, "min_neighbours": 1, "floor": 10.0}},
    "expression": {"threshold": 0.0, "clear_level": 0.0, "unit": "1",
                   "settings": {"step_s": 900, "expression": "SO2 > 90 and O2 < 12"}},
}  # fmt: skip


@pytest.fixture
def ruled(rt: Runtime) -> Runtime:
    """The runtime with one quick rule of each measure, and variants of the first."""
    with rt.db.write() as session:
        for code, changes in RULES.items():
            row = USUAL | {"measure": code} | changes
            session.add(
                RuleVersion(
                    id=rt.new_id(), code=code, version=1, region="", department="", effective_from=None,
                    effective_to=None, title_zh="样例", title_en="sample", basis="test", created_at=rt.now(), **row,
                )
            )  # fmt: skip
        raise_counters(session, {REGISTRY_VERSION: 1})
    return rt


@dataclass
class Site:
    """Two sensors of SO2 at one entity far from all others, the second with O2 as well."""

    rt: Runtime
    names: tuple[str, str] = ("", "")
    place: int = field(default_factory=lambda: next(numbers))

    def __post_init__(self) -> None:
        """Register them."""
        self.names = (f"a{self.place:06d}", f"b{self.place:06d}")
        channel = {"interval_s": 900}
        with self.rt.db.write() as session:
            for shift, (name, channels) in enumerate(
                zip(self.names, [{"SO2": channel}, {"SO2": channel, "O2": channel}], strict=True)
            ):
                register_sensor(
                    session, self.rt,
                    SensorDraft(name, name, f"e{self.place}", "420106001", "env", -80 + self.place % 300 * 0.5,
                                100 + self.place // 300 * 10 + shift * 0.01, channels),
                )  # fmt: skip

    def message(self, seq: int, said: Sequence[tuple[int, int, float | None]]) -> list[Message]:
        """One message of each sensor that says something: (sensor, quarter of an hour, value)."""
        found = []
        for number, name in enumerate(self.names):
            readings = tuple(
                Reading(FIRST + QUARTER * at, factor, value, unit, "N" if value is not None else "D", MINUTE)
                for who, at, value in said
                if who == number
                for factor, unit in [("SO2", "ug/m3"), ("O2", "%")][: number + 1]
            )
            readings = tuple(
                Reading(r.at, r.factor, r.value and r.value / 10, r.unit, r.flag, r.kind) if r.factor == "O2" else r
                for r in readings
            )
            found.append(Message(readings_topic(name), f"{name} {seq}".encode(), self.rt.now(), name, seq, readings))
        return found

    def take(self, batch: Sequence[Message]) -> None:
        """Take a batch in, in one transaction."""
        with self.rt.db.write() as session:
            take_changes(session, self.rt, take_in(session, self.rt, batch).changes)

    def standing(self) -> list[tuple[Any, ...]]:
        """The episodes that stand, in full, without names."""
        with self.rt.db.read() as session:
            mine = (StoredEpisode.sensor_id.in_(self.names), StoredEpisode.withdrawn_at.is_(None))
            rows = session.execute(
                select(StoredEpisode, RuleVersion.code).join(RuleVersion, RuleVersion.id == StoredEpisode.rule_id)
                .where(*mine)
            )  # fmt: skip
            return sorted(
                (code, row.sensor_id[0], row.started_at, row.confirmed_at, row.last_at, str(row.ended_at), row.peak,
                 str(row.means))
                for row, code in rows
            )  # fmt: skip

    def leads(self, *, standing: bool = False) -> list[tuple[Any, ...]]:
        """The leads, without names; with `standing`, only how many each rule has that stand."""
        with self.rt.db.read() as session:
            rows = session.scalars(select(Lead).where(Lead.sensor_id.in_(self.names))).all()
            if standing:
                return sorted((row.rule_code, row.sensor_id[0]) for row in rows if row.withdrawn_at is None)
            return sorted(
                (row.rule_code, row.category, row.sensor_id[0], row.explanation_zh, row.explanation_en, row.started_at,
                 row.last_at, str(row.ended_at), row.peak, str(row.withdrawn_at))
                for row in rows
            )  # fmt: skip


def work(rt: Runtime) -> None:
    """Run the worker's steps until there is nothing to do."""
    judge = HourJudge(take_changes)
    while aggregate_step(rt) + judge(rt):
        pass


VALUES = st.sampled_from([None, 10.0, 10.0, 30.0, 60.0, 110.0, 110.0, 110.0, 150.0])


@st.composite
def histories(draw: st.DrawFn) -> list[list[tuple[int, int, float | None]]]:
    """What two sensors say, message by message: an hour or so at a time, in stretches, some of it late."""
    said: list[list[tuple[int, int, float | None]]] = []
    for hour in range(draw(st.integers(2, HOURS))):
        content: list[tuple[int, int, float | None]] = []
        for who in (0, 1):
            if draw(st.integers(0, 7)) == 0:
                continue
            value = draw(VALUES)
            for quarter in range(4):
                value = draw(st.sampled_from([value, value, value, 110.0, 5.0, None]))
                content.append((who, hour * 4 + quarter, value))
        late = draw(st.lists(st.tuples(st.integers(0, 1), st.integers(0, HOURS * 4 - 1), VALUES), max_size=2))
        said.append([*content, *late])
    return said


def shuffle(
    site: Site, said: Sequence[Sequence[tuple[int, int, float | None]]], random: Random, *, between: bool
) -> None:
    """Deliver the messages in any order, repeated, in batches of any size; with `between`, work goes on meanwhile."""
    deliveries = [
        message
        for seq, content in enumerate(said, 1)
        for message in site.message(seq, content)
        for _ in range(random.choice([1, 1, 2]))
    ]
    random.shuffle(deliveries)
    while deliveries:
        size = random.randint(1, 8)
        site.take(deliveries[:size])
        deliveries = deliveries[size:]
        if between and random.random() < 0.5:
            work(site.rt)
    work(site.rt)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_batching_give_the_same_leads(
    ruled: Runtime, said: list[list[tuple[int, int, float | None]]], random: Random
) -> None:
    """Shuffled, repeated and cut anyhow: the same leads; also with work in between, the same ones stand."""
    straight, shuffled, meanwhile = Site(ruled), Site(ruled), Site(ruled)
    for seq, content in enumerate(said, 1):
        for message in straight.message(seq, content):
            straight.take([message])
    work(ruled)
    shuffle(shuffled, said, random, between=False)
    shuffle(meanwhile, said, random, between=True)
    assert shuffled.leads() == straight.leads()
    assert shuffled.standing() == straight.standing()
    assert meanwhile.standing() == straight.standing()
    assert meanwhile.leads(standing=True) == straight.leads(standing=True)


def test_every_measure_finds_its_episode(ruled: Runtime) -> None:
    """One history holds something for each of the rules."""
    site = Site(ruled)
    high, low, still = [110.0, 120.0, 110.0, 130.0] * 2, [10.0, 15.0] * 4, [60.0] * 8
    values = [*high, *still, *low, 300.0]
    said = [(0, at, value) for at, value in enumerate(values)] + [(1, at, 60.0 + at) for at in range(len(values))]
    site.take(site.message(1, [*said, (1, 30, 119.0), (1, 31, 119.0), (1, 32, 119.0)]))
    work(ruled)
    found = {code for code, *_ in site.leads(standing=True)}
    assert found >= RULES.keys() - {"by-night"}
    assert {RULES[code].get("measure", code) for code in found} == set(MEASURES)
