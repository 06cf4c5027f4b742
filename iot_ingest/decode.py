"""From the bytes of one delivery to understood readings and refusals; pure, and nothing is dropped unseen.

A fault of the whole message (not JSON, another device's id, too large) refuses the message; a fault of one reading
refuses that reading and leaves the others alone. What the registry or the database must judge (unknown sensor,
unknown channel, contradiction) is judged later, where they are known.
"""

import json
from datetime import datetime
from typing import Any

from schemas.telemetry import (
    FACTORS,
    FLAGS,
    MESSAGE_LIMIT_BYTES,
    READINGS_LIMIT,
    SEQ_LIMIT,
    TEXT_LIMIT_CHARS,
    Message,
    Reading,
    Refusal,
    parse_time,
    payload_identity,
    reading_identity,
    sensor_of,
)
from server.errors import Problem
from server.web.body import parse_json

MESSAGE_MEMBERS = frozenset({"seq", "sensor", "readings"})
READING_MEMBERS = frozenset({"time", "factor", "value", "unit", "flag"})

Json = Any


class _Refused(Exception):
    """One reading cannot be understood; carries the reason's code and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def decode(topic: str, payload: bytes, received_at: datetime) -> Message:
    """Decode one delivery.

    Args:
        topic: the topic it came on; the broker has authenticated the device for it.
        payload: the bytes as received.
        received_at: when they were received, aware UTC.

    Returns:
        The message; never raises for anything a sensor may have sent.
    """
    sensor = sensor_of(topic)
    if sensor is None:
        return _whole(topic, payload, received_at, "bad-topic")
    if len(payload) > MESSAGE_LIMIT_BYTES:
        detail = f"{len(payload)} bytes, limit {MESSAGE_LIMIT_BYTES}"
        return _whole(topic, payload, received_at, "message-too-large", detail, sensor=sensor)
    try:
        body = parse_json(payload)
    except Problem as problem:
        return _whole(topic, payload, received_at, "malformed-json", problem.detail, sensor=sensor)
    return _shape(topic, payload, received_at, sensor, body)


def _shape(topic: str, payload: bytes, received_at: datetime, sensor: str, body: Json) -> Message:
    """Check the message's own shape, then each reading by itself."""
    seq = body.get("seq") if isinstance(body, dict) else None
    if not isinstance(seq, int) or isinstance(seq, bool) or not 1 <= seq <= SEQ_LIMIT:
        detail = f"seq must be an integer from 1 to {SEQ_LIMIT}"
        return _whole(topic, payload, received_at, "bad-message", detail, sensor=sensor)
    readings = body.get("readings")
    reason, detail = _message_fault(body, readings, sensor)
    if reason:
        count = max(1, len(readings)) if isinstance(readings, list) else 1
        return _whole(topic, payload, received_at, reason, detail, sensor=sensor, seq=seq, readings=count)
    understood: list[Reading] = []
    refusals: list[Refusal] = []
    for item in readings:
        try:
            understood.append(_reading(item))
        except _Refused as refused:
            refusals.append(refuse_reading(sensor, item, refused.reason, refused.detail))
    return Message(topic, payload, received_at, sensor, seq, tuple(understood), tuple(refusals))


def _message_fault(body: dict[str, Json], readings: Json, sensor: str) -> tuple[str, str]:
    if body.get("sensor", sensor) != sensor:
        return "foreign-sensor", f"payload names {_short(body['sensor'])}"
    if not body.keys() <= MESSAGE_MEMBERS:
        return "bad-message", f"unknown member {_short(min(body.keys() - MESSAGE_MEMBERS))}"
    if not isinstance(readings, list) or not readings:
        return "bad-message", "readings must be a list of at least one reading"
    if len(readings) > READINGS_LIMIT:
        return "too-many-readings", f"{len(readings)} readings, limit {READINGS_LIMIT}"
    return "", ""


def _reading(item: Json) -> Reading:
    """Understand one reading or say why not; the first fault found is the reason."""
    if not isinstance(item, dict):
        raise _Refused("bad-reading", "a reading must be an object")
    if not item.keys() <= READING_MEMBERS:
        raise _Refused("bad-reading", f"unknown member {_short(min(item.keys() - READING_MEMBERS))}")
    if "value" not in item:
        raise _Refused("bad-reading", "value is missing")
    name, unit, flag, time = item.get("factor"), item.get("unit"), item.get("flag", "N"), item.get("time")
    factor = FACTORS.get(name) if isinstance(name, str) else None
    if factor is None:
        raise _Refused("unknown-factor", _short(name))
    if unit != factor.unit:
        raise _Refused("unknown-unit", f"{_short(unit)} instead of {factor.unit}")
    if not isinstance(flag, str) or flag not in FLAGS:
        raise _Refused("unknown-flag", _short(flag))
    at = parse_time(time) if isinstance(time, str) else None
    if at is None:
        raise _Refused("bad-time", _short(time))
    return Reading(at, factor.code, _value(item["value"]), factor.unit, flag)


def _value(value: Json) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Refused("not-a-number", _short(value))
    return float(value)  # the parser lets no number beyond a double pass


def refuse_reading(sensor: str, item: Json, reason: str, detail: str = "") -> Refusal:
    """Return the refusal of one reading given as its JSON value."""
    text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
    known = item if isinstance(item, dict) else {}
    return Refusal(
        reason=reason,
        detail=detail,
        payload=text.encode(),
        identity=reading_identity(sensor, item),
        factor=_short(known.get("factor", "")),
        time=_short(known.get("time", "")),
    )


def _whole(
    topic: str,
    payload: bytes,
    received_at: datetime,
    reason: str,
    detail: str = "",
    *,
    sensor: str = "",
    seq: int | None = None,
    readings: int = 1,
) -> Message:
    refusal = Refusal(reason, detail, payload, payload_identity(topic, payload), readings)
    return Message(topic, payload, received_at, sensor, seq, (), (refusal,))


def _short(value: Json) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:TEXT_LIMIT_CHARS]
