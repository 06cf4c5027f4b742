"""What all formats share: the promise of a codec, and how refusals are made."""

import json
from datetime import datetime
from typing import Any

from schemas.telemetry import TEXT_LIMIT_CHARS, Message, Refusal, payload_identity, reading_identity

Json = Any


class Refused(Exception):
    """One reading cannot be understood; carries the reason's code and a detail."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def refuse_reading(sensor: str, item: Json, reason: str, detail: str = "") -> Refusal:
    """Return the refusal of one reading given as its JSON value."""
    text = json.dumps(item, ensure_ascii=False, separators=(",", ":"))
    known = item if isinstance(item, dict) else {}
    return Refusal(
        reason=reason,
        detail=detail,
        payload=text.encode(),
        identity=reading_identity(sensor, item),
        factor=short(known.get("factor", "")),
        time=short(known.get("time", "")),
    )


def refuse_whole(
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
    """Return the refusal of a whole delivery that stands for `readings` of them."""
    refusal = Refusal(reason, detail, payload, payload_identity(topic, payload), readings)
    return Message(topic, payload, received_at, sensor, seq, (), (refusal,))


def short(value: Json) -> str:
    """Return a value as text, cut to what a dead letter keeps."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:TEXT_LIMIT_CHARS]
