"""What the examination of a file's bytes found: content type, decoding, EXIF. Pure data and its JSON form."""

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

LOCAL_ZONE = timezone(timedelta(hours=8), "CST")
"""Zone of EXIF times that name none: China has one (EXIF 2.3 and older have no offset field)."""

DECODED = "decoded"
UNDECODABLE = "undecodable"
BOMB = "decompression-bomb"
NOT_A_PICTURE = "not-a-picture"
UNKNOWN_TYPE = "application/octet-stream"
OUTCOMES = (DECODED, UNDECODABLE, BOMB, NOT_A_PICTURE)


@dataclass(frozen=True)
class Exif:
    """The EXIF members that are compared or shown; None where the file has none or it makes no sense."""

    taken_at: str | None = None
    """Local time of capture, ISO 8601 without zone."""
    utc_offset: str | None = None
    """Zone of `taken_at` as `+08:00`."""
    lat: float | None = None
    lon: float | None = None
    """WGS-84 degrees."""
    datum: str | None = None
    """GPSMapDatum as written."""
    make: str | None = None
    model: str | None = None
    software: str | None = None
    modified_at: str | None = None
    """When the file was last changed, if that is not when it was taken; local time."""
    orientation: int | None = None
    """1 to 8, as EXIF counts them."""

    def instant(self) -> tuple[datetime, bool] | None:
        """Return the aware instant of capture, and whether its zone had to be assumed; None without a usable time."""
        if self.taken_at is None:
            return None
        try:
            local = datetime.fromisoformat(self.taken_at)
            if local.tzinfo is not None:
                return local, False
            if self.utc_offset is None:
                return local.replace(tzinfo=LOCAL_ZONE), True
            return datetime.fromisoformat(f"{self.taken_at}{self.utc_offset}"), False
        except ValueError:
            return None


@dataclass(frozen=True)
class MediaFacts:
    """The result of one examination."""

    outcome: str
    """One of :data:`OUTCOMES`."""
    media_type: str
    """By content; :data:`UNKNOWN_TYPE` if nothing is recognised."""
    reason: str | None = None
    """Why it did not decode."""
    width: int | None = None
    height: int | None = None
    """Pixels, before orientation is applied."""
    exif: Exif = Exif()
    phash: str | None = None
    """Perceptual hash, 16 hex digits; None for what is no picture, or too flat a one."""
    second_type: str | None = None
    """Another format that the same bytes pass for."""

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


def facts_from_json(value: dict[str, Any]) -> MediaFacts:
    """Return facts from their JSON form.

    Raises:
        TypeError, KeyError: it is not one.
    """
    return MediaFacts(**{**value, "exif": Exif(**value["exif"])})
