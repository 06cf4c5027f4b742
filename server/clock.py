"""Time for the server: one injectable source, so that a simulation or a test decides what time it is."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Protocol

CHINA = timezone(timedelta(hours=8))
"""China has one time zone and no summer time since 1992."""


class Clock(Protocol):
    """Anything that tells the present time."""

    def now(self) -> datetime:
        """Return the present instant, timezone-aware, in UTC."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""
        return datetime.now(UTC)


def to_ms(instant: datetime) -> int:
    """Return Unix time in whole milliseconds of an aware instant."""
    return round(instant.timestamp() * 1000)


def from_ms(unix_ms: int) -> datetime:
    """Return the aware UTC instant of a Unix time in milliseconds."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC)
