"""Looking at a stretch again: what is found is what would be found from the very beginning."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.telemetry.episodes import LOOK_BACK, Known, find, reconcile, settled_at, start_of
from server.telemetry.rules import FLAT, HOUR, Episode, Mean, Rule, replay

START = datetime(2014, 1, 1, tzinfo=UTC)
HOURS = 24
END = START + HOURS * HOUR
RULES = [
    Rule("r", "plain", 1, "SO2", "ug/m3", 100.0, 50.0, 4, 3, 6),
    Rule("r", "share", 1, "SO2", "ug/m3", 100.0, 50.0, 4, 3, 6, share=0.6),
    Rule("r", "below", 1, "SO2", "ug/m3", 60.0, 100.0, 3, 2, 5, below=True),
    Rule("r", "distinct", 1, "SO2", "ug/m3", 100.0, 50.0, 4, 3, 6, min_distinct=2),
    Rule("r", "flat", 1, "SO2", "ug/m3", 0.0, 0.0, 5, 4, 8, measure=FLAT),
]


def means(values: dict[int, float]) -> list[Mean]:
    """Hourly means in order of time."""
    return [Mean(START + hour * HOUR, values[hour]) for hour in sorted(values)]


def whole(rule: Rule, values: dict[int, float]) -> list[Episode]:
    """What the rule finds from the very beginning."""
    return find(rule, start_of(rule, START, []), means(values), END)[1]


LEVELS = [None, 10.0, 60.0, 60.0, 110.0, 110.0, 110.0, 110.0, 150.0]
VALUES = st.lists(st.sampled_from(LEVELS), min_size=HOURS, max_size=HOURS).map(
    lambda said: {hour: value for hour, value in enumerate(said) if value is not None}
)


@given(st.sampled_from(RULES), VALUES, VALUES, st.integers(0, HOURS - 1), st.integers(0, 6))
def test_a_changed_stretch_is_enough(
    rule: Rule, before: dict[int, float], other: dict[int, float], first: int, length: int
) -> None:
    """Whatever changes in some hours, looking at what they can reach gives what looking at everything gives."""
    changed = range(first, min(HOURS, first + length + 1))
    after = {hour: value for hour, value in before.items() if hour not in changed}
    after |= {hour: other[hour] for hour in changed if hour in other}
    recorded = [Known(replace(one, key=f"k{number}"), "r") for number, one in enumerate(whole(rule, before))]

    start = start_of(rule, START + first * HOUR, recorded_episodes(recorded))
    last, until = START + changed[-1] * HOUR, START + changed[-1] * HOUR + rule.window + HOUR
    while True:
        until = min(until, END)
        span = [mean for mean in means(after) if start.warm_from <= mean.at < until]
        _, found = find(rule, start, span, until)
        reached = [known.episode for known in recorded if start.since <= known.episode.confirmed_at <= until]
        quiet = settled_at(rule, last, [*found, *reached], until)
        if until >= END or (quiet is not None and quiet <= until):
            break
        until = quiet or END

    standing = {known.episode.key: known.episode for known in recorded}
    for number, verdict in enumerate(reconcile(rule, found, recorded, start, until)):
        key = verdict.episode.key or f"new{number}"
        standing[key] = replace(verdict.episode, key=key)
        if verdict.withdrawn:
            del standing[key]
    got = sorted((replace(one, key="") for one in standing.values()), key=lambda one: one.started_at)
    assert got == whole(rule, after)


def recorded_episodes(recorded: list[Known]) -> list[Known]:
    """Those that stand."""
    return [known for known in recorded if not known.withdrawn]


@given(st.sampled_from(RULES), VALUES)
def test_nothing_changed_nothing_said(rule: Rule, values: dict[int, float]) -> None:
    """Run again over the same data, a rule has nothing to say."""
    found = whole(rule, values)
    recorded = [Known(replace(one, key=str(number)), "r") for number, one in enumerate(found)]
    assert reconcile(rule, found, recorded, start_of(rule, START, recorded), END) == []


@given(st.sampled_from(RULES), VALUES)
def test_the_search_is_the_machine(rule: Rule, values: dict[int, float]) -> None:
    """From the beginning, a search finds what the machine finds; it only ends what has been silent for too long."""
    _, episodes = replay(rule, means(values))
    assert [replace(one, ended_at=None) for one in whole(rule, values)] == [
        replace(one, ended_at=None) for one in episodes
    ]


@pytest.mark.parametrize(("days", "seeded"), [(3, False), (60, True)])
def test_an_old_episode_is_taken_as_it_is(days: int, seeded: bool) -> None:
    """A search does not go back for ever: an episode that has lasted for months goes on from what is recorded."""
    rule = RULES[0]
    window = (Mean(START, 110.0), Mean(START + HOUR, 110.0), Mean(START + 2 * HOUR, 110.0))
    episode = Episode(START, window[-1].at, window, 110.0, START + timedelta(days=days), None, "k")
    first = START + timedelta(days=days)
    start = start_of(rule, first, [Known(episode, "r")])
    assert (start.episode is not None) == seeded == (timedelta(days=days) > LOOK_BACK)
    assert start.since == (first if seeded else episode.confirmed_at)
    if seeded:
        _, (found,) = find(rule, start, [Mean(first, 200.0), Mean(first + HOUR, 10.0)], first + 2 * HOUR)
        assert (found.peak, found.ended_at, found.started_at) == (200.0, first + HOUR, START)
