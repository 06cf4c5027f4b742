"""From the hours of a station file to the messages its sensor publishes. Pure: the same hours give the same bytes.

So a replay that was cut off can simply run again: it repeats itself, which is what a sensor does that was not
acknowledged. Values keep the text of the file where it is no number: judging it is not the sensor's work.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from device_sim.sample.telemetry import BEIJING_TIME, Observation
from schemas.telemetry import HOUR, payload_identity, reading_identity, readings_topic

MISSING_TEXTS = frozenset({"NA", ""})
"""How the files write that an instrument gave no value; the sensor sends null with flag D (fault)."""
_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?")

Reading = Mapping[str, Any]


@dataclass(frozen=True)
class ReplayPlan:
    """How hours become messages; 0 switches a fault off."""

    hours_per_message: int = 1
    repeat_every: int = 0
    """Every so many messages, one is sent twice, as after a lost acknowledgement."""
    nonsense_every: int = 0
    """Every so many messages, something nonsensical is added."""
    seed: int = 7
    """Chooses which messages are affected."""
    receipts: bool = False
    """Whether each message asks for a receipt."""


@dataclass(frozen=True)
class Published:
    """One thing a sensor said, to be found again in the database exactly once.

    `whole` marks a message that nobody can read, or that is refused as a whole; it counts as one reading.
    """

    identity: str
    sensor: str
    factor: str
    time: str
    whole: bool = False


@dataclass(frozen=True)
class Outgoing:
    """One message to publish; `repeats` says how often it is sent beyond the first time."""

    topic: str
    payload: bytes
    said: tuple[Published, ...]
    repeats: int = 0
    seq: int = 0
    """Its number; 0 where nobody can read one."""


def as_reading(hour: Observation, factor: str) -> Reading:
    """Return what a sensor sends of one factor of one hour or moment."""
    text, flag = hour.values[factor], "N"
    value: str | float | None = text
    if text in MISSING_TEXTS:
        value, flag = None, "D"
    elif _NUMBER.fullmatch(text):
        value = float(text) if "." in text else int(text)
    return {
        "time": hour.at.astimezone(BEIJING_TIME).isoformat(),
        "factor": factor,
        "value": value,
        "unit": hour.unit,
        "flag": flag,
        **({} if hour.kind == HOUR else {"kind": hour.kind}),
    }


def outgoing(hours: Iterable[Observation], sensor: str, plan: ReplayPlan, readings_limit: int) -> Iterator[Outgoing]:
    """Return a sensor's messages in order, with dense sequence numbers from 1.

    Args:
        hours: the station's hours.
        sensor: id of the sensor that speaks for the station.
        plan: how to speak.
        readings_limit: replay whole hours until at least so many readings are out; 0: all hours.
    """
    topic, source = readings_topic(sensor), iter(hours)
    seq = sent = 0
    while not readings_limit or sent < readings_limit:
        block = list(islice(source, plan.hours_per_message))
        if not block:
            return
        readings = [as_reading(hour, factor) for hour in block for factor in hour.values]
        seq, sent = seq + 1, sent + len(readings)
        turn = _turn(plan.nonsense_every, plan.seed, seq)
        extra = nonsense(readings[0], turn) if turn is not None else []
        repeats = 1 if _turn(plan.repeat_every, plan.seed, seq) is not None else 0
        yield _message(topic, sensor, seq, [*readings, *extra], repeats, receipt=plan.receipts)
        if turn is not None and turn % 3 == 0:
            yield _unreadable(topic, sensor, seq)
        if turn is not None and turn % 3 == 1:
            seq += 1
            yield _forged(topic, sensor, seq, readings[0])


def nonsense(real: Reading, turn: int) -> list[Reading]:
    """Return a nonsensical reading beside a real one: each turn another kind, and each must be accounted for."""
    kinds: list[dict[str, Any]] = [
        {"factor": "VOC"},
        {"value": "ERR-7"},
        {"time": "2013-13-45T25:00:00+08:00"},
        {"unit": "ppm"},
        {"flag": "Q"},
        {"value": 99_999.5},
        {"time": "2099-01-01T00:00:00+08:00", "value": 1},
        {"time": "1970-01-01T08:00:00+08:00", "value": 1},
        {"value": True},
    ]
    return [dict(real) | kinds[turn % len(kinds)]]


def _turn(every: int, seed: int, seq: int) -> int | None:
    """Return which turn of a fault falls on a message, or None."""
    return (seq + seed) // every if every and (seq + seed) % every == 0 else None


def _message(topic: str, sensor: str, seq: int, readings: list[Reading], repeats: int, *, receipt: bool) -> Outgoing:
    body = {"seq": seq, "readings": readings} | ({"receipt": True} if receipt else {})
    payload = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    said = {item.identity: item for item in (_said(sensor, reading) for reading in readings)}
    return Outgoing(topic, payload, tuple(said.values()), repeats, seq)


def _said(sensor: str, reading: Reading) -> Published:
    return Published(reading_identity(sensor, reading), sensor, str(reading["factor"]), str(reading["time"]))


def _unreadable(topic: str, sensor: str, seq: int) -> Outgoing:
    """A message cut off in the middle, as by a failing modem; it takes no number, since nobody can read one."""
    payload = b'{"seq":%d,"readings":[{"time":"2013-' % seq
    return Outgoing(topic, payload, (Published(payload_identity(topic, payload), sensor, "", "", whole=True),))


def _forged(topic: str, sensor: str, seq: int, real: Reading) -> Outgoing:
    """A message that names another sensor than its topic."""
    body = {"seq": seq, "sensor": "somebody-else", "readings": [real]}
    payload = json.dumps(body, separators=(",", ":")).encode()
    return Outgoing(topic, payload, (Published(payload_identity(topic, payload), sensor, "", "", whole=True),), seq=seq)
