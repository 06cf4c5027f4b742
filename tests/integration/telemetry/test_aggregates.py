"""Aggregates: the same whatever the order, the batching and when the worker ran; on both databases."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from schemas.telemetry import DAY, HOUR, MINUTE, REALTIME, Message, Reading, readings_topic
from server.config import load_settings
from server.db.engine import Database
from server.runtime import Runtime
from server.tables import METADATA
from server.telemetry.aggregation import _next_window, aggregate_step
from server.telemetry.intake import take_in
from server.telemetry.models import LiveHour, StaleSpan, StoredAggregate
from server.telemetry.series import Selection, chart, list_aggregates
from tests.conftest import FakeClock
from tests.integration.telemetry.programs import register

START = datetime(2026, 2, 20, 16, tzinfo=UTC)
"""Midnight in China."""
names = (f"mean{number:06d}" for number in count())


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Runtime]:
    """A runtime on each of the two databases."""
    if request.param == "sqlite":
        yield request.getfixturevalue("rt")
        return
    url = request.getfixturevalue("postgres_url")
    settings = load_settings({"FIELDPROOF_HOME": str(tmp_path), "FIELDPROOF_DATABASE_URL": url})
    runtime = Runtime(settings, Database(url), clock, Random(7).randbytes)
    METADATA.create_all(runtime.db.engine)
    yield runtime
    METADATA.drop_all(runtime.db.engine)
    runtime.db.dispose()


def say(rt: Runtime, sensor: str, seq: int, *readings: Reading) -> Message:
    """A decoded message."""
    return Message(readings_topic(sensor), f"{sensor} {seq}".encode(), rt.now(), sensor, seq, readings)


def so2(at: datetime, value: float | None, kind: str = HOUR) -> Reading:
    """A reading of SO2; no value is flagged D."""
    return Reading(at, "SO2", value, "ug/m3", "D" if value is None else "N", kind)


def deliver(rt: Runtime, *batch: Message) -> None:
    """Take a batch in."""
    with rt.db.write() as session:
        take_in(session, rt, batch)


def work(rt: Runtime) -> None:
    """Run the step until nothing is left to do."""
    while aggregate_step(rt):
        pass


def made(rt: Runtime, sensor: str, tier: str) -> list[tuple[datetime, float | None, float, bool]]:
    """A sensor's aggregates: (beginning, mean, share, valid)."""
    with rt.db.read() as session:
        query = select(StoredAggregate).where(StoredAggregate.sensor_id == sensor, StoredAggregate.tier == tier)
        return [(row.at, row.mean, row.share, row.valid) for row in session.scalars(query.order_by(StoredAggregate.at))]


def test_minutes_hours_and_days(either: Runtime) -> None:
    """Real-time values become minutes, minutes an hour, hours a day; nothing stays noted."""
    register(either, "tiers1")
    minutes = [
        so2(START + timedelta(hours=hour, minutes=minute), 10.0 * (hour + 1), REALTIME)
        for hour in range(21)
        for minute in range(60 if hour else 44)
    ]
    deliver(
        either,
        *(
            say(either, "tiers1", number + 1, *minutes[at : at + 300])
            for number, at in enumerate(range(0, len(minutes), 300))
        ),
    )
    work(either)
    hours = made(either, "tiers1", HOUR)
    assert hours[:2] == [
        (START, 10.0, 44 / 60, False),
        (START + timedelta(hours=1), 20.0, 1.0, True),
    ]
    assert len(made(either, "tiers1", MINUTE)) == len(minutes)
    assert made(either, "tiers1", DAY) == [(START, sum(10.0 * (n + 1) for n in range(1, 21)) / 20, 20 / 24, True)]
    with either.db.read() as session:
        chosen = Selection("tiers1", "SO2", HOUR, START, START + timedelta(hours=9))
        assert [row.mean for row in list_aggregates(session, chosen, after=START, limit=2)] == [20.0, 30.0]
        assert chart(session, chosen, 3)[1] == 8
        assert chart(session, replace(chosen, tier="raw", kind=REALTIME), 3)[1] == 44 + 8 * 60
        assert session.scalar(select(func.count()).select_from(StaleSpan)) == 0
        assert session.scalar(select(func.count()).select_from(LiveHour)) == 0


