"""How well rules find labelled failures: precision and recall over a series with labelled windows. Pure.

An episode counts as right if it was confirmed within a labelled window, since that is when its lead would have been
opened; a window counts as found if an episode was confirmed within it. Nothing is fitted to the series.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from schemas.telemetry import BUILTIN_RULES
from server.db.base import micros
from server.telemetry.measures import ChannelData, measure, steps
from server.telemetry.registry import RULE_COLUMNS
from server.telemetry.rules import Episode, Rule, replay

ROWS_LIMIT = 1_000_000
"""Most values of a series."""
WINDOWS_LIMIT = 1_000
Window = tuple[datetime, datetime]
"""First and last instant, both included."""


@dataclass(frozen=True, slots=True)
class Score:
    """What one rule, or several together, found."""

    name: str
    episodes: int
    right: int
    """Episodes confirmed within a window."""
    windows: int
    found: int
    """Windows in which an episode was confirmed."""

    @property
    def precision(self) -> float | None:
        """Which part of the episodes is right; None without episodes."""
        return self.right / self.episodes if self.episodes else None

    @property
    def recall(self) -> float | None:
        """Which part of the windows was found; None without windows."""
        return self.found / self.windows if self.windows else None


def builtin_rules(factor: str) -> list[Rule]:
    """Return the built-in rules of a factor, those that a platform starts with as drafts included."""
    rows = [*BUILTIN_RULES["rules"], *BUILTIN_RULES["drafts"]]
    return [
        Rule(id=row["code"], **{name: row[name] for name in RULE_COLUMNS if name in row}, **row.get("settings", {}))
        for row in rows
        if row["factor"] == factor
    ]


def score(
    rules: Sequence[Rule], series: Sequence[tuple[datetime, float]], windows: Sequence[Window], interval_s: int
) -> tuple[list[Score], dict[str, list[Episode]]]:
    """Run rules over one channel's series; return a score for each rule and one for all, and the episodes by rule.

    Args:
        rules: rules that look at one channel.
        series: (data time, value) in order of time.
        windows: the labelled windows.
        interval_s: how often the channel samples.
    """
    samples = [(micros(at), value) for at, value in series]
    episodes: dict[str, list[Episode]] = {}
    for rule in rules:
        own = steps(samples, rule.step_s, interval_s)
        episodes[rule.code] = list(replay(rule, measure(rule, ChannelData(own=own)))[1])
    scores = [_score(name, found, windows) for name, found in episodes.items()]
    return [*scores, _score("all", [one for found in episodes.values() for one in found], windows)], episodes


def _score(name: str, episodes: Sequence[Episode], windows: Sequence[Window]) -> Score:
    hits = [[first <= one.confirmed_at <= last for first, last in windows] for one in episodes]
    found = sum(any(hit[number] for hit in hits) for number in range(len(windows)))
    return Score(name, len(episodes), sum(map(any, hits)), len(windows), found)


def read_series(text: str) -> list[tuple[datetime, float]]:
    """Return the series of a CSV with the columns `timestamp` (without a zone: taken as UTC) and `value`, by time.

    Of several values for one time the first stands, as of several readings.

    Raises:
        ValueError: it is not one, or is too long.
    """
    found: dict[datetime, float] = {}
    for row in csv.DictReader(io.StringIO(text)):
        if len(found) >= ROWS_LIMIT:
            raise ValueError(f"more than {ROWS_LIMIT} values")
        try:
            found.setdefault(_instant(row["timestamp"]), float(row["value"]))
        except (KeyError, TypeError) as error:
            raise ValueError("needs the columns timestamp and value") from error
    return sorted(found.items())


def read_windows(text: str) -> list[Window]:
    """Return the windows of a JSON object `{name: [[first, last], …]}`, in order.

    Raises:
        ValueError: it is not one, or holds too many.
    """
    labelled: Mapping[str, Any] = json.loads(text)
    try:
        found = sorted((_instant(first), _instant(last)) for pairs in labelled.values() for first, last in pairs)
    except (AttributeError, TypeError) as error:
        raise ValueError("needs windows as {name: [[first, last], …]}") from error
    if len(found) > WINDOWS_LIMIT:
        raise ValueError(f"more than {WINDOWS_LIMIT} windows")
    return found


def usual_interval_s(times: Iterable[datetime]) -> int:
    """Return the most frequent distance between two times, in seconds; a minute if there are none."""
    ordered = list(times)
    counts: dict[int, int] = {}
    for one, other in pairwise(ordered):
        distance = round((other - one).total_seconds())
        counts[distance] = counts.get(distance, 0) + 1
    return max(1, max(counts, key=lambda distance: counts[distance], default=60))


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
