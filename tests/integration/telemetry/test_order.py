"""The same readings give the same rows, letters, episodes and leads, in any order of delivery and any batching."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from schemas.telemetry import Message, Reading, readings_topic
from server.leads import service as leads
from server.leads.models import Lead
from server.runtime import Runtime
from server.telemetry import service
from server.telemetry.commands import list_commands
from server.telemetry.counting import REGISTRY_VERSION, raise_counters
from server.telemetry.intake import take_in
from server.telemetry.models import DeadLetter, RuleVersion, StoredEpisode
from server.telemetry.ordering import GAP_TIMEOUT
from tests.conftest import FakeClock
from tests.integration.telemetry.programs import register

START = datetime(2013, 3, 1, tzinfo=UTC)
names = (f"perm{number:06d}" for number in count())

Said = tuple[int, float | None]
"""(hour, value): one reading of SO2; no value is flagged D."""


@pytest.fixture
def ruled(rt: Runtime) -> Runtime:
    """The runtime with one quick rule: SO2 above 100 for 3 valid hours of 4, clear at 50, silent after 6."""
    add_rule(rt, "quick")
    return rt


@pytest.fixture
def varied(ruled: Runtime) -> Runtime:
    """The runtime with variants of the quick rule as well."""
    add_rule(ruled, "share", settings={"share": 0.6})
    add_rule(ruled, "below", threshold=70.0, clear_level=100.0, settings={"below": True})
    add_rule(ruled, "daily", settings={"daily_from": 600, "daily_to": 1000})
    add_rule(ruled, "distinct", settings={"min_distinct": 2})
    add_rule(ruled, "begins", effective_from=START + timedelta(hours=4))
    add_rule(ruled, "ends", effective_to=START + timedelta(hours=9))
    return ruled


def add_rule(rt: Runtime, code: str, **changes: Any) -> None:  # noqa: ANN401 - columns of the rule
    """Put a rule in force."""
    usual: dict[str, Any] = {
        "threshold": 100.0, "clear_level": 50.0, "window_hours": 4, "min_valid_hours": 3, "max_silence_hours": 6,
        "effective_from": None, "effective_to": None,
    }  # fmt: skip
    with rt.db.write() as session:
        session.add(
            RuleVersion(
                id=rt.new_id(), code=code, version=1, factor="SO2", unit="ug/m3", region="", department="",
                title_zh="样例", title_en="sample", basis="test", created_at=rt.now(), **usual | changes,
            )
        )  # fmt: skip
        raise_counters(session, {REGISTRY_VERSION: 1})


def message(rt: Runtime, sensor: str, seq: int, said: Sequence[Said]) -> Message:
    """A decoded message."""
    readings = tuple(
        Reading(START + timedelta(hours=hour), "SO2", value, "ug/m3", "D" if value is None else "N")
        for hour, value in said
    )
    topic = readings_topic(sensor)
    return Message(topic, f"{sensor} {seq}".encode(), rt.now(), sensor, seq, readings)


def deliver(rt: Runtime, batch: Sequence[Message]) -> int:
    """Take a batch in, in one transaction; return how many leads it opened."""
    with rt.db.write() as session:
        return leads.take_changes(session, rt, take_in(session, rt, batch).changes)


@dataclass
class Outcome:
    """Everything that must not depend on the delivery, without the sensor's name."""

    rows: list[tuple[Any, ...]]
    letters: list[tuple[Any, ...]]
    episodes: list[tuple[Any, ...]]
    leads: list[tuple[Any, ...]]


def outcome(rt: Runtime, sensor: str) -> Outcome:
    """What is stored for a sensor."""
    with rt.db.read() as session:
        rows = service.list_readings(session, sensor, limit=10_000)
        letters = session.scalars(select(DeadLetter).where(DeadLetter.sensor_id == sensor)).all()
        episodes = session.scalars(select(StoredEpisode).where(StoredEpisode.sensor_id == sensor)).all()
        opened = session.scalars(select(Lead).where(Lead.sensor_id == sensor)).all()
        return Outcome(
            rows=[(row.at, row.factor, row.value, row.flag, row.valid, row.reason, row.seq) for row in rows],
            letters=sorted((item.reason, item.payload, item.readings) for item in letters),
            episodes=sorted(
                (item.key.replace(sensor, ""), item.confirmed_at, item.last_at, item.ended_at, item.peak, item.means)
                for item in episodes
            ),
            leads=sorted(
                (item.episode_key.replace(sensor, ""), item.explanation_en, item.extract, item.last_at, item.ended_at)
                for item in opened
            ),
        )


