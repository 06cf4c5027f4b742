"""What readings come to: minutes, hours and days, and whether enough of them was valid. Pure.

A minute comes from real-time values, an hour from its minutes, a day from its hours; where the sensor itself told the
mean of a minute, an hour or a day, that is it. Valid data must stand for three quarters of a minute, for 45 minutes of
an hour, and for 20 hours of a day (general practice of pollutant monitoring); with less, the mean is told but is
invalid. Means are exactly rounded sums (`math.fsum`), so that the order of the readings cannot matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import fsum

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
CHINA_TIME_US = 8 * HOUR_US
"""Days are those of China's one time zone."""
MINUTE_SHARE = 0.75
HOUR_MINUTES = 45
DAY_HOURS = 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A reading: data time in microseconds, value, whether it counts."""

    at: int
    value: float | None
    valid: bool


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What one period comes to. `mean`, `low` and `high` are None if nothing in it was valid."""

    at: int
    mean: float | None
    low: float | None
    high: float | None
    share: float
    """Which part of the period valid data stand for."""
    valid: bool


@dataclass(slots=True)
class HourData:
    """The readings of one hour of one sensor and factor, by kind."""

    realtime: list[Sample] = field(default_factory=list)
    minute: list[Sample] = field(default_factory=list)
    hour: list[Sample] = field(default_factory=list)


def hour_start(at: int) -> int:
    """Return the beginning of the hour that holds a data time."""
    return at - at % HOUR_US


def day_start(at: int) -> int:
    """Return the beginning of the day that holds a data time."""
    return at - (at + CHINA_TIME_US) % DAY_US


def aggregate_hour(start: int, data: HourData, interval_s: int | None) -> tuple[list[Aggregate], Aggregate | None]:
    """Return the minutes of an hour, and the hour; None if nothing was said of either.

    Args:
        start: when the hour began.
        data: the readings in it.
        interval_s: how often the channel samples; None if nobody said.
    """
    minutes = _minutes(data, interval_s)
    own = _measured(start, data.hour)
    if own is not None or not minutes:
        return minutes, own
    stands_for = max(MINUTE_US, (interval_s or 0) * SECOND_US)
    covered = _covered((minute.at for minute in minutes if minute.valid), stands_for, start + HOUR_US)
    return minutes, _combine(start, minutes, covered / HOUR_US, covered >= HOUR_MINUTES * MINUTE_US)


def aggregate_day(start: int, own: Sequence[Sample], hours: Sequence[Aggregate]) -> Aggregate | None:
    """Return a day, from what the sensor itself said of it or from its hours; None if there is neither."""
    measured = _measured(start, own)
    if measured is not None or not hours:
        return measured
    valid = sum(hour.valid for hour in hours)
    return _combine(start, hours, valid * HOUR_US / DAY_US, valid >= DAY_HOURS)


def _minutes(data: HourData, interval_s: int | None) -> list[Aggregate]:
    own, live = _by_minute(data.minute), _by_minute(data.realtime)
    found = []
    for start in sorted(own.keys() | live.keys()):
        measured = _measured(start, own.get(start, ()))
        found.append(measured or _from_samples(start, live[start], interval_s))
    return found


def _by_minute(samples: Iterable[Sample]) -> dict[int, list[Sample]]:
    found: dict[int, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.at - sample.at % MINUTE_US, []).append(sample)
    return found


def _from_samples(start: int, samples: Sequence[Sample], interval_s: int | None) -> Aggregate:
    """Return a minute of real-time values; those that should have come but did not, lower the share."""
    expected = max(len(samples), 60 // interval_s if interval_s else 1)
    values = _values(samples)
    share = len(values) / expected
    return _summary(start, values, values, values, share, share >= MINUTE_SHARE)


def _measured(start: int, samples: Sequence[Sample]) -> Aggregate | None:
    """Return a period of which the sensor itself said the mean, or None if it did not."""
    if not samples:
        return None
    values = _values(samples)
    return _summary(start, values, values, values, 1.0 if values else 0.0, bool(values))


def _combine(start: int, parts: Sequence[Aggregate], share: float, enough: bool) -> Aggregate:
    counted = [part for part in parts if part.valid]
    means, lows, highs = (
        [value for part in counted if (value := getattr(part, name)) is not None] for name in ("mean", "low", "high")
    )
    return _summary(start, means, lows, highs, share, enough)


def _summary(
    start: int,
    means: Sequence[float],
    lows: Sequence[float],
    highs: Sequence[float],
    share: float,
    enough: bool,
) -> Aggregate:
    if not means:
        return Aggregate(start, None, None, None, share, valid=False)
    return Aggregate(start, fsum(means) / len(means), min(lows), max(highs), share, enough)


def _values(samples: Iterable[Sample]) -> list[float]:
    return [sample.value for sample in samples if sample.valid and sample.value is not None]


def _covered(starts: Iterable[int], length: int, end: int) -> int:
    """Return how much time before `end` spans of one length cover together; `starts` ascend."""
    covered, reached = 0, 0
    for start in starts:
        until = min(start + length, end)
        covered += max(0, until - max(start, reached))
        reached = max(reached, until)
    return covered
