"""The rule engine: a measure of the data, a condition on it, and a machine that finds episodes. Pure.

A rule's **measure** (:data:`MEASURES`) makes of a channel, or of several, one value for each step of time: the mean
itself, its rate of change, its distance from the neighbours. The **condition** is the same for all: an episode is
confirmed at the first step whose window of `window_hours` holds at least `min_valid_hours` of valid values, enough
(`share`) of them beyond the threshold, the last one included. A flat line is confirmed when a window's values lie no
further apart than the threshold. An episode ends at the first value back at the clear level (hysteresis: between clear
level and threshold it stays open), or when the data have been silent for more than `max_silence_hours`.

Time is event time: hours of the data, never of the machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

HOUR = timedelta(hours=1)
CHINA_TIME_MINUTES = 8 * 60
DAY_MINUTES = 24 * 60
STEPS_S = (60, 300, 600, 900, 1800, 3600)
"""Steps of time that a rule may look at, in seconds."""
HOUR_S = 3600
WINDOW_LIMIT_HOURS = 168
"""Longest window: one week, so that a rule's state stays small."""

LEVEL, RATE, FLAT, ABSENCE, DRIFT, EXPRESSION = "level", "rate", "flat", "absence", "drift", "expression"
MEASURES = {
    LEVEL: ("均值", "mean"),
    RATE: ("变化率", "rate of change"),
    FLAT: ("恒值", "flat line"),
    ABSENCE: ("缺数率", "share of missing data"),
    DRIFT: ("与周边站点偏差", "deviation from the neighbours"),
    EXPRESSION: ("表达式", "expression"),
}
"""What of the data is compared with the threshold. `level`, `flat`: in the factor's unit; `rate`: the same an hour;
`absence`, `drift`: per cent; `expression`: whatever it comes to, 1 where it is true."""
BREACH, FRAUD, OUTAGE = "breach", "fraud", "outage"
CATEGORIES = {
    BREACH: ("超标", "breach"),
    FRAUD: ("数据造假嫌疑", "suspected data fraud"),
    OUTAGE: ("数据缺失", "missing data"),
}
"""What a rule's leads suspect; those of data fraud never share a lead with a breach."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One version of one rule; levels in the unit of its measure, durations in hours of data time."""

    id: str
    code: str
    version: int
    factor: str
    unit: str
    threshold: float
    clear_level: float
    window_hours: float
    min_valid_hours: float
    max_silence_hours: float
    region: str = ""
    department: str = ""
    effective_from: datetime | None = None
    effective_to: datetime | None = None
    measure: str = LEVEL
    category: str = BREACH
    entity_id: str = ""
    step_s: int = HOUR_S
    """What one value stands for."""
    share: float = 1.0
    """Which part of a window's valid values must lie beyond the threshold."""
    below: bool = False
    """Whether beyond means below."""
    min_distinct: int = 1
    """How many different values a window must hold: a value that never changes is no measurement to accuse by."""
    daily_from: int | None = None
    daily_to: int | None = None
    """Minutes of the Chinese day between which the rule looks; over midnight where the first is the larger one."""
    expression: str = ""
    radius_km: float = 0.0
    min_neighbours: int = 0
    floor: float = 0.0
    """Least value that a deviation is taken relative to, in the factor's unit."""

    def __post_init__(self) -> None:
        """Refuse a rule that could never fire, or never end an episode.

        Raises:
            ValueError: the numbers contradict each other.
        """
        if not 0 < self.min_valid_hours <= self.window_hours <= WINDOW_LIMIT_HOURS:
            raise ValueError("needs 0 < min_valid_hours <= window_hours <= WINDOW_LIMIT_HOURS")
        if self.min_valid_hours * HOUR_S < self.step_s:
            raise ValueError("a window needs at least one value")
        if self.below == (self.clear_level < self.threshold) and self.clear_level != self.threshold:
            raise ValueError("the clear level lies beyond the threshold")
        if self.max_silence_hours < self.window_hours:
            raise ValueError("an episode must outlive its own window")
        if not 0 < self.share <= 1:
            raise ValueError("needs 0 < share <= 1")

    def applies(self, factor: str, region: str, department: str, entity_id: str = "") -> bool:
        """Tell whether a sensor's factor at an entity of a region and department is this rule's business."""
        return (
            factor == self.factor
            and region.startswith(self.region)
            and self.department in ("", department)
            and self.entity_id in ("", entity_id)
        )

    @property
    def always(self) -> bool:
        """Whether the rule is in force at all times."""
        return self.effective_from is None and self.effective_to is None and self.daily_from is None

    @property
    def immediate(self) -> bool:
        """Whether the rule looks at hourly means as sensors say them, when they come; the others look at aggregates."""
        return self.measure == LEVEL and self.step_s == HOUR_S

    @property
    def plain(self) -> bool:
        """Whether a value that is not beyond the threshold stands for all before it."""
        return self.measure != FLAT and self.share == 1 and self.min_distinct == 1

    @property
    def step(self) -> timedelta:
        """What one value stands for."""
        return timedelta(seconds=self.step_s)

    @property
    def window(self) -> timedelta:
        """How far back a window reaches, its own step included."""
        return timedelta(hours=self.window_hours)

    @property
    def silence(self) -> timedelta:
        """How long an episode lasts without data."""
        return timedelta(hours=self.max_silence_hours)

    @property
    def min_valid(self) -> int:
        """How many valid values a window needs."""
        return max(1, round(self.min_valid_hours * HOUR_S / self.step_s))

    def in_force(self, at: datetime) -> bool:
        """Tell whether the rule is in force at a data time."""
        if self.effective_from is not None and at < self.effective_from:
            return False
        if self.effective_to is not None and at >= self.effective_to:
            return False
        if self.daily_from is None or self.daily_to is None:
            return True
        minute = (at.hour * 60 + at.minute + CHINA_TIME_MINUTES) % DAY_MINUTES
        if self.daily_from <= self.daily_to:
            return self.daily_from <= minute < self.daily_to
        return minute >= self.daily_from or minute < self.daily_to

    def beyond(self, value: float) -> bool:
        """Tell whether a value lies beyond the threshold."""
        return value < self.threshold if self.below else value > self.threshold

    def worst(self, values: Iterable[float]) -> float:
        """Return the value furthest in the direction of the threshold."""
        return min(values) if self.below else max(values)

    def confirms(self, window: "Sequence[Mean]") -> bool:
        """Tell whether a window, the newest value last, is an episode."""
        if len(window) < self.min_valid:
            return False
        if self.measure == FLAT:
            return spread(window) <= self.threshold
        if not self.beyond(window[-1].value):
            return False
        if sum(self.beyond(mean.value) for mean in window) < self.share * len(window) - ROUNDING:
            return False
        return self.min_distinct == 1 or len({mean.value for mean in window}) >= self.min_distinct

    def clears(self, episode: "Episode", mean: "Mean") -> bool:
        """Tell whether a value ends an episode."""
        if self.measure == FLAT:
            return spread((*episode.means, mean)) > self.clear_level
        return mean.value >= self.clear_level if self.below else mean.value <= self.clear_level