VALUES = st.sampled_from([None, 10.0, 60.0, 101.0, 130.0, 130.0, 180.0, 180.0])


@st.composite
def histories(draw: st.DrawFn) -> list[list[Said]]:
    """What a sensor said, message by message: mostly hour by hour, with late hours, repetitions and contradictions."""
    said: list[list[Said]] = []
    for hour in range(draw(st.integers(1, 14))):
        extra = draw(st.lists(st.tuples(st.integers(0, 14), VALUES), max_size=2))
        said.append([*([] if draw(st.integers(0, 5)) == 0 else [(hour, draw(VALUES))]), *extra])
    return said


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_and_batching_give_the_same(ruled: Runtime, said: list[list[Said]], random: Random) -> None:
    """Shuffled, repeated and cut into batches anyhow, the messages leave what they leave one by one in order."""
    deliver_anyhow(ruled, said, random)


def deliver_anyhow(ruled: Runtime, said: list[list[Said]], random: Random) -> None:
    """Deliver the same in order and anyhow, and compare what is left."""
    straight, shuffled = next(names), next(names)
    register(ruled, straight, shuffled)
    for seq, content in enumerate(said, 1):
        deliver(ruled, [message(ruled, straight, seq, content)])

    deliveries = [(seq, content) for seq, content in enumerate(said, 1) for _ in range(random.choice([1, 1, 2, 3]))]
    random.shuffle(deliveries)
    while deliveries:
        size = random.randint(1, 6)
        deliver(ruled, [message(ruled, shuffled, seq, content) for seq, content in deliveries[:size]])
        deliveries = deliveries[size:]

    assert outcome(ruled, shuffled) == outcome(ruled, straight)
    with ruled.db.read() as session:
        assert service.counters(session)["held_messages"] == 0


def test_a_value_that_stands_is_not_dead_lettered(ruled: Runtime) -> None:
    """Said, contradicted and said again: whichever arrives first, one value stands and the other one is the letter."""
    history = [(2, 60.0), (11, None), (12, 60.0)]
    outcomes = []
    for order in itertools.permutations(history):
        sensor = next(names)
        register(ruled, sensor)
        for seq, value in order:
            deliver(ruled, [message(ruled, sensor, seq, [(1, value)])])
        outcomes.append(outcome(ruled, sensor))
    assert all(one == outcomes[0] for one in outcomes)
    assert [letter[0] for letter in outcomes[0].letters] == ["contradiction"]
    with ruled.db.read() as session:
        counts = service.counters(session)
    assert (counts["valid"], counts["invalid"], counts["dead_lettered"], counts["duplicate"]) == (6, 0, 6, 6)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_by_rules_of_every_kind(
    varied: Runtime, said: list[list[Said]], random: Random
) -> None:
    """The same with shares, levels from below, times of day, different values, and rules that begin or end."""
    deliver_anyhow(varied, said, random)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(histories(), st.integers(1, 14))
def test_every_distinct_reading_ends_once(ruled: Runtime, said: list[list[Said]], size: int) -> None:
    """Stored rows and contradictions together are exactly the distinct things said, and the counters agree."""
    sensor = next(names)
    register(ruled, sensor)
    with ruled.db.read() as session:
        before = service.counters(session)
    messages = [message(ruled, sensor, seq, content) for seq, content in enumerate(said, 1)]
    for start in range(0, len(messages), size):
        deliver(ruled, messages[start : start + size])
    with ruled.db.read() as session:
        after = service.counters(session)
    left = outcome(ruled, sensor)
    grown = {name: after[name] - before[name] for name in after}
    distinct = {item for content in said for item in content}
    assert len(left.rows) + len(left.letters) == len(distinct)
    assert grown["valid"] + grown["invalid"] == len(left.rows)
    assert grown["dead_lettered"] == len(left.letters)
    assert sum(grown[name] for name in ("valid", "invalid", "dead_lettered", "duplicate")) == sum(map(len, said))
    assert grown["messages"] == len(said)


