"""Administrative divisions of Hubei down to township (GB/T 2260 and 10114), and the centres of its cities, as data."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

PROVINCE = "420000"


@dataclass(frozen=True, slots=True)
class Division:
    """One division: its code (six digits, nine for a township), name, level and the code above it."""

    code: str
    name: str
    level: str
    parent: str


@cache
def divisions() -> Mapping[str, Division]:
    """Return all divisions by code."""
    rows = csv.DictReader(_lines("hubei_divisions.csv"))
    found = (Division(row["code"], row["name"], row["level"], row["parent_code"]) for row in rows)
    return {division.code: division for division in found}


@cache
def city_centres() -> Mapping[str, tuple[float, float]]:
    """Return latitude and longitude of each city's centre by name; no datum is known, so they are for samples only."""
    rows = csv.DictReader(_lines("city_centres.csv"))
    return {row["name"]: (float(row["latitude"]), float(row["longitude"])) for row in rows}


def townships() -> Iterator[Division]:
    """Return the townships in order of their codes."""
    return (division for _, division in sorted(divisions().items()) if division.level == "township")


def path_of(code: str) -> tuple[Division, ...]:
    """Return a division with those above it, the province first; empty for an unknown code."""
    found: list[Division] = []
    known = divisions().get(code)
    while known is not None and len(found) < 8:
        found.append(known)
        known = divisions().get(known.parent)
    return tuple(reversed(found))


def full_name(code: str) -> str:
    """Return the name of a division with those above it; the code itself for an unknown one."""
    return "".join(division.name for division in path_of(code)) or code


def check_known_region(code: str) -> str | None:
    """Reason why a code is no division of the province, or None."""
    if code not in divisions():
        return "行政区划代码不在湖北省区划表中 / not in the table of Hubei's divisions"
    return None


def _lines(name: str) -> list[str]:
    return (files(__name__) / name).read_text("utf-8-sig").splitlines()
