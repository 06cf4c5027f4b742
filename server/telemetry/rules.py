"""The rule engine: a state machine that finds episodes of sustained exceedance in one factor of one sensor. Pure.

Time is event time: hours of the data, never of the machine. An episode is confirmed at the first hour whose window of
`window_hours` holds at least `min_valid_hours` valid values, all of them above the threshold, the last one included.
It ends at the first valid value at or below the clear level (hysteresis: values between clear level and threshold
keep it open), or when the sensor has been silent for more than `max_silence_hours`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Rule:
    """One version of one rule; levels in `unit`, durations in hours of data time."""

    id: str
    code: str
    version: int
    factor: str
    unit: str
    threshold: float
    clear_level: float
    window_hours: int
    min_valid_hours: int
    max_silence_hours: int
    region: str = ""
    department: str = ""
    effective_from: datetime | None = None
    effective_to: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a rule that could never fire, or never end an episode.

        Raises:
            ValueError: the numbers contradict each other.
        """
        if not 1 <= self.min_valid_hours <= self.window_hours <= WINDOW_LIMIT_HOURS:
            raise ValueError("needs 1 <= min_valid_hours <= window_hours <= WINDOW_LIMIT_HOURS")
        if self.clear_level > self.threshold:
            raise ValueError("the clear level lies above the threshold")
        if self.max_silence_hours < self.window_hours:
            raise ValueError("an episode must outlive its own window")

    def applies(self, factor: str, region: str, department: str) -> bool:
        """Tell whether a sensor's factor in a region and department is this rule's business."""
        return factor == self.factor and region.startswith(self.region) and self.department in ("", department)

    @property
    def always(self) -> bool:
        """Whether the rule is in force at all times."""
        return self.effective_from is None and self.effective_to is None

    def in_force(self, at: datetime) -> bool:
        """Tell whether the rule is in force at a data time."""
        return (self.effective_from is None or self.effective_from <= at) and (
            self.effective_to is None or at < self.effective_to
        )


WINDOW_LIMIT_HOURS = 168
"""Longest window: one week, so that a rule's state stays small."""


@dataclass(frozen=True, slots=True)
class Mean:
    """One valid hourly mean: when its hour began, and its value in the factor's unit."""

    at: datetime
    value: float


@dataclass(frozen=True, slots=True)
class Episode:
    """A confirmed episode.

    `means` are the valid means on which it was confirmed: the evidence. `peak`, `last_at` and `ended_at` follow the
    data after that; `ended_at` is the first moment at which it was over, None while it lasts.
    """

    started_at: datetime
    confirmed_at: datetime
    means: tuple[Mean, ...]
    peak: float
    last_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class State:
    """What the machine remembers: the newest valid hour, the means of the running window, the open episode."""

    position: datetime | None = None
    window: tuple[Mean, ...] = ()
    episode: Episode | None = None


def advance(rule: Rule, state: State, mean: Mean) -> tuple[State, tuple[Episode, ...]]:
    """Take in the next valid mean, which must be newer than the state's position.

    Returns:
        The new state, and what changed: an episode that ended and/or one that was confirmed (`ended_at` tells which).

    Raises:
        ValueError: the mean is not newer; late data need :func:`replay`.
    """
    if state.position is not None and mean.at <= state.position:
        raise ValueError("a rule advances in event time only")
    changes: list[Episode] = []
    episode, window = state.episode, state.window
    if episode is not None:
        silent_from = episode.last_at + timedelta(hours=rule.max_silence_hours)
        if mean.at > silent_from:
            changes.append(replace(episode, ended_at=silent_from))
            episode, window = None, ()
        elif mean.value <= rule.clear_level:
            changes.append(replace(episode, ended_at=mean.at))
            return State(mean.at, (mean,)), tuple(changes)
        else:
            episode = replace(episode, last_at=mean.at, peak=max(episode.peak, mean.value))
            return State(mean.at, (), episode), tuple(changes)
    if mean.value <= rule.threshold:
        # no window that reaches back to this mean or beyond it can confirm anything: it stands for all before it
        return State(mean.at, (mean,)), tuple(changes)
    since = mean.at - (rule.window_hours - 1) * HOUR
    window = (*(old for old in window if old.at >= since), mean)
    if len(window) >= rule.min_valid_hours and all(item.value > rule.threshold for item in window):
        episode = Episode(window[0].at, mean.at, window, max(item.value for item in window), mean.at)
        changes.append(episode)
        window = ()
    return State(mean.at, window, episode), tuple(changes)


def replay(rule: Rule, means: Iterable[Mean]) -> tuple[State, tuple[Episode, ...]]:
    """Run the machine over valid means in order of time, from nothing.

    Returns:
        The final state and every episode found, each in its final form, in order.
    """
    state, found = State(), dict[datetime, Episode]()
    for mean in means:
        state, changes = advance(rule, state, mean)
        for episode in changes:
            found[episode.started_at] = episode
    if state.episode is not None:
        found[state.episode.started_at] = state.episode
    return state, tuple(found[start] for start in sorted(found))


def episode_key(rule: Rule, sensor: str, episode: Episode) -> str:
    """Return the text that names an episode for ever: rule version, sensor and confirmed start."""
    return f"{rule.code}/{rule.version}/{sensor}/{episode.started_at.astimezone(UTC):%Y%m%dT%H%MZ}"


def state_to_json(state: State) -> dict[str, Any]:
    """Return a state as JSON, for storing; times are ISO 8601 in UTC."""
    return {
        "position": state.position.isoformat() if state.position else None,
        "window": means_to_json(state.window),
        "episode": _episode_to_json(state.episode) if state.episode else None,
    }


def state_from_json(stored: Mapping[str, Any]) -> State:
    """Return the state that :func:`state_to_json` wrote."""
    position, episode = stored["position"], stored["episode"]
    return State(
        datetime.fromisoformat(position) if position else None,
        means_from_json(stored["window"]),
        _episode_from_json(episode) if episode else None,
    )


def means_to_json(means: Iterable[Mean]) -> list[list[Any]]:
    """Return means as JSON pairs of time and value."""
    return [[mean.at.isoformat(), mean.value] for mean in means]


def means_from_json(stored: Iterable[Any]) -> tuple[Mean, ...]:
    """Return the means that :func:`means_to_json` wrote."""
    return tuple(Mean(datetime.fromisoformat(at), value) for at, value in stored)


def _episode_to_json(episode: Episode) -> dict[str, Any]:
    return {
        "started_at": episode.started_at.isoformat(),
        "confirmed_at": episode.confirmed_at.isoformat(),
        "means": means_to_json(episode.means),
        "peak": episode.peak,
        "last_at": episode.last_at.isoformat(),
    }


def _episode_from_json(stored: Mapping[str, Any]) -> Episode:
    return Episode(
        started_at=datetime.fromisoformat(stored["started_at"]),
        confirmed_at=datetime.fromisoformat(stored["confirmed_at"]),
        means=means_from_json(stored["means"]),
        peak=stored["peak"],
        last_at=datetime.fromisoformat(stored["last_at"]),
    )
