"""Judging a reading of a registered channel: its unit, its clock, and the periods in which nothing counts. Pure."""

from datetime import datetime

import msgspec

from schemas.telemetry import CHANNEL_UNIT, FACTORS, Message, Reading
from server.db.base import micros
from server.telemetry.registry import SensorEntry
from server.telemetry.validation import CLOCK_TOLERANCE_MS, Range, invalid_reason

MILLISECOND_US = 1_000
SKEW_LIMIT_MS = 2**31 - 1


def in_factor_unit(reading: Reading, channel: Range) -> Reading:
    """Return a reading with its value in the factor's unit, if its format left the unit to the channel."""
    if reading.unit != CHANNEL_UNIT:
        return reading
    value = reading.value if reading.value is None else reading.value * channel.scale
    return msgspec.structs.replace(reading, value=value, unit=FACTORS[reading.factor].unit)


def skew_ms(message: Message) -> int | None:
    """Return by how much the sensor's clock lay behind ours when it sent a message, or None if it did not say.

    The way to us counts as skew too: a message that was kept for a day looks like a clock that is a day behind. Only a
    clock that runs ahead is told for certain.
    """
    if message.sent_at is None:
        return None
    behind = (micros(message.received_at) - micros(message.sent_at)) // MILLISECOND_US
    return max(-SKEW_LIMIT_MS, min(SKEW_LIMIT_MS, behind))


def judge(sensor: SensorEntry, reading: Reading, received_at: datetime, behind_ms: int | None) -> str | None:
    """Return why a reading must not count, or None if it is valid; its value is in the factor's unit."""
    reason = invalid_reason(reading, sensor.channels[reading.factor], received_at)
    if reason is not None:
        return reason
    if behind_ms is not None and behind_ms < -CLOCK_TOLERANCE_MS:
        return "clock-ahead"
    if sensor.periods:
        at = micros(reading.at)
        for why, begins, ends in sensor.periods:
            if begins <= at < ends:
                return why
    return None
