"""How long telemetry is kept: nothing that waits or is evidence goes, and what is final stays as it is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from schemas.telemetry import DAY, HOUR
from server.config import TelemetryDays
from server.runtime import Runtime
from server.telemetry import retention
from server.telemetry.models import RuleVersion, StoredEpisode, StoredReading
from tests.conftest import FakeClock
from tests.integration.telemetry.programs import register
from tests.integration.telemetry.test_aggregates import START, deliver, either, made, say, so2, work

__all__ = ["either"]
KEPT = TelemetryDays(raw=3, hour=30)


def limited(rt: Runtime) -> Runtime:
    """The runtime, keeping readings for three days and hours for thirty."""
    return replace(rt, settings=replace(rt.settings, telemetry_days=KEPT))


def clear(rt: Runtime) -> int:
    """Clear away until nothing is left to clear; return how many rows went."""
    gone = 0
    while done := retention.retention_step(limited(rt)):
        gone += done
    return gone


def left(rt: Runtime, sensor: str) -> int:
    """How many of a sensor's readings are left."""
    with rt.db.read() as session:
        mine = StoredReading.sensor_id == sensor
        return session.scalar(select(func.count()).select_from(StoredReading).where(mine)) or 0


def test_a_tier_goes_when_its_time_has_passed(
    either: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits is aggregated first; then readings go in batches, hours stay, and late readings change nothing."""
    monkeypatch.setattr(retention, "BATCH", 7)
    register(either, "keep1")
    deliver(either, *(say(either, "keep1", n + 1, so2(START + timedelta(hours=n), 20.0)) for n in range(24)))
    assert clear(either) == 0
    work(either)
    assert clear(either) == 24
    assert (left(either, "keep1"), len(made(either, "keep1", HOUR))) == (0, 24)
    before = made(either, "keep1", HOUR), made(either, "keep1", DAY)
    deliver(either, say(either, "keep1", 25, so2(START + timedelta(minutes=5), 90.0, "minute")))
    work(either)
    assert (made(either, "keep1", HOUR), made(either, "keep1", DAY)) == before
    clock.advance(30 * 86_400)
    assert clear(either) >= 24
    assert made(either, "keep1", HOUR) == []
    assert made(either, "keep1", DAY) == before[1]


def test_readings_around_an_episode_stay(either: Runtime) -> None:
    """The accused sensor's readings stay; those of its neighbour go."""
    register(either, "acc1", "acc2")
    for name in ("acc1", "acc2"):
        deliver(either, *(say(either, name, n + 1, so2(START + timedelta(hours=n), 20.0)) for n in range(12)))
    with either.db.write() as session:
        rule = session.scalars(select(RuleVersion.id)).first()
        times = dict.fromkeys(("started_at", "confirmed_at", "last_at"), START + timedelta(hours=6))
        session.add(StoredEpisode(key="k", rule_id=rule, sensor_id="acc1", ended_at=None, peak=1.0, means=[], **times))
    work(either)
    assert clear(either) == 12
    assert (left(either, "acc1"), left(either, "acc2")) == (12, 0)
