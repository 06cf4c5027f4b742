"""Strict JSON, looked at with all care: the contract's own format (`schemas.telemetry`).

A fault of the whole message (not JSON, another device's id, too large) refuses the message; a fault of one reading
refuses that reading and leaves the others alone.
"""

from datetime import datetime
from typing import Any

from iot_ingest.codecs.shapes import Refused, refuse_reading, refuse_whole, short
from schemas.telemetry import (
    FACTORS,
    FLAGS,
    READINGS_LIMIT,
    SEQ_LIMIT,
    Message,
    Reading,
    Refusal,
    parse_time,
)
from server.errors import Problem
from server.web.body import parse_json

MESSAGE_MEMBERS = frozenset({"seq", "sensor", "readings"})
READING_MEMBERS = frozenset({"time", "factor", "value", "unit", "flag"})

Json = Any


def understand(topic: str, sensor: str, payload: bytes, received_at: datetime) -> Message:
    """Return the message of a sensor; a refusal of the whole is a message without readings."""
    try:
        body = parse_json(payload)
    except Problem as problem:
        return refuse_whole(topic, payload, received_at, "malformed-json", problem.detail, sensor=sensor)
    return _shape(topic, payload, received_at, sensor, body)


def _shape(topic: str, payload: bytes, received_at: datetime, sensor: str, body: Json) -> Message:
    """Check the message's own shape, then each reading by itself."""
    seq = body.get("seq") if isinstance(body, dict) else None
    if not isinstance(seq, int) or isinstance(seq, bool) or not 1 <= seq <= SEQ_LIMIT:
        detail = f"seq must be an integer from 1 to {SEQ_LIMIT}"
        return refuse_whole(topic, payload, received_at, "bad-message", detail, sensor=sensor)
    readings = body.get("readings")
    reason, detail = _message_fault(body, readings, sensor)
    if reason:
        count = max(1, len(readings)) if isinstance(readings, list) else 1
        return refuse_whole(topic, payload, received_at, reason, detail, sensor=sensor, seq=seq, readings=count)
    understood: list[Reading] = []
    refusals: list[Refusal] = []
    for item in readings:
        try:
            understood.append(_reading(item))
        except Refused as refused:
            refusals.append(refuse_reading(sensor, item, refused.reason, refused.detail))
    return Message(topic, payload, received_at, sensor, seq, tuple(understood), tuple(refusals))


def _message_fault(body: dict[str, Json], readings: Json, sensor: str) -> tuple[str, str]:
    if body.get("sensor", sensor) != sensor:
        return "foreign-sensor", f"payload names {short(body['sensor'])}"
    if not body.keys() <= MESSAGE_MEMBERS:
        return "bad-message", f"unknown member {short(min(body.keys() - MESSAGE_MEMBERS))}"
    if not isinstance(readings, list) or not readings:
        return "bad-message", "readings must be a list of at least one reading"
    if len(readings) > READINGS_LIMIT:
        return "too-many-readings", f"{len(readings)} readings, limit {READINGS_LIMIT}"
    return "", ""


def _reading(item: Json) -> Reading:
    """Understand one reading or say why not; the first fault found is the reason."""
    if not isinstance(item, dict):
        raise Refused("bad-reading", "a reading must be an object")
    if not item.keys() <= READING_MEMBERS:
        raise Refused("bad-reading", f"unknown member {short(min(item.keys() - READING_MEMBERS))}")
    if "value" not in item:
        raise Refused("bad-reading", "value is missing")
    name, unit, flag, time = item.get("factor"), item.get("unit"), item.get("flag", "N"), item.get("time")
    factor = FACTORS.get(name) if isinstance(name, str) else None
    if factor is None:
        raise Refused("unknown-factor", short(name))
    if unit != factor.unit:
        raise Refused("unknown-unit", f"{short(unit)} instead of {factor.unit}")
    if not isinstance(flag, str) or flag not in FLAGS:
        raise Refused("unknown-flag", short(flag))
    at = parse_time(time) if isinstance(time, str) else None
    if at is None:
        raise Refused("bad-time", short(time))
    return Reading(at, factor.code, _value(item["value"]), factor.unit, flag)


def _value(value: Json) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("not-a-number", short(value))
    return float(value)  # the parser lets no number beyond a double pass
