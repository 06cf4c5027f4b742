"""The readings of a lead as a drawing: a line of means, the ones that were judged, and the limit. Geometry only."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from schemas.telemetry import HOUR
from server.leads.models import Lead
from server.telemetry.rules import FLAT, LEVEL
from server.telemetry.series import RAW, Selection, chart

WIDTH, HEIGHT = 720, 240
"""Drawing units."""
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 34
AROUND = timedelta(hours=12)
"""How much is drawn before and after the episode."""
LONGEST = timedelta(days=60)
POINTS = 400
HEADROOM = 1.08
TICKS = 4
Series = Sequence[tuple[datetime, float]]


@dataclass(frozen=True)
class Tick:
    """A value on the axis: where, and what is written there."""

    y: int
    text: str


@dataclass(frozen=True)
class ReadingChart:
    """What the page draws, in drawing units."""

    line: str
    """SVG path of the means around the episode; empty where only the judged values are known."""
    judged: tuple[tuple[int, int], ...]
    limit_y: int | None
    """Where the limit lies; None for a rule without a level to compare with."""
    limit: str
    ticks: tuple[Tick, ...]
    since: datetime
    until: datetime


def draw_lead(session: Session, lead: Lead, measure: str) -> ReadingChart | None:
    """Return the drawing of a lead's readings; None when there is nothing to draw."""
    judged = [(datetime.fromisoformat(at), float(value)) for at, value in lead.extract]
    around = _around(session, lead) if measure in (LEVEL, FLAT) else []
    return plot(around, judged, None if measure == FLAT else lead.threshold)


def _around(session: Session, lead: Lead) -> Series:
    """The hourly means that the sensor said, else those that its readings come to."""
    since = lead.started_at - AROUND
    until = min((lead.ended_at or lead.last_at) + AROUND, since + LONGEST)
    for tier in (RAW, HOUR):
        chosen = Selection(lead.sensor_id, lead.factor, tier, since, until)
        points, _ = chart(session, chosen, POINTS)
        if points:
            return points
    return []


def plot(around: Series, judged: Series, limit: float | None) -> ReadingChart | None:
    """Scale values and times into the drawing."""
    every = [*around, *judged]
    if not every:
        return None
    values = [value for _, value in every] + ([] if limit is None else [limit])
    low, high = min(0.0, *values), max(values)
    span = (high - low) * HEADROOM or 1.0
    since, until = min(at for at, _ in every), max(at for at, _ in every)
    seconds = (until - since).total_seconds() or 1.0

    def x(at: datetime) -> int:
        return LEFT + round((at - since).total_seconds() / seconds * (WIDTH - LEFT - RIGHT))

    def y(value: float) -> int:
        return HEIGHT - BOTTOM - round((value - low) / span * (HEIGHT - TOP - BOTTOM))

    steps = [low + span * number / TICKS for number in range(TICKS + 1)]
    return ReadingChart(
        line=" ".join(f"{'L' if n else 'M'}{x(at)} {y(value)}" for n, (at, value) in enumerate(around)),
        judged=tuple((x(at), y(value)) for at, value in judged),
        limit_y=None if limit is None else y(limit),
        limit="" if limit is None else f"{limit:.6g}",
        ticks=tuple(Tick(y(value), f"{value:.3g}") for value in steps),
        since=since,
        until=until,
    )
