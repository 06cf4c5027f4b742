"""What readings come to: means, shares of valid data, and the same whatever the order."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from server.telemetry.averaging import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    SECOND_US,
    Aggregate,
    HourData,
    Sample,
    aggregate_day,
    aggregate_hour,
    day_start,
)

VALUES = st.one_of(st.none(), st.floats(-1e6, 1e6))


def _minutes(count: int, valid: int, step: int = 1) -> list[Sample]:
    return [Sample(minute * step * MINUTE_US, float(minute), valid=minute < valid) for minute in range(count)]


def _hour(data: HourData, interval_s: int | None = None) -> Aggregate:
    hour = aggregate_hour(0, data, interval_s)[1]
    assert hour is not None
    return hour


def test_an_hour_needs_45_minutes_of_valid_data() -> None:
    """With 45 valid minutes it is valid, with 44 its mean is told but does not count."""
    enough, short = _hour(HourData(minute=_minutes(60, 45))), _hour(HourData(minute=_minutes(60, 44)))
    assert (enough.valid, enough.share, enough.mean, enough.low, enough.high) == (True, 0.75, 22.0, 0.0, 44.0)
    assert (short.valid, short.mean) == (False, 21.5)


def test_means_of_five_minutes_stand_for_five_minutes() -> None:
    """Nine of twelve five-minute means are 45 minutes, if the registry says that the channel has five minutes."""
    assert _hour(HourData(minute=_minutes(12, 9, step=5)), 300).valid
    assert not _hour(HourData(minute=_minutes(12, 8, step=5)), 300).valid
    assert not _hour(HourData(minute=_minutes(12, 12, step=5))).valid


def test_a_minute_needs_three_quarters_of_its_values() -> None:
    """Values that should have come but did not lower the share, as invalid ones do."""
    samples = [Sample(number * 5 * SECOND_US, 1.0, valid=True) for number in range(8)]
    minutes, _ = aggregate_hour(0, HourData(realtime=samples), 5)
    assert [(minute.share, minute.valid) for minute in minutes] == [(8 / 12, False)]
    minutes, _ = aggregate_hour(0, HourData(realtime=samples), None)
    assert [(minute.share, minute.valid) for minute in minutes] == [(1.0, True)]


def test_what_the_sensor_says_of_a_period_is_its_mean() -> None:
    """Its own hourly mean stands before the minutes', and is as valid as it was judged."""
    own = HourData(minute=_minutes(60, 60), hour=[Sample(0, 7.5, valid=True)])
    assert _hour(own).mean == 7.5
    flagged = HourData(minute=_minutes(60, 60), hour=[Sample(0, 7.5, valid=False)])
    assert (_hour(flagged).mean, _hour(flagged).valid) == (None, False)
    assert aggregate_hour(0, HourData(), None) == ([], None)


def test_a_day_needs_20_valid_hours() -> None:
    """Invalid hours count for nothing; the sensor's own daily mean stands before them."""
    hours = [Aggregate(n * HOUR_US, float(n), float(n), float(n), 1.0, valid=n < 20) for n in range(24)]
    day = aggregate_day(0, [], hours)
    assert day == Aggregate(0, 9.5, 0.0, 19.0, 20 / 24, valid=True)
    short = aggregate_day(0, [], hours[1:])
    assert short is not None
    assert not short.valid
    assert aggregate_day(0, [Sample(0, 3.0, valid=True)], hours) == Aggregate(0, 3.0, 3.0, 3.0, 1.0, valid=True)
    assert aggregate_day(0, [], []) is None


def test_days_begin_at_midnight_in_china() -> None:
    """16:00 UTC is the next day's first instant."""
    assert day_start(16 * HOUR_US) == 16 * HOUR_US
    assert day_start(16 * HOUR_US - 1) == 16 * HOUR_US - DAY_US


@given(
    st.lists(st.builds(Sample, st.integers(0, HOUR_US - 1), VALUES, st.booleans()), max_size=40),
    st.lists(st.builds(Sample, st.integers(0, HOUR_US - 1), VALUES, st.booleans()), max_size=40),
    st.sampled_from([None, 1, 30, 60, 300]),
    st.randoms(use_true_random=False),
)
def test_order_does_not_matter(
    realtime: list[Sample],
    minute: list[Sample],
    interval_s: int | None,
    random: Random,
) -> None:
    """The same readings in any order come to the same, to the last bit; means lie between lowest and highest."""
    first = aggregate_hour(0, HourData(realtime, minute), interval_s)
    shuffled = HourData(random.sample(realtime, len(realtime)), random.sample(minute, len(minute)))
    assert aggregate_hour(0, shuffled, interval_s) == first
    for made in (*first[0], *([first[1]] if first[1] else [])):
        assert 0 <= made.share <= 1
        if made.mean is None or made.low is None or made.high is None:
            assert not made.valid
        else:
            assert made.low - 1e-6 <= made.mean <= made.high + 1e-6
