"""CBOR (RFC 8949) in the same shape as the JSON message: a map with `seq` and `readings`."""

import math
from datetime import datetime
from io import BytesIO
from typing import Any

import cbor2

from iot_ingest.codecs.contract import understand_body
from iot_ingest.codecs.shapes import refuse_whole
from schemas.telemetry import Message

DEPTH_LIMIT = 8


class NotPlain(ValueError):
    """something that JSON has no word for"""


def understand(topic: str, sensor: str, payload: bytes, received_at: datetime) -> Message:
    """Return the message of a sensor; a refusal of the whole is a message without readings."""
    try:
        body = read_plain(payload)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        return refuse_whole(topic, payload, received_at, "malformed-cbor", type(error).__name__, sensor=sensor)
    return understand_body(topic, payload, received_at, sensor, body)


def read_plain(payload: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return what CBOR bytes say, as JSON values.

    Raises:
        cbor2.CBORError: not CBOR, or something behind it.
        ValueError: a value that JSON does not have (bytes, NaN, a tag), or too deep nesting.
    """
    source = BytesIO(payload)
    decoder = cbor2.CBORDecoder(source, max_depth=DEPTH_LIMIT, allow_duplicate_keys=False)
    value = decoder.decode()
    if source.tell() != len(payload):
        raise NotPlain("something behind the message")
    return _plain(value, DEPTH_LIMIT)


def _plain(value: Any, depth: int) -> Any:  # noqa: ANN401 - any value in, any JSON value out
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NotPlain("not a finite number")
        return value
    if depth == 0:
        raise NotPlain("nested too deep")
    if isinstance(value, list):
        return [_plain(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_name(name): _plain(item, depth - 1) for name, item in value.items()}
    raise NotPlain(type(value).__name__)


def _name(name: object) -> str:
    """Return a member's name; the numbers of SenML's short form become texts."""
    if isinstance(name, int) and not isinstance(name, bool):
        return str(name)
    if not isinstance(name, str):
        raise NotPlain("a member name that is no text")
    return name
