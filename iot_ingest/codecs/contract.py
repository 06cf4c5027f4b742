"""From a message's content, in the contract's own shape, to readings and refusals; all formats end here.

A fault of the whole message (another device's id, no sequence number) refuses the message; a fault of one reading
refuses that reading and leaves the others alone.
"""

from datetime import datetime
from math import isfinite
from typing import Any

from iot_ingest.codecs.shapes import Refused, refuse_reading, refuse_whole, short
from schemas.telemetry import (
    CHANNEL_UNIT,
    FACTORS,
    FLAGS,
    HOUR,
    KIND_NUMBERS,
    READINGS_LIMIT,
    SEQ_LIMIT,
    Message,
    Reading,
    Refusal,
    parse_time,
    unit_scale,
)

MESSAGE_MEMBERS = frozenset({"seq", "sensor", "sent", "receipt", "readings"})
READING_MEMBERS = frozenset({"time", "factor", "value", "unit", "flag", "kind"})

Json = Any


def understand_body(
    topic: str, payload: bytes, received_at: datetime, sensor: str, body: Json, *, numbered: bool = True
) -> Message:
    """Check a message's own shape, then each reading by itself.

    Args:
        topic: the topic it came on.
        payload: the bytes that `body` was read from.
        received_at: when they were received.
        sensor: the sensor that the topic names.
        body: what the bytes say, in the shape of `schemas.telemetry`, as JSON values.
        numbered: whether the format has sequence numbers; without them every message is number 0, and a reading
            without a unit is in its channel's own.
    """
    seq = (body.get("seq") if isinstance(body, dict) else None) if numbered else 0
    if numbered and (not isinstance(seq, int) or isinstance(seq, bool) or not 1 <= seq <= SEQ_LIMIT):
        detail = f"seq must be an integer from 1 to {SEQ_LIMIT}"
        return refuse_whole(topic, payload, received_at, "bad-message", detail, sensor=sensor)
    readings, sent = body.get("readings"), body.get("sent")
    sent_at = parse_time(sent) if isinstance(sent, str) else None
    reason, detail = _message_fault(body, readings, sensor)
    if reason:
        count = max(1, len(readings)) if isinstance(readings, list) else 1
        return refuse_whole(topic, payload, received_at, reason, detail, sensor=sensor, seq=seq, readings=count)
    understood: list[Reading] = []
    refusals: list[Refusal] = []
    for item in readings:
        try:
            understood.append(_reading(item, unit_of_channel=not numbered))
        except Refused as refused:
            refusals.append(refuse_reading(sensor, item, refused.reason, refused.detail))
    return Message(
        topic,
        payload,
        received_at,
        sensor,
        seq,
        tuple(understood),
        tuple(refusals),
        sent_at,
        body.get("receipt", False),
    )


def _message_fault(body: dict[str, Json], readings: Json, sensor: str) -> tuple[str, str]:
    if body.get("sensor", sensor) != sensor:
        return "foreign-sensor", f"payload names {short(body['sensor'])}"
    if not body.keys() <= MESSAGE_MEMBERS:
        return "bad-message", f"unknown member {short(min(body.keys() - MESSAGE_MEMBERS))}"
    if "sent" in body and (not isinstance(body["sent"], str) or parse_time(body["sent"]) is None):
        return "bad-message", "sent is no time"
    if not isinstance(body.get("receipt", False), bool):
        return "bad-message", "receipt must be true or false"
    if not isinstance(readings, list) or not readings:
        return "bad-message", "readings must be a list of at least one reading"
    if len(readings) > READINGS_LIMIT:
        return "too-many-readings", f"{len(readings)} readings, limit {READINGS_LIMIT}"
    return "", ""


def _reading(item: Json, *, unit_of_channel: bool) -> Reading:
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
    kind = item.get("kind", HOUR)
    if not isinstance(kind, str) or kind not in KIND_NUMBERS:
        raise Refused("unknown-kind", short(kind))
    by_channel = unit is None and unit_of_channel
    scale = 1.0 if by_channel else unit_scale(unit, factor.unit) if isinstance(unit, str) else None
    if scale is None:
        raise Refused("unknown-unit", f"{short(unit)} instead of {factor.unit}")
    if not isinstance(flag, str) or flag not in FLAGS:
        raise Refused("unknown-flag", short(flag))
    at = parse_time(time) if isinstance(time, str) else None
    if at is None:
        raise Refused("bad-time", short(time))
    value = _value(item["value"])
    if value is not None and scale != 1.0:
        value *= scale
    return Reading(at, factor.code, value, CHANNEL_UNIT if by_channel else factor.unit, flag, kind)


def _value(value: Json) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused("not-a-number", short(value))
    try:
        number = float(value)
    except OverflowError:
        raise Refused("not-a-number", "beyond the range of a double") from None
    if not isfinite(number):
        raise Refused("not-a-number", short(str(number)))
    return number
