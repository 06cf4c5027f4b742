"""Reader of real inspection histories: one business a line as JSON, with its inspections and their violations.

The shape is that of San Mateo County's open data as compiled in bramp/projects. Other files of the same kind are
expected to be irregular, so every field is optional except an id, a readable date and a violation's text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from device_sim.sample.reading import SkipReport, clean_text, gzip_lines

INSPECTIONS_PER_BUSINESS_LIMIT = 1_000
VIOLATIONS_PER_INSPECTION_LIMIT = 200
EARLIEST = date(1990, 1, 1)
"""Older dates are taken for errors of the source."""

_DATE_FORMATS = ("%Y-%m-%d", "%Y/%m/%d", "%Y%m%d", "%m/%d/%Y", "%d.%m.%Y")
_ISO_WITH_TIME = re.compile(r"^(\d{4}-\d{2}-\d{2})[T ]")


@dataclass(frozen=True, slots=True)
class RealViolation:
    """One violation: the item's text as published, its severity (lower case, None when not given) and status."""

    item: str
    severity: str | None
    status: str


@dataclass(frozen=True, slots=True)
class RealInspection:
    """One visit or office entry: its day, the reason and result as published, and its violations."""

    day: date
    reason: str
    result: str
    violations: tuple[RealViolation, ...]


@dataclass(frozen=True, slots=True)
class RealBusiness:
    """One business with its history, oldest inspection first. Latitude and longitude are WGS-84 degrees or None."""

    source_id: str
    name: str
    address: str
    city: str
    latitude: float | None
    longitude: float | None
    inspections: tuple[RealInspection, ...]


def parse_day(value: object) -> date | None:
    """The calendar day of a foreign date in one of the usual notations, or None."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    with_time = _ISO_WITH_TIME.match(text)
    if with_time:
        text = with_time.group(1)
    for pattern in _DATE_FORMATS:
        try:
            return datetime.strptime(text, pattern).date()  # noqa: DTZ007 - a calendar day has no zone
        except ValueError:
            continue
    return None


def _coordinate(value: object, limit: float) -> float | None:
    """A finite number within ±`limit`; None for anything else, and for a JSON number that is really a bool."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) > limit:
        return None
    return float(value) if math.isfinite(value) and abs(value) <= limit else None


def _position(row: dict[str, object]) -> tuple[float | None, float | None]:
    """Both coordinates, or neither: the source writes (0, 0) for a place it does not know."""
    latitude, longitude = _coordinate(row.get("lat"), 90), _coordinate(row.get("lon"), 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _violations(value: object, where: tuple[str, int], report: SkipReport) -> tuple[RealViolation, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        report.add(*where, "violations-not-a-list")
        return ()
    found: dict[str, RealViolation] = {}
    for entry in value[:VIOLATIONS_PER_INSPECTION_LIMIT]:
        fields = entry if isinstance(entry, dict) else {"item": entry}
        item = clean_text(fields.get("item")).strip("\"' ")
        if not item:
            report.add(*where, "violation-without-text")
        elif item in found:
            report.add(*where, "violation-twice")
        else:
            severity = clean_text(fields.get("severity")).lower() or None
            found[item] = RealViolation(item, severity, clean_text(fields.get("status")).lower())
    if len(value) > VIOLATIONS_PER_INSPECTION_LIMIT:
        report.add(*where, "too-many-violations")
    return tuple(found.values())


def _inspections(value: object, latest: date, where: tuple[str, int], report: SkipReport) -> tuple[RealInspection, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        report.add(*where, "inspections-not-a-list")
        return ()
    if len(value) > INSPECTIONS_PER_BUSINESS_LIMIT:
        report.add(*where, "too-many-inspections")
    found: list[RealInspection] = []
    for entry in value[:INSPECTIONS_PER_BUSINESS_LIMIT]:
        if not isinstance(entry, dict):
            report.add(*where, "inspection-not-an-object")
            continue
        day = parse_day(entry.get("date"))
        if day is None:
            report.add(*where, "inspection-date-unreadable")
        elif not EARLIEST <= day <= latest:
            report.add(*where, "inspection-date-out-of-range")
        else:
            violations = _violations(entry.get("violations"), where, report)
            reason, result = clean_text(entry.get("reason")), clean_text(entry.get("result")).lower()
            found.append(RealInspection(day, reason, result, violations))
    found.reverse()  # files list the newest first; the stable sort then keeps the order within one day
    return tuple(sorted(found, key=lambda inspection: inspection.day))


def read_businesses(path: Path, latest: date, report: SkipReport, known_ids: set[str]) -> Iterator[RealBusiness]:
    """The businesses of one `*.jsonl.gz`, in file order; ids already in `known_ids` are skipped as duplicates.

    `latest` is the newest believable inspection day. What cannot be used is counted in `report`; nothing is raised
    for content.
    """
    for number, line in gzip_lines(path, report):
        where = (path.name, number)
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            report.add(*where, "not-json")
            continue
        if not isinstance(row, dict):
            report.add(*where, "not-an-object")
            continue
        raw_id = row.get("id")
        source_id = clean_text(str(raw_id) if isinstance(raw_id, int) and not isinstance(raw_id, bool) else raw_id, 80)
        if not source_id:
            report.add(*where, "business-without-id")
        elif source_id in known_ids:
            report.add(*where, "business-twice")
        else:
            known_ids.add(source_id)
            latitude, longitude = _position(row)
            yield RealBusiness(
                source_id, clean_text(row.get("name")), clean_text(row.get("address")), clean_text(row.get("city")),
                latitude, longitude, _inspections(row.get("inspections"), latest, where, report),
            )  # fmt: skip
