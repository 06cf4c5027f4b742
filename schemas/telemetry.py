"""The telemetry contract between sensors and the platform: topic, message, reading, code tables and limits.

A sensor publishes JSON at QoS 1 on its own topic::

    fieldproof/v1/<sensor id>/readings
    {"seq": 7, "readings": [{"time": "2013-03-01T00:00:00+08:00", "factor": "SO2",
                             "value": 4, "unit": "ug/m3", "flag": "N"}]}

`seq` is dense and starts at 1; a message sent again keeps its number. The code tables are data, in `schemas/codes`.
"""

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from marshmallow import Schema, fields, validate
from msgspec import Struct

TOPIC_PREFIX = "fieldproof/v1"
PARTITIONED = "fieldproof/part"
"""`fieldproof/part/3/SENSOR/readings` is `fieldproof/v1/SENSOR/readings`, as partition 3 of a divided stream."""
JSON, SENML, CBOR, HJ212 = "readings", "senml", "cbor", "hj212"
FORMATS = (JSON, SENML, CBOR, HJ212)
"""The last level of a topic names the format."""
RECEIPT = "receipt"
"""What the platform publishes: `{"seq": 7, "missing": [[3, 4]]}`, all up to 7 are stored but 3 and 4."""
PRESENCE = "presence"
"""What a sensor publishes, retained, when it connects, and leaves as its last will: `{"online": true}`."""
COMMAND, ANSWER = "command", "answer"
"""What is asked of a sensor, and what it answers: see `CommandSchema` and `AnswerSchema`."""
MISSING_LIMIT = 100
"""Most missing ranges in one receipt; further ones are told when these have come."""
SUBSCRIPTION = f"{TOPIC_PREFIX}/+/{JSON}"
SUBSCRIPTIONS = tuple(f"{TOPIC_PREFIX}/+/{name}" for name in (*FORMATS, PRESENCE, ANSWER))
"""What an ingester subscribes to."""

MESSAGE_LIMIT_BYTES = 64 * 1024
"""Largest message an ingester reads; a larger one is dead-lettered unread."""
READINGS_LIMIT = 500
"""Most readings in one message."""
SEQ_LIMIT = 2**53 - 1
"""Largest sequence number: what every JSON reader can hold exactly."""
TEXT_LIMIT_CHARS = 64
"""Longest factor, unit, flag or time text; also what a dead letter keeps of them in its columns."""

HOUR, MINUTE, REALTIME, DAY = "hour", "minute", "realtime", "day"
"""Kinds of readings: what a value stands for. An hourly mean is what is meant where nothing else is said."""

SENSOR_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
"""A sensor id is one topic level without wildcards, dots or spaces: brokers give those a meaning."""
_TOPIC = re.compile(rf"(?:{TOPIC_PREFIX}|{PARTITIONED}/\d{{1,4}})/([^/]*)/([^/]*)", re.DOTALL)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:\d\d)")


def _table(name: str) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("schemas").joinpath("codes", name).read_text("utf-8"))
    return table


CODES = _table("telemetry.json")
"""Factors, units, quality flags, reasons of invalidity and of refusal, each with its names and its source."""
BUILTIN_RULES = _table("telemetry_rules.json")
"""The rules a new platform starts with."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A measured quantity: its unit and the measuring range outside which a value is not believed."""

    code: str
    unit: str
    low: float
    high: float
    possible: tuple[float, float] = (-math.inf, math.inf)
    """What it can be at all, whatever a sensor's range: no concentration is negative, no pH above 14."""


FACTORS: Mapping[str, Factor] = {
    code: Factor(
        code,
        row["unit"],
        float(row["low"]),
        float(row["high"]),
        (row.get("least", -math.inf), row.get("most", math.inf)),
    )
    for code, row in CODES["factors"].items()
}
FACTOR_NUMBERS: Mapping[str, int] = {code: row["number"] for code, row in CODES["factors"].items()}
FLAG_NUMBERS: Mapping[str, int] = {code: row["number"] for code, row in CODES["flags"].items()}
KIND_NUMBERS: Mapping[str, int] = {code: row["number"] for code, row in CODES["kinds"].items()}
REASON_NUMBERS: Mapping[str, int] = {code: row["number"] for code, row in CODES["invalid_reasons"].items()}
TIER_NUMBERS: Mapping[str, int] = {"raw": 0} | {code: KIND_NUMBERS[code] for code in (MINUTE, HOUR, DAY)}
"""What is stored of telemetry, from readings to daily aggregates; each has its own time to live."""
HJ212_FACTORS: Mapping[str, str] = {row["hj212"]: code for code, row in CODES["factors"].items() if "hj212" in row}
CHANNEL_UNIT = ""
"""The unit of a reading whose format names none: the one that the registry gives its channel."""
COUNTING_FLAGS = frozenset(code for code, row in CODES["flags"].items() if row["counts"])
"""Flags whose data may count as valid."""
FLAGS = frozenset(CODES["flags"])


class Reading(Struct, frozen=True):
    """One understood reading: the hourly mean of one factor that began at `at`.

    `value` is in `unit`; None means the sensor had no value.
    """

    at: datetime
    factor: str
    value: float | None
    unit: str
    flag: str
    kind: str = HOUR


