"""Validity: which understood readings may count, and why the others may not."""

from datetime import UTC, datetime, timedelta

import pytest

from schemas.telemetry import CODES, Reading
from server.telemetry.registry import as_range
from server.telemetry.validation import FUTURE_TOLERANCE, Range, invalid_reason

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
BELIEVED = Range(0, 1000)


def reading(value: float | None = 5.0, flag: str = "N", at: datetime = NOW) -> Reading:
    """A reading of SO2."""
    return Reading(at, "SO2", value, "ug/m3", flag)


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (reading(), None),
        (reading(0.0), None),
        (reading(1000.0), None),
        (reading(None, "D"), "missing"),
        (reading(None), "missing"),
        (reading(flag="D"), "flagged"),
        (reading(flag="S"), "flagged"),
        (reading(-0.1), "below-range"),
        (reading(1000.1), "above-range"),
        (reading(at=NOW + timedelta(hours=1)), "in-the-future"),
        (reading(at=datetime(1970, 1, 1, tzinfo=UTC)), "too-old"),
        (reading(at=NOW - timedelta(minutes=1)), "off-the-hour"),
        (reading(at=NOW - timedelta(microseconds=1)), "off-the-hour"),
    ],
)
def test_reason(sample: Reading, expected: str | None) -> None:
    """Each fault has its reason, and each reason a name; the ends of the range are inside."""
    assert invalid_reason(sample, BELIEVED, NOW) == expected
    assert expected is None or CODES["invalid_reasons"][expected]["zh"]


def test_what_cannot_be_is_no_measurement() -> None:
    """A channel may be registered with a wider range than nature: then the value is impossible, not out of range."""
    wide = as_range("pH", {"low": -2.0, "high": 20.0})
    reasons = [invalid_reason(reading(value), wide, NOW) for value in (-3.0, -0.5, 0.0, 14.0, 14.5, 21.0)]
    assert reasons == ["below-range", "impossible", None, None, "impossible", "above-range"]
    assert as_range("pH", {"low": 5.0, "high": 9.0}) == Range(5.0, 9.0)
    assert CODES["invalid_reasons"]["impossible"]["zh"]


def test_a_clock_may_run_ahead_a_little() -> None:
    """The tolerance itself is still believed, more is not."""
    received = NOW - FUTURE_TOLERANCE
    assert invalid_reason(reading(), BELIEVED, received) is None
    assert invalid_reason(reading(), BELIEVED, received - timedelta(seconds=1)) == "in-the-future"
