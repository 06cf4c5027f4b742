"""Partitions of readings: made before they are needed, dropped whole, and never in the way of a reading."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from server.config import TelemetryDays
from server.runtime import Runtime
from server.telemetry import retention
from server.telemetry.models import RuleVersion, StoredEpisode
from server.telemetry.partitions import partition_names, partition_step
from tests.conftest import FakeClock
from tests.integration.telemetry.programs import register
from tests.integration.telemetry.test_aggregates import deliver, either, made, say, so2, work
from tests.integration.telemetry.test_telemetry_retention import left

__all__ = ["either"]
FEBRUARY = datetime(2026, 2, 27, tzinfo=UTC)
"""Three days before the clock's time, in the month before it."""


def names(rt: Runtime) -> list[str]:
    """The partitions there are."""
    with rt.db.read() as session:
        return partition_names(session)


def on_postgresql(rt: Runtime) -> bool:
    """Whether there are partitions at all."""
    return rt.db.engine.dialect.name == "postgresql"


def fill(rt: Runtime, sensor: str, *times: datetime) -> None:
    """Let a sensor report instants of data."""
    deliver(rt, *(say(rt, sensor, number + 1, so2(at, 20.0, "minute")) for number, at in enumerate(times)))


def test_partitions_are_made_ahead_and_once(either: Runtime, clock: FakeClock) -> None:
    """This month's and the next one's; then another when the month turns."""
    if not on_postgresql(either):
        assert partition_step(either) == 0
        assert names(either) == []
        return
    assert (partition_step(either), partition_step(either)) == (2, 0)
    assert names(either) == ["reading_2026_03", "reading_2026_04", "reading_other"]
    clock.advance(31 * 86_400)
    assert partition_step(either) == 1
    assert "reading_2026_05" in names(either)


def test_readings_of_any_month_are_stored_and_stay_when_their_partition_comes(either: Runtime) -> None:
    """Those that came before their partition move into it."""
    register(either, "part1")
    times = [datetime(2013, 3, 1, tzinfo=UTC), FEBRUARY, datetime(2026, 3, 1, tzinfo=UTC)]
    fill(either, "part1", *times)
    partition_step(either)
    assert left(either, "part1") == 3
    deliver(either, say(either, "part1", 4, so2(times[2] + timedelta(minutes=1), 1.0, "minute")))
    assert left(either, "part1") == 4
    if on_postgresql(either):
        with either.db.read() as session:
            count = session.connection().exec_driver_sql("SELECT count(*) FROM reading_2026_03").scalar()
        assert count == 2


def accuse(rt: Runtime, sensor: str, at: datetime) -> None:
    """Let a sensor have an episode."""
    with rt.db.write() as session:
        rule = session.scalars(select(RuleVersion.id)).first()
        times = {"started_at": at, "confirmed_at": at, "last_at": at}
        session.add(StoredEpisode(key="k", rule_id=rule, sensor_id=sensor, ended_at=None, peak=1.0, means=[], **times))


@pytest.mark.parametrize("accused", [False, True])
def test_an_old_month_goes_whole_unless_somebody_in_it_is_accused(
    either: Runtime, clock: FakeClock, accused: bool
) -> None:
    """What is evidence stays, whichever way the rest goes."""
    register(either, "part2", "part3")
    partition_step(either)
    march = datetime(2026, 3, 1, tzinfo=UTC)
    for sensor in ("part2", "part3"):
        fill(either, sensor, *(march + timedelta(minutes=n) for n in range(30)))
    work(either)
    if accused:
        accuse(either, "part3", march + timedelta(minutes=10))
    clock.advance(70 * 86_400)
    work(either)
    keeping = replace(either, settings=replace(either.settings, telemetry_days=TelemetryDays(raw=3)))
    while retention.retention_step(keeping):
        pass
    assert (left(either, "part2"), left(either, "part3")) == (0, 30 if accused else 0)
    if on_postgresql(either):
        assert ("reading_2026_03" in names(either)) == accused
    late = march + timedelta(minutes=40)
    deliver(either, say(either, "part2", 31, so2(late, 1.0, "minute")))
    assert left(either, "part2") == 1
    assert made(either, "part2", "day")
