"""Which decisions are major, and which recordings a behavior needs: criteria as data over the national fields. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from importlib.resources import files
from typing import Any

from schemas.field_rules import FORMS

Content = Mapping[str, Any]


@dataclass(frozen=True)
class Condition:
    """Holds where a field has one of some codes, or is an amount of at least so much."""

    field: str
    any_of: tuple[str, ...] = ()
    at_least: Decimal | None = None

    def holds(self, content: Content) -> bool:
        """Whether the content meets it; a field that is absent meets nothing."""
        value = content.get(self.field)
        if value is None:
            return False
        if self.at_least is not None:
            try:
                return Decimal(str(value)) >= self.at_least
            except InvalidOperation:
                return False
        return not {*(value if isinstance(value, list) else (value,))}.isdisjoint(self.any_of)


@dataclass(frozen=True)
class Criterion:
    """Why a decision is major."""

    code: str
    kind: str
    zh: str
    en: str
    when: tuple[Condition, ...]


@dataclass(frozen=True)
class Recording:
    """A scene that must be on record, in one of some forms, before a behavior of a kind may close."""

    scene: str
    kind: str
    zh: str
    en: str
    when: tuple[Condition, ...]
    forms: tuple[str, ...]

    def shown_by(self, media_type: str) -> bool:
        """Whether a file of a media type can show the scene."""
        return media_type.startswith(tuple(prefix for form in self.forms for prefix in FORMS[form]))


def criteria_met(kind: str, content: Content) -> list[Criterion]:
    """Return why a decision of a kind is major; empty when it is not."""
    return [one for one in major_criteria() if one.kind == kind and _all_hold(one.when, content)]


def recordings_needed(kind: str, content: Content) -> list[Recording]:
    """Return the scenes that a behavior with this content must have on record."""
    return [one for one in required_recordings() if one.kind == kind and _all_hold(one.when, content)]


@cache
def major_criteria() -> tuple[Criterion, ...]:
    """All criteria of major decisions."""
    rows = _read("major_decisions.json")["criteria"]
    return tuple(Criterion(row["code"], row["kind"], row["zh"], row["en"], _conditions(row["when"])) for row in rows)


@cache
def required_recordings() -> tuple[Recording, ...]:
    """All scenes that must be on record."""
    rows = _read("required_recordings.json")["recordings"]
    return tuple(
        Recording(row["scene"], row["kind"], row["zh"], row["en"], _conditions(row["when"]), tuple(row["forms"]))
        for row in rows
    )


@cache
def publication_days() -> Mapping[str, int]:
    """Working days within which each kind is published."""
    days: Mapping[str, int] = _read("publication.json")["working_days"]
    return days


def _conditions(rows: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    return tuple(
        Condition(row["field"], tuple(row.get("any_of", ())), Decimal(row["at_least"]) if "at_least" in row else None)
        for row in rows
    )


def _all_hold(conditions: Sequence[Condition], content: Content) -> bool:
    return all(one.holds(content) for one in conditions)


def _read(name: str) -> Any:  # noqa: ANN401 - a JSON document
    return json.loads((files("server.behaviors") / "data" / name).read_text("utf-8"))
