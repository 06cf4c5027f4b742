"""The common JSON message, understood in about two microseconds; whatever is not common is left to `strict_json`.

msgspec decodes and checks types at once, but takes the last of two members of one name, where the contract refuses the
message. So the members in the bytes are counted and must be as many as were understood: a repeated one, or a text that
only looks like one, sends the message the careful way. What is returned is what `strict_json` would have returned.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import UNSET, Struct, UnsetType

from schemas.telemetry import FACTORS, FLAGS, HOUR, READINGS_LIMIT, SEQ_LIMIT, Factor, Message, Reading, parse_time

TIMES_LIMIT = 20_000
"""Most time texts remembered."""
MEMBER = b'":'
"""What stands behind each member's name, unless there is a space."""


class _Item(Struct, forbid_unknown_fields=True):
    time: str
    factor: str
    value: float | None
    unit: str
    flag: str


class _Body(Struct, forbid_unknown_fields=True):
    seq: int
    readings: list[_Item]
    sensor: str | UnsetType = UNSET
    receipt: bool | UnsetType = UNSET


class _Times(dict[str, datetime | None]):
    """Remembers what time texts mean: the sensors of a platform speak of the same hours and minutes."""

    def __missing__(self, text: str) -> datetime | None:
        if len(self) >= TIMES_LIMIT:
            self.clear()
        instant = self[text] = parse_time(text)
        return instant


_decode = msgspec.json.Decoder(_Body).decode
_times = _Times()
_UNITS: Mapping[str, tuple[Factor, str]] = {code: (factor, factor.unit) for code, factor in FACTORS.items()}


def understand(topic: str, sensor: str, payload: bytes, received_at: datetime) -> Message | None:
    """Return the message of a sensor, or None if it needs a careful look."""
    try:
        body = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    items, seq = body.readings, body.seq
    members = 2 + 5 * len(items)
    if body.sensor is not UNSET:
        if body.sensor != sensor:
            return None
        members += 1
    receipt = False
    if body.receipt is not UNSET:
        receipt = body.receipt
        members += 1
    if payload.count(MEMBER) != members or not 0 < len(items) <= READINGS_LIMIT or not 1 <= seq <= SEQ_LIMIT:
        return None
    readings = []
    for item in items:
        known, at = _UNITS.get(item.factor), _times[item.time]
        if known is None or at is None or item.unit != known[1] or item.flag not in FLAGS:
            return None
        readings.append(Reading(at, item.factor, item.value, item.unit, item.flag, HOUR))
    return Message(topic, payload, received_at, sensor, seq, tuple(readings), (), None, receipt)
