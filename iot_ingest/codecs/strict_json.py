"""Strict JSON, looked at with all care: the contract's own format (`schemas.telemetry`)."""

from datetime import datetime

from iot_ingest.codecs.contract import understand_body
from iot_ingest.codecs.shapes import refuse_whole
from schemas.telemetry import Message
from server.errors import Problem
from server.web.body import parse_json


def understand(topic: str, sensor: str, payload: bytes, received_at: datetime) -> Message:
    """Return the message of a sensor; a refusal of the whole is a message without readings."""
    try:
        body = parse_json(payload)
    except Problem as problem:
        return refuse_whole(topic, payload, received_at, "malformed-json", problem.detail, sensor=sensor)
    return understand_body(topic, payload, received_at, sensor, body)