def test_rules_wait_for_a_missing_message_and_give_up_in_the_end(ruled: Runtime, clock: FakeClock) -> None:
    """While a message is missing no lead is opened; after the timeout the gap is counted and the rules go on."""
    register(ruled, "gap")
    messages = {seq: message(ruled, "gap", seq, [(seq, 150.0)]) for seq in range(1, 7)}
    assert deliver(ruled, [messages[seq] for seq in (1, 2, 4, 5, 6)]) == 0
    with ruled.db.read() as session:
        assert service.counters(session)["held_messages"] == 3
        assert not service.chores_due(session, ruled.now())
    clock.advance(GAP_TIMEOUT.total_seconds() + 1)
    with ruled.db.read() as session:
        assert service.chores_due(session, ruled.now())
    assert deliver(ruled, []) == 1
    with ruled.db.read() as session:
        totals = service.counters(session)
    assert (totals["held_messages"], totals["skipped_messages"]) == (0, 1)
    with ruled.db.read() as session:
        (asked,) = list_commands(session, "gap", after="", limit=5)
    behind = messages[4].readings[0].at
    assert (asked.name, asked.asked_by, asked.parameters["until"]) == ("history", "system", behind.isoformat())
    assert deliver(ruled, [messages[3]]) == 0
    assert len(outcome(ruled, "gap").rows) == 6


def test_a_flood_behind_a_gap_is_not_held_without_end(ruled: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """When too many messages wait, the gap is given up at once."""
    monkeypatch.setattr("server.telemetry.ordering.HELD_LIMIT", 5)
    register(ruled, "flood")
    for seq in range(2, 20):
        deliver(ruled, [message(ruled, "flood", seq, [(seq, 10.0)])])
    with ruled.db.read() as session:
        totals = service.counters(session)
    assert totals["held_messages"] == 0
    assert totals["skipped_messages"] == 1


def test_a_late_reading_completes_an_exceedance(ruled: Runtime) -> None:
    """An hour that comes late, under a later number, makes the rule look again: one lead, with all its hours."""
    register(ruled, "late")
    opened = [
        deliver(ruled, [message(ruled, "late", seq, [(hour, 150.0)])])
        for seq, hour in enumerate([0, 1, 5, 6, 20, 2], 1)
    ]
    assert opened == [0, 0, 0, 0, 0, 1]
    episodes = outcome(ruled, "late").episodes
    assert [(key, len(means)) for key, _, _, _, _, means in episodes] == [("quick/1//20130301T0000Z", 3)]


def test_a_late_reading_does_not_open_a_second_lead(ruled: Runtime) -> None:
    """Hours that join two breaches, or lie inside one, never open another lead; a late low value closes the episode."""
    register(ruled, "join")
    opened = 0
    for seq, (hour, value) in enumerate(
        [
            (0, 150.0),
            (1, 150.0),
            (2, 150.0),
            (10, 150.0),
            (11, 150.0),
            (12, 150.0),
            (6, 150.0),
            (3, 150.0),
            (11, 150.0),
        ],
        1,
    ):
        opened += deliver(ruled, [message(ruled, "join", seq, [(hour, value)])])
    assert opened == 2
    assert len(outcome(ruled, "join").leads) == 2
    deliver(ruled, [message(ruled, "join", 10, [(9, 10.0)])])
    assert len(outcome(ruled, "join").leads) == 2


def test_a_very_late_reading_opens_nothing(ruled: Runtime) -> None:
    """Data more than a month behind are kept and judged by nobody."""
    register(ruled, "old")
    series = [(0, 150.0), (1, 150.0), (24 * 40, 10.0), (2, 150.0)]
    opened = sum(deliver(ruled, [message(ruled, "old", seq, [item])]) for seq, item in enumerate(series, 1))
    assert opened == 0
    assert len(outcome(ruled, "old").rows) == 4
