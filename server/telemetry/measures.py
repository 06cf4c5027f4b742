"""What a rule compares with its threshold: the values of each measure, step by step. Pure.

Everything is made from valid steps only, so that no measure rests on data that do not count.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from statistics import median

from server.db.base import instant
from server.telemetry.averaging import MINUTE_SHARE, SECOND_US
from server.telemetry.expressions import Expression
from server.telemetry.rules import ABSENCE, DRIFT, EXPRESSION, FLAT, HOUR, LEVEL, RATE, Mean, Rule

PER_CENT = 100.0
compiled = lru_cache(maxsize=256)(Expression)
"""An expression, checked and prepared once."""


@dataclass(slots=True)
class ChannelData:
    """What there is to look at for one sensor's channel; all in order of time, and valid."""

    own: Sequence[Mean] = ()
    """The channel's own steps."""
    missing: Sequence[Mean] = ()
    """For each step in which there should be data, which part of it is missing, in per cent."""
    neighbours: Sequence[Mapping[datetime, float]] = ()
    """Neighbours' steps."""
    site: Mapping[str, Mapping[datetime, float]] = field(default_factory=dict)
    """Factor → steps, of the channels at the same site."""


def measure(rule: Rule, data: ChannelData) -> list[Mean]:
    """Return a rule's values over some data, without the times at which it is not in force."""
    return [mean for mean in _MEASURES[rule.measure](rule, data) if rule.in_force(mean.at)]


def steps(samples: Iterable[tuple[int, float]], step_s: int, interval_s: int | None) -> list[Mean]:
    """Return means over steps of time from valid means of minutes: (beginning in microseconds, value), in order.

    A step counts if three quarters of the minutes that its channel should have said are there and valid; of a channel
    that does not say how often it samples, any will do.
    """
    length_us = step_s * SECOND_US
    expected = max(1, step_s // max(60, interval_s)) if interval_s else 1
    found: dict[int, list[float]] = {}
    for at, value in samples:
        found.setdefault(at - at % length_us, []).append(value)
    return [
        Mean(instant(start), math.fsum(values) / len(values))
        for start, values in found.items()
        if len(values) >= MINUTE_SHARE * expected
    ]


def _own(_rule: Rule, data: ChannelData) -> Iterable[Mean]:
    return data.own


def _missing(_rule: Rule, data: ChannelData) -> Iterable[Mean]:
    return data.missing


def _rates(rule: Rule, data: ChannelData) -> Iterable[Mean]:
    """Return the change an hour from one step to the next; over a gap longer than the window nothing is known."""
    for before, mean in zip(data.own, data.own[1:], strict=False):
        elapsed = mean.at - before.at
        if elapsed <= rule.window:
            yield Mean(mean.at, abs(mean.value - before.value) / (elapsed / HOUR))


def _deviations(rule: Rule, data: ChannelData) -> Iterable[Mean]:
    """Return the distance from the neighbours' median, in per cent of it, where enough of them say something."""
    for mean in data.own:
        others = [series[mean.at] for series in data.neighbours if mean.at in series]
        if len(others) >= max(1, rule.min_neighbours):
            middle = median(others)
            base = max(abs(middle), rule.floor)
            if base > 0:
                yield Mean(mean.at, PER_CENT * abs(mean.value - middle) / base)


def _results(rule: Rule, data: ChannelData) -> Iterable[Mean]:
    expression = compiled(rule.expression)
    series = {factor: data.site.get(factor, {}) for factor in sorted(expression.factors)}
    times = set.intersection(*(set(known) for known in series.values()))
    for at in sorted(times):
        value = expression.value({factor: known[at] for factor, known in series.items()})
        if value is not None:
            yield Mean(at, value)


_MEASURES: Mapping[str, Callable[[Rule, ChannelData], Iterable[Mean]]] = {
    LEVEL: _own,
    FLAT: _own,
    RATE: _rates,
    ABSENCE: _missing,
    DRIFT: _deviations,
    EXPRESSION: _results,
}