ROUNDING = 1e-9
"""A share of 11/12 of 12 values is 11 values."""


def spread(means: "Iterable[Mean]") -> float:
    """Return how far apart values lie."""
    values = [mean.value for mean in means]
    return max(values) - min(values)


@dataclass(frozen=True, slots=True)
class Mean:
    """One valid value of a measure, as an hourly mean: when its step began, and the value."""

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
    key: str = ""
    """Its name, once it is recorded: late data may move its start, and never its name."""


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
        silent_from = episode.last_at + rule.silence
        if mean.at > silent_from:
            changes.append(replace(episode, ended_at=silent_from))
            episode, window = None, ()
        elif rule.clears(episode, mean):
            changes.append(replace(episode, ended_at=mean.at))
            return State(mean.at, (mean,)), tuple(changes)
        else:
            episode = replace(episode, last_at=mean.at, peak=rule.worst((episode.peak, mean.value)))
            return State(mean.at, (), episode), tuple(changes)
    if rule.plain and not rule.beyond(mean.value):
        # no window that reaches back to this mean or beyond it can confirm anything: it stands for all before it
        return State(mean.at, (mean,)), tuple(changes)
    since = mean.at - rule.window + rule.step
    window = (*(old for old in window if old.at >= since), mean)
    if rule.confirms(window):
        episode = confirmed(rule, window)
        changes.append(episode)
        window = ()
    return State(mean.at, window, episode), tuple(changes)


def confirmed(rule: Rule, window: tuple[Mean, ...]) -> Episode:
    """Return the episode that a window confirms; it began with the first value beyond the threshold."""
    start = next((mean.at for mean in window if rule.measure == FLAT or rule.beyond(mean.value)), window[0].at)
    return Episode(start, window[-1].at, window, rule.worst(mean.value for mean in window), window[-1].at)


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
    """Return the text that names an episode for ever: rule version, sensor and start as first confirmed."""
    return episode.key or f"{rule.code}/{rule.version}/{sensor}/{episode.started_at.astimezone(UTC):%Y%m%dT%H%MZ}"


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
        "key": episode.key,
    }


def _episode_from_json(stored: Mapping[str, Any]) -> Episode:
    return Episode(
        started_at=datetime.fromisoformat(stored["started_at"]),
        confirmed_at=datetime.fromisoformat(stored["confirmed_at"]),
        means=means_from_json(stored["means"]),
        peak=stored["peak"],
        last_at=datetime.fromisoformat(stored["last_at"]),
        key=stored.get("key", ""),
    )
