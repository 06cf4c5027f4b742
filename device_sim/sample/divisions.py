"""Administrative divisions of Hubei down to township, and a synthetic WGS-84 point for each township.

The points are not real: each lies within `TOWNSHIP_RADIUS_KM` of its city's centre, in a direction and at a distance
drawn from a hash of its code. The 17 city centres come from echarts@4.9.0 `map/json/province/hubei.json` (`cp`).
That file does not name its datum; since the points are synthetic anyway they are declared WGS-84.
"""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from device_sim.sample.reading import SkipReport, clean_text

TOWNSHIP_RADIUS_KM = 15.0
KM_PER_DEGREE = 111.32
"""Kilometres in one degree of latitude, near enough for a synthetic offset."""


@dataclass(frozen=True, slots=True)
class Point:
    """A position in WGS-84 degrees, to six decimals."""

    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Township:
    """A township: nine-digit code, full name from the city down, six-digit county code, synthetic point."""

    code: str
    full_name: str
    county_code: str
    point: Point


def unit_interval(*parts: str) -> float:
    """A number in [0, 1) that depends only on the given texts (the first 64 bits of their SHA-256)."""
    digest = hashlib.sha256("\n".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def offset_point(centre: Point, radius_km: float, *key: str) -> Point:
    """A point spread evenly over the disc of `radius_km` around `centre`, fixed by `key`."""
    distance_km = radius_km * math.sqrt(unit_interval("distance", *key))
    angle = 2 * math.pi * unit_interval("angle", *key)
    latitude = centre.latitude + distance_km * math.sin(angle) / KM_PER_DEGREE
    longitude = centre.longitude + distance_km * math.cos(angle) / (KM_PER_DEGREE * math.cos(math.radians(latitude)))
    return Point(round(latitude, 6), round(longitude, 6))


@dataclass(frozen=True)
class Divisions:
    """The division table: code -> (name, level, parent code), and the named city centres."""

    rows: dict[str, tuple[str, str, str]]
    centres: dict[str, Point]

    @cached_property
    def townships(self) -> tuple[Township, ...]:
        """All townships whose county and city are known and whose city has a centre, by code."""
        return tuple(
            township
            for code in sorted(self.rows)
            if self.rows[code][1] == "township" and (township := self._township(code)) is not None
        )

    def _township(self, code: str) -> Township | None:
        name, _, county_code = self.rows[code]
        county = self.rows.get(county_code)
        if county is None:
            return None
        city = self.rows.get(county[2])
        if city is not None and city[0] in self.centres:
            full_name, centre = f"{city[0]}{county[0]}{name}", self.centres[city[0]]
        elif county[0] in self.centres:
            # 仙桃, 潜江, 天门 and 神农架 stand directly under the province: the county is its own city.
            full_name, centre = f"{county[0]}{name}", self.centres[county[0]]
        else:
            return None
        return Township(code, full_name, county_code, offset_point(centre, TOWNSHIP_RADIUS_KM, code))

    def township_for(self, key: str) -> Township:
        """The township that `key` falls on: a hash of the key spread evenly over all townships.

        Raises `LookupError` when the table has no usable township.
        """
        if not self.townships:
            raise LookupError("the division table has no township below a known city")
        return self.townships[int(unit_interval("township", key) * len(self.townships))]


def read_divisions(path: Path, report: SkipReport) -> dict[str, tuple[str, str, str]]:
    """The rows of a division CSV (`code,name,level,parent_code`) as code -> (name, level, parent code)."""
    rows: dict[str, tuple[str, str, str]] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream), start=2):
            code, name, level = (clean_text(row.get(column), 80) for column in ("code", "name", "level"))
            if not code.isdecimal() or not name or not level:
                report.add(path.name, number, "division-incomplete")
            elif code in rows:
                report.add(path.name, number, "division-twice")
            else:
                rows[code] = (name, level, clean_text(row.get("parent_code"), 80))
    return rows


def read_centres(path: Path) -> dict[str, Point]:
    """City name -> centre, from the shipped `city_centres.csv`."""
    with path.open(encoding="utf-8", newline="") as stream:
        return {row["name"]: Point(float(row["latitude"]), float(row["longitude"])) for row in csv.DictReader(stream)}
