"""The rule engine as a pure machine: when an episode is confirmed, when it ends, and that only the data decide."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.telemetry import BUILTIN_RULES, FACTORS
from server.telemetry.rules import (
    Episode,
    Mean,
    Rule,
    State,
    advance,
    episode_key,
    replay,
    state_from_json,
    state_to_json,
)

START = datetime(2013, 3, 1, tzinfo=UTC)


def rule(**changes: object) -> Rule:
    """SO2 above 100 for 4 hours with at least 3 valid; clear at 50."""
    settings: dict[str, object] = {
        "id": "r", "code": "so2", "version": 1, "factor": "SO2", "unit": "ug/m3", "threshold": 100.0,
        "clear_level": 50.0, "window_hours": 4, "min_valid_hours": 3, "max_silence_hours": 6,
    }  # fmt: skip
    return Rule(**(settings | changes))  # type: ignore[arg-type]


def means(*values: float | None, start: int = 0) -> list[Mean]:
    """Hourly means from hour `start`; None leaves the hour out."""
    return [Mean(hour(start + n), value) for n, value in enumerate(values) if value is not None]


def hour(number: int) -> datetime:
    """The beginning of an hour."""
    return START + timedelta(hours=number)


def found(*values: float | None, **changes: object) -> list[tuple[int, int, int | None]]:
    """Episodes of a series as hours: (start, confirmed, end)."""

    def number(at: datetime | None) -> int | None:
        return None if at is None else int((at - START) / timedelta(hours=1))

    _, episodes = replay(rule(**changes), means(*values))
    return [(number(e.started_at) or 0, number(e.confirmed_at) or 0, number(e.ended_at)) for e in episodes]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([101, 101], []),
        ([101, 101, 101], [(0, 2, None)]),
        ([100, 100, 100, 100], []),
        ([10, 101, 101, 101], []),
        ([10, 101, 101, 101, 101], [(1, 4, None)]),
        ([101, None, 101, 101], [(0, 3, None)]),
        ([101, None, None, 101, 101], []),
        ([101, None, None, 101, 101, 101], [(3, 5, None)]),
        ([101, 101, 101, 60, 101, 60], [(0, 2, None)]),
        ([101, 101, 101, 50], [(0, 2, 3)]),
        ([101, 101, 101, 50, 101, 101, 101], [(0, 2, 3)]),
        ([101, 101, 101, 50, 101, 101, 101, 101], [(0, 2, 3), (4, 7, None)]),
        ([101, 101, 101, *[None] * 5, 101], [(0, 2, None)]),
        ([101, 101, 101, *[None] * 6, 101], [(0, 2, 8)]),
        ([101, 101, 101, *[None] * 6, 101, 101, 101], [(0, 2, 8), (9, 11, None)]),
    ],
)
def test_episodes(values: list[float | None], expected: list[tuple[int, int, int | None]]) -> None:
    """Confirmed on enough valid hours all above; kept open by hysteresis; ended by the clear level or by silence."""
    assert found(*values) == expected


def test_an_episode_carries_its_evidence() -> None:
    """The means it was confirmed on stay; peak and last hour follow the data."""
    state, (episode,) = replay(rule(), means(101, 120, 110, 300, 60))
    assert episode.means == tuple(means(101, 120, 110))
    assert (episode.peak, episode.last_at) == (300, hour(4))
    assert state.episode == episode
    assert episode_key(rule(), "s1", episode) == "so2/1/s1/20130301T0000Z"


def test_time_does_not_run_backwards() -> None:
    """A late mean is the caller's business: the machine refuses it."""
    state, _ = advance(rule(), State(), Mean(hour(1), 1))
    with pytest.raises(ValueError, match="event time"):
        advance(rule(), state, Mean(hour(1), 1))


@pytest.mark.parametrize(
    "change",
    [{"min_valid_hours": 5}, {"min_valid_hours": 0}, {"window_hours": 169, "max_silence_hours": 200},
     {"clear_level": 101.0}, {"max_silence_hours": 3}],
)  # fmt: skip
def test_a_rule_that_contradicts_itself_is_refused(change: dict[str, object]) -> None:
    """A rule that could never fire, or never end an episode, cannot be made."""
    with pytest.raises(ValueError, match="."):
        rule(**change)


def test_scope_and_force() -> None:
    """A rule looks only at its factor, its region and department, and its own time."""
    scoped = rule(region="4201", department="env", effective_from=hour(2), effective_to=hour(4))
    assert scoped.applies("SO2", "420106", "env")
    assert not scoped.applies("NO2", "420106", "env")
    assert not scoped.applies("SO2", "420206", "env")
    assert not scoped.applies("SO2", "420106", "water")
    assert [scoped.in_force(hour(n)) for n in range(1, 5)] == [False, True, True, False]


SERIES = st.lists(st.none() | st.sampled_from([10.0, 50.0, 60.0, 100.0, 101.0, 180.0]), max_size=60)


@given(SERIES)
def test_state_survives_storing(values: list[float | None]) -> None:
    """Written as JSON and read back after every hour, the machine finds the same."""
    machine, stored, changes = State(), state_to_json(State()), list[Episode]()
    again = list[Episode]()
    for mean in means(*values):
        machine, found_now = advance(rule(), machine, mean)
        changes += found_now
        state, found_again = advance(rule(), state_from_json(stored), mean)
        stored = state_to_json(state)
        again += found_again
    assert changes == again
    assert state_from_json(stored) == machine


@given(SERIES)
def test_every_episode_is_justified(values: list[float | None]) -> None:
    """Each episode's window, looked up in the data, has enough valid hours and none at or below the threshold."""
    r = rule()
    data = {mean.at: mean.value for mean in means(*values)}
    _, episodes = replay(r, means(*values))
    for episode in episodes:
        window = [episode.confirmed_at - timedelta(hours=back) for back in range(int(r.window_hours))]
        since = [at for at in window if at >= episode.started_at]
        valid = [data[at] for at in since if at in data]
        assert len(valid) == len(episode.means) >= r.min_valid_hours
        assert min(valid) > r.threshold
        assert episode.peak == max(data[at] for at in data if episode.started_at <= at <= episode.last_at)
    ends = [(e.started_at, e.ended_at) for e in episodes]
    for (_, end), (start, _) in itertools.pairwise(ends):
        assert end is not None
        assert end <= start


@given(SERIES)
def test_no_sustained_exceedance_is_missed(values: list[float | None]) -> None:
    """A full window above the threshold lies always within an episode."""
    r = rule()
    _, episodes = replay(r, means(*values))
    for first in range(len(values) - int(r.window_hours) + 1):
        window = values[first : first + int(r.window_hours)]
        if all(value is not None and value > r.threshold for value in window):
            last = hour(first + int(r.window_hours) - 1)
            assert any(e.confirmed_at <= last and (e.ended_at is None or e.ended_at > last) for e in episodes)


def test_builtin_rules_are_sound() -> None:
    """Each shipped rule can be made, speaks of a known factor in its unit, and says what it rests on."""
    codes = [row["code"] for row in BUILTIN_RULES["rules"]]
    assert len(set(codes)) == len(codes) == 6
    for row in BUILTIN_RULES["rules"]:
        names = ("code", "version", "factor", "unit", "threshold", "clear_level", "window_hours", "min_valid_hours")
        made = Rule(id="x", max_silence_hours=row["max_silence_hours"], **{name: row[name] for name in names})
        assert made.unit == FACTORS[made.factor].unit
        assert row["basis"]
        assert made.min_valid_hours / made.window_hours >= 0.75
