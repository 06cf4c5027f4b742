"""Working days in China: a calendar as data, with public holidays and the make-up Saturdays and Sundays.

A year enters `workdays.json` when its notice is out. In a year that is not there every weekday from Monday to Friday
counts as a working day; a deadline that crosses such a year is marked provisional.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

MAX_WORKING_DAYS = 500
"""Longest deadline that is counted."""
DAY = timedelta(days=1)
SATURDAY = 5


@dataclass(frozen=True, slots=True)
class Deadline:
    """The last day of a period, and whether it crosses a year whose holidays are not known yet."""

    day: date
    provisional: bool


@dataclass(frozen=True)
class Calendar:
    """Which days deviate from the plain week: days off on weekdays, and work on weekends, by year."""

    years: frozenset[int]
    holidays: frozenset[date]
    workdays: frozenset[date]

    def is_working_day(self, day: date) -> bool:
        """Whether people work on a day; for a year without an entry, whether it is a weekday."""
        return day in self.workdays or (day.weekday() < SATURDAY and day not in self.holidays)

    def deadline(self, start: date, working_days: int) -> Deadline:
        """Return the last of so many working days, counted from the day after `start`.

        Raises:
            ValueError: for fewer than none or more than :data:`MAX_WORKING_DAYS`.
        """
        if not 0 <= working_days <= MAX_WORKING_DAYS:
            raise ValueError(f"0 to {MAX_WORKING_DAYS} working days can be counted")
        day, left, provisional = start, working_days, False
        while left:
            day += DAY
            provisional = provisional or day.year not in self.years
            left -= self.is_working_day(day)
        return Deadline(day, provisional)


def parse_calendar(document: Mapping[str, Any]) -> Calendar:
    """Build a calendar from its JSON document; a span is written `first/last`.

    Raises:
        ValueError: a day stands under another year, a holiday is also a make-up day, or a make-up day is a weekday.
    """
    holidays: set[date] = set()
    workdays: set[date] = set()
    for year, entry in document["years"].items():
        off = {day for text in entry["holidays"] for day in _span(text)}
        on = {day for text in entry["workdays"] for day in _span(text)}
        if {day.year for day in off | on} != {int(year)} or off & on or any(day.weekday() < SATURDAY for day in on):
            raise ValueError(f"working-day calendar: the year {year} contradicts itself")
        holidays |= off
        workdays |= on
    return Calendar(frozenset(map(int, document["years"])), frozenset(holidays), frozenset(workdays))


def _span(text: str) -> list[date]:
    first, _, last = text.partition("/")
    start = date.fromisoformat(first)
    return [start + n * DAY for n in range((date.fromisoformat(last or first) - start).days + 1)]


@cache
def calendar() -> Calendar:
    """The calendar that is shipped."""
    return parse_calendar(json.loads((files("schemas") / "workdays.json").read_text("utf-8")))
