"""What a sensor does when the platform asks it for its history again, or for another interval; and its answer."""

from __future__ import annotations

import json
from collections import deque
from datetime import datetime

from device_sim.sensors.replay import Outgoing
from schemas.telemetry import ANSWER, readings_topic

HISTORY_KEPT = 2_000
"""Most messages that a sensor remembers, stored or not."""


class Downlink:
    """One sensor's side of commands."""

    def __init__(self, sensor: str) -> None:
        """Remember nothing yet."""
        self._sensor = sensor
        self._said: deque[Outgoing] = deque(maxlen=HISTORY_KEPT)

    @property
    def topic(self) -> str:
        """Where answers go."""
        return readings_topic(self._sensor, ANSWER)

    def note(self, message: Outgoing) -> None:
        """Remember what was measured, whether or not it arrives."""
        if message.seq:
            self._said.append(message)

    def respond(self, payload: bytes) -> tuple[list[Outgoing], bytes]:
        """Return the messages to be sent again, and the answer to a command."""
        command = json.loads(payload)
        again: list[Outgoing] = []
        status, detail = "refused", "a replayed series keeps its own interval"
        if command["name"] == "history":
            since, until = (datetime.fromisoformat(command["parameters"][name]) for name in ("since", "until"))
            again = [one for one in self._said if any(since <= _time(item.time) < until for item in one.said)]
            status, detail = "done", f"{len(again)} messages"
        return again, json.dumps({"id": command["id"], "status": status, "detail": detail}).encode()


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