def test_late_readings_mend_what_they_touch(either: Runtime) -> None:
    """A day short of hours becomes valid when a late one comes, and changes with a contradiction that came first."""
    register(either, "late1")
    deliver(either, *(say(either, "late1", n + 2, so2(START + timedelta(hours=n + 1), 20.0)) for n in range(19)))
    work(either)
    assert made(either, "late1", DAY) == [(START, 20.0, 19 / 24, False)]
    deliver(either, say(either, "late1", 1, so2(START, 40.0)))
    work(either)
    assert made(either, "late1", HOUR)[0] == (START, 40.0, 1.0, True)
    assert made(either, "late1", DAY) == [(START, 21.0, 20 / 24, True)]


def test_an_hour_that_lasts_is_left_until_it_is_over(either: Runtime, clock: FakeClock) -> None:
    """Readings of the running hour cost one row for all sensors, and are aggregated ten minutes after its end."""
    for sensor in ("live1", "live2"):
        register(either, sensor)
    began = clock.now()
    for seq in range(1, 60):
        clock.advance(60)
        at = began + timedelta(minutes=seq)
        deliver(either, *(say(either, name, seq, so2(at, 5.0, REALTIME)) for name in ("live1", "live2")))
    with either.db.read() as session:
        assert session.scalars(select(LiveHour.at)).all() == [began]
        assert session.scalar(select(func.count()).select_from(StaleSpan)) == 0
    work(either)
    assert made(either, "live1", HOUR) == []
    clock.advance(12 * 60)
    work(either)
    assert made(either, "live1", HOUR) == made(either, "live2", HOUR) == [(began, 5.0, 59 / 60, True)]


def test_a_note_that_comes_while_a_window_is_made_stays(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored between reading and writing is not lost: its own note brings the window up again."""
    register(rt, "race1")
    deliver(rt, say(rt, "race1", 1, so2(START + timedelta(hours=1), 10.0)))
    with rt.db.read() as session:
        window = _next_window(session, rt, HOUR)
    assert window is not None
    from server.telemetry import aggregation  # noqa: PLC0415 - patched below

    original = aggregation._write

    def meanwhile(*arguments: object) -> int:
        monkeypatch.setattr(aggregation, "_write", original)
        deliver(rt, say(rt, "race1", 2, so2(START, 30.0)))
        return original(*arguments)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(aggregation, "_write", meanwhile)
    work(rt)
    assert [mean for _, mean, _, _ in made(rt, "race1", HOUR)] == [30.0, 10.0]


def test_of_two_workers_the_later_one_writes_nothing(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who finds its notes gone gives way: what it read may be out of date."""
    from server.telemetry import aggregation  # noqa: PLC0415 - patched below

    register(rt, "race2")
    deliver(rt, say(rt, "race2", 1, so2(START, 10.0)))
    original = aggregation._write

    def overtaken(*arguments: object) -> int:
        monkeypatch.setattr(aggregation, "_write", original)
        work(rt)
        return original(*arguments)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(aggregation, "_write", overtaken)
    assert aggregate_step(rt) == 0
    assert [mean for _, mean, _, _ in made(rt, "race2", HOUR)] == [10.0]


Said = tuple[int, float | None, str]
SAID = st.tuples(
    st.integers(0, 40 * 12), st.sampled_from([None, 0.1, 0.2, 0.7, 1e5]), st.sampled_from([HOUR, MINUTE, REALTIME])
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.lists(SAID, min_size=1, max_size=12), min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_any_order_batching_and_work_give_the_same(rt: Runtime, said: list[list[Said]], random: Random) -> None:
    """Messages in their order in one batch, or shuffled one by one with the worker in between: the same aggregates."""
    results = []
    for shuffled in (False, True):
        sensor = next(names)
        register(rt, sensor)
        messages = [
            say(rt, sensor, seq, *(_reading(*item) for item in items)) for seq, items in enumerate(said, start=1)
        ]
        if shuffled:
            _scatter(rt, messages, random)
        else:
            deliver(rt, *messages)
        work(rt)
        results.append([made(rt, sensor, tier) for tier in (MINUTE, HOUR, DAY)])
    assert results[0] == results[1]


def _reading(five_minutes: int, value: float | None, kind: str) -> Reading:
    at = START + timedelta(minutes=5 * five_minutes)
    return so2(at.replace(minute=0) if kind == HOUR else at, value, kind)


def _scatter(rt: Runtime, messages: Sequence[Message], random: Random) -> None:
    for message in random.sample(messages, len(messages)):
        deliver(rt, message)
        if random.random() < 0.5:
            aggregate_step(rt)
