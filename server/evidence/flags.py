"""Discrepancies between what a picture says of itself and what the record says: flags for a person, never a verdict.

A flag blocks nothing. Each has a code and the figures a person needs: minutes apart, metres apart.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from server.evidence.facts import DECODED, NOT_A_PICTURE, UNKNOWN_TYPE, MediaFacts

TIME_TOLERANCE_MINUTES = 10
"""Clocks of handhelds and cameras drift by minutes; more is worth a look."""
POSITION_TOLERANCE_M = 200
"""Satellite fixes in built-up areas are off by tens of metres; more is worth a look."""
SAME_TYPES = {
    "image/heic": "image/heif",
    "image/jpg": "image/jpeg",
    "audio/wave": "audio/wav",
    "audio/x-wav": "audio/wav",
    "audio/vnd.wave": "audio/wav",
    "audio/mp3": "audio/mpeg",
    "audio/m4a": "audio/mp4",
    "audio/x-m4a": "audio/mp4",
    "audio/ogg": "application/ogg",
    "video/ogg": "application/ogg",
    "audio/webm": "video/webm",
    "video/x-m4v": "video/mp4",
}
"""Other names of the same type or container."""
ENTITY_TOLERANCE_M = 500
"""Premises are larger than a satellite fix is wrong."""
EDITORS = (
    "photoshop", "lightroom", "gimp", "snapseed", "picsart", "vsco", "meitu", "美图", "醒图", "facetune", "pixelmator",
    "affinity", "paint.net", "imagemagick", "canva", "acdsee", "luminar", "polarr", "airbrush", "beautycam", "b612",
)  # fmt: skip
"""Parts of the names under which picture editors sign what they save, lower case."""
EARTH_RADIUS_M = 6_371_008.8
"""Mean radius (IUGG)."""
COMPARABLE_DATUMS = ("WGS-84", "WGS84", "CGCS2000")
"""These differ by centimetres. GCJ-02 is hundreds of metres off and is never compared silently."""


@dataclass(frozen=True)
class Place:
    """A position in degrees, with its datum named."""

    lat: float
    lon: float
    datum: str


@dataclass(frozen=True)
class Claims:
    """What the record declares about a file."""

    media_type: str | None = None
    captured_at: datetime | None = None
    place: Place | None = None
    entity_place: Place | None = None
    """Where the inspected entity is, as the register has it."""


@dataclass(frozen=True)
class Flag:
    """One discrepancy: code and figures."""

    code: str
    detail: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"code": self.code, **self.detail}


def compare(facts: MediaFacts, claims: Claims) -> list[Flag]:
    """Return the flags of one file, in a fixed order."""
    flags = []
    if facts.outcome != DECODED and not _is_as_declared(facts, claims):
        flags.append(Flag(facts.outcome, {"found": facts.media_type, "reason": facts.reason or ""}))
    if _is_typed(facts, claims) and claims.media_type and not _agrees(facts, claims):
        flags.append(Flag("type-differs", {"declared": claims.media_type, "found": facts.media_type}))
    if facts.second_type:
        flags.append(Flag("second-type", {"found": facts.media_type, "second": facts.second_type}))
    flags += _compare_time(facts, claims) + _compare_place(facts, claims)
    return flags + _compare_entity(facts, claims) + _hints_of_editing(facts)


def distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return the great-circle distance of two points in metres (haversine on a sphere; within 0.5 %)."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    half = math.sin((phi2 - phi1) / 2) ** 2
    half += math.cos(phi1) * math.cos(phi2) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half)))


def _compare_time(facts: MediaFacts, claims: Claims) -> list[Flag]:
    taken = facts.exif.instant()
    if taken is None or claims.captured_at is None:
        return []
    instant, zone_assumed = taken
    minutes = abs((instant - claims.captured_at).total_seconds()) / 60
    if minutes <= TIME_TOLERANCE_MINUTES:
        return []
    detail = {
        "minutes": round(minutes),
        "exif_at": instant.isoformat(),
        "captured_at": claims.captured_at.isoformat(),
        "zone_assumed": zone_assumed,
    }
    return [Flag("time-differs", detail)]


def _compare_place(facts: MediaFacts, claims: Claims) -> list[Flag]:
    exif = facts.exif
    if exif.lat is None or exif.lon is None or claims.place is None:
        return []
    for datum in (claims.place.datum, exif.datum or "WGS-84"):
        if datum.strip().upper() not in COMPARABLE_DATUMS:
            return [Flag("position-not-comparable", {"datum": datum})]
    metres = distance_m(exif.lat, exif.lon, claims.place.lat, claims.place.lon)
    if metres <= POSITION_TOLERANCE_M:
        return []
    return [Flag("position-differs", {"metres": round(metres), "exif_lat": exif.lat, "exif_lon": exif.lon})]


def _compare_entity(facts: MediaFacts, claims: Claims) -> list[Flag]:
    """Compare with where the entity is, both what the picture says and what the record says."""
    if claims.entity_place is None:
        return []
    exif, found = facts.exif, []
    taken = Place(exif.lat, exif.lon, exif.datum or "WGS-84") if exif.lat is not None and exif.lon is not None else None
    for source, place in (("picture", taken), ("record", claims.place)):
        if place is None or not _comparable(place.datum, claims.entity_place.datum):
            continue
        metres = distance_m(place.lat, place.lon, claims.entity_place.lat, claims.entity_place.lon)
        if metres > ENTITY_TOLERANCE_M:
            found.append(Flag("far-from-entity", {"metres": round(metres), "source": source}))
    return found


def _hints_of_editing(facts: MediaFacts) -> list[Flag]:
    """Hints, no proof: a telephone's own software may write any name, and an editor may write none."""
    software = (facts.exif.software or "").lower()
    if any(editor in software for editor in EDITORS):
        return [Flag("edited", {"software": facts.exif.software})]
    if facts.exif.modified_at and facts.exif.taken_at and facts.exif.modified_at > facts.exif.taken_at:
        return [Flag("edited", {"taken_at": facts.exif.taken_at, "modified_at": facts.exif.modified_at})]
    return []


def _comparable(*datums: str) -> bool:
    return all(datum.strip().upper() in COMPARABLE_DATUMS for datum in datums)


def _is_typed(facts: MediaFacts, claims: Claims) -> bool:
    """Whether there is a type to compare: rarer sound and office formats are not recognised, and that is no finding."""
    if facts.media_type != UNKNOWN_TYPE:
        return True
    return facts.outcome == NOT_A_PICTURE and (claims.media_type or "").lower().startswith("image/")


def _is_as_declared(facts: MediaFacts, claims: Claims) -> bool:
    """Whether it is a recording or document that says it is one: kept as it is, and nothing to tell a person."""
    recognised = facts.outcome == NOT_A_PICTURE and facts.media_type != UNKNOWN_TYPE
    return recognised and not facts.media_type.startswith("image/") and _agrees(facts, claims)


def _agrees(facts: MediaFacts, claims: Claims) -> bool:
    return claims.media_type is not None and _family(claims.media_type) == _family(facts.media_type)


def _family(media_type: str) -> str:
    """Return one name for types that go by several, or that share a container; everything else names itself."""
    media_type = media_type.lower().partition(";")[0].strip()
    return SAME_TYPES.get(media_type, media_type)