class Refusal(Struct, frozen=True):
    """Something that could not be understood: why, and the bytes themselves.

    `readings` says for how many readings it stands: 1 for a single reading or an unreadable message, otherwise as many
    as the message carries. `identity` names the content, so that a redelivery is recognised.
    """

    reason: str
    detail: str
    payload: bytes
    identity: str
    readings: int = 1
    factor: str = ""
    time: str = ""


class Message(Struct, frozen=True):
    """One delivery after decoding. Every reading in it is either in `readings` or stands behind one of `refusals`.

    `seq` is None when the message could not be read far enough to know it, and 0 in a format without numbers.
    """

    topic: str
    payload: bytes
    received_at: datetime
    sensor: str = ""
    seq: int | None = None
    readings: tuple[Reading, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    sent_at: datetime | None = None
    """When the sensor sent it, by its own clock; None where the format or the sensor does not say."""
    receipt: bool = False
    """Whether the sensor asks how far its messages are stored."""


def unit_scale(unit: str, wanted: str) -> float | None:
    """Return by what a value in `unit` is multiplied to be in `wanted`, or None if there is no such number."""
    return 1.0 if unit == wanted else CODES["units"][wanted]["from"].get(unit)


def partition_prefix(number: int) -> str:
    """Return what a broker that divides topics among several ingesters puts in place of :data:`TOPIC_PREFIX`."""
    return f"{PARTITIONED}/{number}"


def readings_topic(sensor: str, form: str = JSON) -> str:
    """Return the topic a sensor publishes its readings on, in one of :data:`FORMATS`.

    Raises:
        ValueError: the id could not be one topic level.
    """
    if not SENSOR_ID.fullmatch(sensor):
        raise ValueError(f"not a sensor id: {sensor!r}")
    return f"{TOPIC_PREFIX}/{sensor}/{form}"


def receipt_topic(sensor: str) -> str:
    """Return the topic on which a sensor is told how far its messages are stored."""
    return readings_topic(sensor, RECEIPT)


def sensor_of(topic: str) -> str | None:
    """Return the sensor id that a topic names, or None if it is no topic of readings."""
    return (sender_of(topic) or (None, ""))[0]


def sender_of(topic: str) -> tuple[str, str] | None:
    """Return the sensor id and the format that a topic names, or None if it is no topic of readings."""
    return _sender_of(topic, FORMATS)


def signal_of(topic: str) -> tuple[str, str] | None:
    """Return the sensor id and the last level of a topic of presence or answers, or None if it is neither."""
    return _sender_of(topic, (PRESENCE, ANSWER))


def _sender_of(topic: str, forms: Collection[str]) -> tuple[str, str] | None:
    match = _TOPIC.fullmatch(topic)
    sensor, form = match.groups() if match else ("", "")
    return (sensor, form) if form in forms and SENSOR_ID.fullmatch(sensor) else None


def parse_time(text: str) -> datetime | None:
    """Return the aware UTC instant of an ISO 8601 text with an offset, or None if it is not one."""
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def reading_identity(sensor: str, reading: Any) -> str:  # noqa: ANN401 - whatever a sensor may have sent
    """Return the SHA-256 that names what a sensor said, the same for sender and receiver.

    Two messages that say the same (`4` and `4.0`, the same instant in another offset) have the same identity; anything
    that is not an object with understandable members is named by its JSON.
    """
    if isinstance(reading, Mapping):
        time, value = reading.get("time"), reading.get("value")
        instant = parse_time(time) if isinstance(time, str) else None
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= SEQ_LIMIT:
            value = float(value)
        reading = dict(reading) | {"time": instant.isoformat() if instant else time, "value": value}
        reading.setdefault("flag", "N")
        if reading.get("kind") == HOUR:  # as where none is named
            del reading["kind"]
    text = json.dumps([sensor, reading], ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def payload_identity(topic: str, payload: bytes) -> str:
    """Return the SHA-256 that names a whole message which could not be read."""
    return hashlib.sha256(topic.encode("utf-8", "backslashreplace") + b"\n" + payload).hexdigest()


UNITS = sorted({*CODES["units"], *(unit for row in CODES["units"].values() for unit in row["from"])})


class ReadingSchema(Schema):
    """A reading as a sensor sends it."""

    time = fields.AwareDateTime(required=True, metadata={"description": "data time, ISO 8601 with offset"})
    factor = fields.String(required=True, validate=validate.OneOf(sorted(FACTORS)))
    value = fields.Float(required=True, allow_none=True, metadata={"description": "null when there is no value"})
    unit = fields.String(required=True, validate=validate.OneOf(UNITS))
    flag = fields.String(load_default="N", validate=validate.OneOf(sorted(FLAGS)))
    kind = fields.String(load_default=HOUR, validate=validate.OneOf(sorted(KIND_NUMBERS)))


class MessageSchema(Schema):
    """A message as a sensor sends it."""

    seq = fields.Integer(required=True, strict=True, validate=validate.Range(1, SEQ_LIMIT))
    sensor = fields.String(metadata={"description": "optional; must be the topic's sensor"})
    receipt = fields.Boolean(metadata={"description": "optional; true asks for a receipt"})
    sent = fields.AwareDateTime(metadata={"description": "optional; when it was sent, by the sensor's own clock"})
    readings = fields.List(fields.Nested(ReadingSchema), required=True, validate=validate.Length(1, READINGS_LIMIT))
