"""What a sensor does when the platform asks it for its history again, or for another interval; and its answer."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from device_sim.sample.telemetry import Observation
from device_sim.sensors.faults import NO_FAULTS, Faults
from device_sim.sensors.replay import Outgoing
from schemas.telemetry import ANSWER, readings_topic

HISTORY_KEPT = 2_000
"""Most messages that a sensor remembers, stored or not."""
ALL = ""
"""In place of a factor: all channels that have no interval of their own."""
Answer = tuple[str, str]
"""(status, detail)."""


class Sampling:
    """How often a sensor speaks of each channel: as often as its series, until it is told otherwise."""

    def __init__(self) -> None:
        """Take everything there is."""
        self._interval: dict[str, timedelta] = {}
        self._finest: timedelta | None = None
        self._before: datetime | None = None

    def thin(self, observations: Iterable[Observation]) -> Iterator[Observation]:
        """Return what is due of a series: the times that are whole intervals since midnight UTC."""
        for one in observations:
            if self._before is not None and one.at > self._before:
                self._finest = min(self._finest or one.at - self._before, one.at - self._before)
            self._before = one.at
            values = {factor: text for factor, text in one.values.items() if self._due(one.at, factor)}
            if values:
                yield replace(one, values=values)

    def set(self, seconds: int, factor: str = ALL) -> Answer:
        """Speak every so many seconds from now on, if the series has values so often."""
        wanted = timedelta(seconds=seconds)
        if self._finest is not None and wanted < self._finest:
            return "refused", f"measures every {self._finest.total_seconds():.0f} s"
        self._interval[factor] = wanted
        return "done", f"every {seconds} s"

    def _due(self, at: datetime, factor: str) -> bool:
        interval = self._interval.get(factor, self._interval.get(ALL))
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        return interval is None or not (at - midnight) % interval


class Downlink:
    """One sensor's side of commands."""

    def __init__(self, sensor: str, faults: Faults = NO_FAULTS) -> None:
        """Remember nothing yet."""
        self._sensor, self._deaf = sensor, faults.deaf
        self._random = Random(f"{faults.seed}-{sensor}-downlink")
        self._said: deque[Outgoing] = deque(maxlen=HISTORY_KEPT)
        self.sampling = Sampling()

    @property
    def topic(self) -> str:
        """Where answers go."""
        return readings_topic(self._sensor, ANSWER)

    def note(self, message: Outgoing) -> None:
        """Remember what was measured, whether or not it arrives."""
        if message.seq:
            self._said.append(message)

    def respond(self, payload: bytes) -> tuple[list[Outgoing], bytes | None]:
        """Return the messages to be sent again, and the answer to a command; None from a sensor that did not hear it.

        What is not answered expires on the platform.
        """
        if self._random.random() < self._deaf:
            return [], None
        command = json.loads(payload)
        again: list[Outgoing] = []
        parameters: Mapping[str, Any] = command["parameters"]
        if command["name"] == "history":
            since, until = (datetime.fromisoformat(parameters[name]) for name in ("since", "until"))
            again = [one for one in self._said if any(since <= _time(item.time) < until for item in one.said)]
            status, detail = "done", f"{len(again)} messages"
        elif command["name"] == "set-interval":
            status, detail = self.sampling.set(int(parameters["seconds"]), parameters.get("factor", ALL))
        else:
            status, detail = "refused", f"knows no {command['name']}"
        return again, json.dumps({"id": command["id"], "status": status, "detail": detail}).encode()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
