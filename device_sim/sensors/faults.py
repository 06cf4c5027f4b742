"""Faults of sensors and their links, seeded: what is measured wrongly, and what goes wrong on the way. Pure.

A sensor that keeps its messages until a receipt repeats what is lost, so none of the faults of the way may show in what
is stored (without receipts a loss is a gap); the faults of measuring must show, as invalid readings or as suspicions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from device_sim.sample.telemetry import Observation
from device_sim.sensors.replay import Outgoing

BURST_LIMIT = 50
"""Most messages that are held back to come at once."""


@dataclass(frozen=True)
class Faults:
    """How often each fault strikes, as a share of messages or hours; 0 switches it off."""

    loss: float = 0.0
    """A message is not sent when its turn comes; the sensor notices by the receipt that does not come."""
    duplicate: float = 0.0
    disorder: float = 0.0
    """A message changes places with the next."""
    burst: float = 0.0
    """The link is silent for a while, then everything comes at once."""
    power_cut: float = 0.0
    """The sensor starts again from what it has on disk."""
    stuck: float = 0.0
    """An hour at which the values stop changing, for `stuck_hours`."""
    stuck_hours: int = 24
    clock_error: timedelta = timedelta(0)
    """By how much the sensor's clock is wrong: its data times are shifted."""
    deaf: float = 0.0
    """A command is not heard, and never answered."""
    seed: int = 7

    def __post_init__(self) -> None:
        """Refuse what is no share.

        Raises:
            ValueError: a share is not within 0 and 1.
        """
        shares = (self.loss, self.duplicate, self.disorder, self.burst, self.power_cut, self.stuck, self.deaf)
        if not all(0 <= share <= 1 for share in shares):
            raise ValueError("a share lies from 0 to 1")


NO_FAULTS = Faults()


def mismeasured(hours: Iterable[Observation], faults: Faults) -> Iterator[Observation]:
    """Return the hours as a faulty instrument reports them."""
    random, held, left = Random(f"{faults.seed}-instrument"), None, 0
    for hour in hours:
        if left == 0 and random.random() < faults.stuck:
            held, left = hour.values, faults.stuck_hours
        values = held if left and held is not None else hour.values
        left = max(0, left - 1)
        yield replace(hour, at=hour.at + faults.clock_error, values=values)


def on_the_way(messages: Iterable[Outgoing], faults: Faults) -> Iterator[tuple[Outgoing, bool]]:
    """Return messages in the order in which they are handed to the link, each with whether it really leaves."""
    random = Random(f"{faults.seed}-link")
    held: list[Outgoing] = []
    burst = 0
    for message in messages:
        held.append(message)
        if burst == 0 and random.random() < faults.burst:
            burst = random.randint(2, BURST_LIMIT)
        burst = max(0, burst - 1)
        if burst or (len(held) == 1 and random.random() < faults.disorder):
            continue
        yield from _leave(held[::-1] if len(held) == 2 else held, faults, random)
        held = []
    yield from _leave(held, faults, random)


def _leave(messages: Iterable[Outgoing], faults: Faults, random: Random) -> Iterator[tuple[Outgoing, bool]]:
    for message in messages:
        lost = message.seq > 0 and random.random() < faults.loss
        again = 1 if random.random() < faults.duplicate else 0
        yield replace(message, repeats=message.repeats + again), not lost
