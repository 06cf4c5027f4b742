"""The state of one record: a multi-value register per field, joined by set union alone.

Every act is turned into a small state of its own (:func:`state_of`); merging is :func:`join`, which is a union of
entries and a union of superseded dots and therefore commutative, associative and idempotent by construction. What a
reader sees are the live values: entries that no act has superseded. Nothing else ever removes a value.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sync.dots import Dot

Json = Any
"""A decoded JSON value."""

DELETED = "_deleted"
"""Pseudo-field that holds the live deletions of a record. The value of one is the list of the dots it covers: those it
had seen. A deletion hides what it covers and supersedes nothing but earlier deletions, so that a record which people
decide to keep is whole again, and not reduced to the one field that somebody edited meanwhile."""


class Live(NamedTuple):
    """A value with the dot of the act that wrote it and its corrected time, stamped once at acceptance."""

    dot: Dot
    value: Json
    at_ms: int


@dataclass(frozen=True)
class RecordState:
    """Entries per field and dot, and the dots superseded per field."""

    entries: Mapping[str, Mapping[Dot, Live]] = field(default_factory=dict)
    superseded: Mapping[str, frozenset[Dot]] = field(default_factory=dict)

    def live(self, name: str) -> tuple[Live, ...]:
        """Return the live values of a field, ordered by dot."""
        gone = self.superseded.get(name, frozenset())
        return tuple(sorted((e for dot, e in self.entries.get(name, {}).items() if dot not in gone), key=_by_dot))

    def live_fields(self) -> dict[str, tuple[Live, ...]]:
        """Return all fields that have live values, by name."""
        every = {name: self.live(name) for name in sorted(self.entries)}
        return {name: values for name, values in every.items() if values}

    def live_dots(self) -> frozenset[Dot]:
        """Return the dots of all live values of the record: what a person who opens it has seen."""
        return frozenset(value.dot for values in self.live_fields().values() for value in values)

    def covered_dots(self) -> frozenset[str]:
        """Return the wire spellings of the dots that live deletions cover."""
        covers = (mark.value for mark in self.live(DELETED))
        return frozenset(dot for cover in covers if isinstance(cover, list) for dot in cover if isinstance(dot, str))

    def spared_dots(self) -> frozenset[Dot]:
        """Return the dots of the live values (deletions aside) that no live deletion covers: what keeps the record."""
        values = (entry.dot for name, found in self.live_fields().items() if name != DELETED for entry in found)
        covered = self.covered_dots()
        return frozenset(dot for dot in values if str(dot) not in covered)

    def pruned(self) -> "RecordState":
        """Return the state without superseded entries.

        Safe wherever causes are applied before effects and each act only once (the server holds acts whose causes are
        missing, and knows an act it has): then no superseded entry can still arrive, or come back.
        """
        return from_live(self.live_fields())


@dataclass(frozen=True)
class Change:
    """What one act does to one record."""

    dot: Dot
    seen: frozenset[Dot]
    at_ms: int
    fields: Mapping[str, Json]
    delete: bool = False


def _by_dot(entry: Live) -> Dot:
    return entry.dot


def from_live(fields: Mapping[str, Iterable[Live]]) -> RecordState:
    """Return the state whose live values are exactly these."""
    return RecordState(entries={name: {entry.dot: entry for entry in values} for name, values in fields.items()})


def join(left: RecordState, right: RecordState) -> RecordState:
    """Merge two states of one record."""
    entries: dict[str, dict[Dot, Live]] = {name: dict(values) for name, values in left.entries.items()}
    for name, values in right.entries.items():
        entries.setdefault(name, {}).update(values)
    superseded = dict(left.superseded)
    for name, dots in right.superseded.items():
        superseded[name] = superseded.get(name, frozenset()) | dots
    return RecordState(entries, superseded)
