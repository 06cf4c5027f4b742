"""SenML (RFC 8428), as JSON or as CBOR: one pack is one message.

A record's name, behind the base name, is `factor` or `factor/kind`; the base name, if given, must be the sensor's id
with `/` behind it. Two names are ours, since SenML has no word for them: `seq`, the message's number, and `FACTOR/flag`
with a text value, the quality flag of that factor's records. Times are absolute; a pack relative to "now" is refused,
since nobody knows the sensor's now.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2

from iot_ingest.codecs.cbor import read_plain
from iot_ingest.codecs.contract import understand_body
from iot_ingest.codecs.shapes import refuse_whole
from schemas.telemetry import Message
from server.errors import Problem
from server.web.body import parse_json

Json = Any
LABELS = {
    "-1": "bver", "-2": "bn", "-3": "bt", "-4": "bu", "-5": "bv", "-6": "bs",
    "0": "n", "1": "u", "2": "v", "3": "vs", "4": "vb", "5": "s", "6": "t", "7": "ut", "8": "vd",
}  # fmt: skip
"""CBOR's short names (RFC 8428, table 4)."""
ABSOLUTE_FROM_S = 2**28
"""Smaller times are relative (RFC 8428, 4.5.3)."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JSON_STARTS = b"[ \t\r\n"


def understand(topic: str, sensor: str, payload: bytes, received_at: datetime) -> Message:
    """Return the message of a sensor; a refusal of the whole is a message without readings."""
    try:
        pack = parse_json(payload) if payload[:1] in JSON_STARTS else read_plain(payload)
        body = _body(pack, sensor)
    except Problem as problem:
        return refuse_whole(topic, payload, received_at, "malformed-json", problem.detail, sensor=sensor)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        return refuse_whole(topic, payload, received_at, "malformed-senml", str(error)[:100], sensor=sensor)
    return understand_body(topic, payload, received_at, sensor, body)


def _body(pack: Json, sensor: str) -> Json:
    """Return a pack in the contract's shape.

    Raises:
        ValueError: it is no pack.
    """
    if not isinstance(pack, list) or not all(isinstance(record, dict) for record in pack):
        raise ValueError("a pack is a list of records")
    base: dict[str, Json] = {}
    body: dict[str, Json] = {"readings": []}
    flags: dict[str, Json] = {}
    for short_record in pack:
        record = {LABELS.get(name, name): value for name, value in short_record.items()}
        base |= {name: value for name, value in record.items() if name in ("bn", "bt", "bu", "bv")}
        if "n" not in record and not record.keys() & {"v", "vs", "vb"}:
            continue
        name = record.get("n", "")
        if not isinstance(name, str):
            raise ValueError("a name that is no text")
        if name == "seq":
            body["seq"] = _whole(record.get("v"))
        elif name.endswith("/flag"):
            flags[name.removesuffix("/flag")] = record.get("vs")
        else:
            body["readings"].append(_reading(name, record, base))
    if "bn" in base:
        body["sensor"] = base["bn"].removesuffix("/") if isinstance(base["bn"], str) else base["bn"]
        if body["sensor"].endswith(f":{sensor}") if isinstance(body["sensor"], str) else False:
            body["sensor"] = sensor  # urn:dev:…:id, RFC 9039
    for reading in body["readings"]:
        if reading["factor"] in flags:
            reading["flag"] = flags[reading["factor"]]
    return body


def _reading(name: str, record: Mapping[str, Json], base: Mapping[str, Json]) -> dict[str, Json]:
    factor, _, kind = name.partition("/")
    reading = {"factor": factor, "time": _time(_sum(base.get("bt"), record.get("t")))}
    reading["unit"] = record.get("u", base.get("bu"))
    reading["value"] = _sum(base.get("bv"), record.get("v")) if "v" in record or "bv" in base else record.get("vs")
    return reading | ({"kind": kind} if kind else {})


def _sum(base: Json, own: Json) -> Json:
    """Return base plus own value where both are numbers; whatever is no number is left for the reading's refusal."""
    if base is None or own is None:
        return own if base is None else base
    if all(isinstance(part, int | float) and not isinstance(part, bool) for part in (base, own)):
        return base + own
    return own


def _whole(value: Json) -> Json:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _time(seconds: Json) -> Json:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < ABSOLUTE_FROM_S:
        return seconds
    try:
        return (EPOCH + timedelta(microseconds=round(seconds * 1_000_000))).isoformat()
    except OverflowError:
        return seconds
