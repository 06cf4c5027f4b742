"""Whether an understood reading may count: the one place that decides validity. Pure.

An invalid reading is stored with its reason and never becomes a basis for an exceedance.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.telemetry import COUNTING_FLAGS, HOUR, Reading

FUTURE_TOLERANCE = timedelta(minutes=10)
"""How far a sensor's clock may run ahead of the platform's."""
CLOCK_TOLERANCE_MS = FUTURE_TOLERANCE // timedelta(milliseconds=1)
"""How far it may do so when it says what time it has."""
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Data times before this are a reset clock (1970, 1980), not history."""


UNBELIEVABLE_TIMES = frozenset({"in-the-future", "too-old"})
"""Reasons that say that a data time is no time to go by."""


@dataclass(frozen=True, slots=True)
class Range:
    """Measuring range of a channel, in the factor's unit, both ends included."""

    low: float
    high: float
    scale: float = 1.0
    """Turns a value in the channel's own unit into the factor's."""
    told: tuple[float, float] | None = None
    """The range as registered, where it reaches beyond what the factor can be at all."""


def invalid_reason(reading: Reading, believed: Range, received_at: datetime) -> str | None:
    """Return why a reading must not count, or None if it is valid.

    Args:
        reading: the reading, its value in the factor's unit.
        believed: the measuring range of the sensor's channel.
        received_at: when the platform received it, aware UTC.

    Returns:
        A key of `CODES["invalid_reasons"]`; the most basic reason wins, so that it does not depend on the rest.
    """
    if reading.value is None:
        return "missing"
    if reading.flag not in COUNTING_FLAGS:
        return "flagged"
    if reading.at > received_at + FUTURE_TOLERANCE:
        return "in-the-future"
    if reading.at < EARLIEST:
        return "too-old"
    if reading.kind == HOUR and (reading.at.minute or reading.at.second or reading.at.microsecond):
        return "off-the-hour"
    if believed.low <= reading.value <= believed.high:
        return None
    low, high = believed.told or (believed.low, believed.high)
    if low <= reading.value <= high:
        return "impossible"
    return "below-range" if reading.value < low else "above-range"
