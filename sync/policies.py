"""Merge policies: how the live values of a field are read. A policy is a read rule and removes nothing.

Only two of them also say which seen values an act replaces: adding to a set or appending to a list replaces nothing
but what the act names.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from sync.dots import Dot, parse_dot
from sync.registers import DELETED, Change, Json, Live, RecordState


class Rule(StrEnum):
    """The read rules."""

    LATEST = "latest"
    """The newest by corrected time, then dot."""
    FIRST = "first"
    """The oldest by corrected time, then dot."""
    MONOTONE = "monotone"
    """The furthest along a declared total order; concurrent steps never conflict."""
    SET = "set"
    """Add-wins set: the union of all live additions."""
    LIST = "list"
    """Ordered list: the union of all live additions, in order of rank, then dot."""
    APPEND = "append"
    """A list in order of corrected time, then dot."""
    MANUAL = "manual"
    """Legal content: differing live values are a conflict until a person decides."""


NAMED_REMOVAL = frozenset({Rule.SET, Rule.LIST})
"""Rules whose changes are `{"add": [...], "remove": [dots]}` and replace only what they name."""


@dataclass(frozen=True)
class Policy:
    """The policy of one field; `order` is the total order of a monotone state, earliest first."""

    rule: Rule
    order: tuple[str, ...] = ()

    @cached_property
    def removes_by_name(self) -> bool:
        """Whether a change of the field replaces only what it names."""
        return self.rule in NAMED_REMOVAL


@dataclass(frozen=True)
class Reading:
    """What a field says: its value, and whether people must decide first (then `value` is None)."""

    value: Json
    conflict: bool = False


Policies = Mapping[str, Policy]
DEFAULT = Policy(Rule.LATEST)
"""For fields of a newer schema version than ours: kept and passed on, read as the newest."""


def state_of(change: Change, policies: Policies) -> RecordState:
    """Return the state that one act alone amounts to.

    In each field it sets, the act supersedes exactly what it had seen there; in a set or list field only those of them
    that its value names in `remove`; in an append field nothing. Edits and deletions alike supersede the deletions they
    had seen; what a deletion had seen beyond those it covers (:data:`sync.registers.DELETED`).

    Raises:
        ValueError: the value of a set field is not a set change; schemas refuse such acts.
    """
    superseded: dict[str, frozenset[Dot]] = {DELETED: change.seen}
    if change.delete:
        mark = Live(change.dot, [str(dot) for dot in sorted(change.seen)], change.at_ms)
        return RecordState({DELETED: {change.dot: mark}}, superseded)
    entries: dict[str, dict[Dot, Live]] = {}
    for name, value in change.fields.items():
        policy = policies.get(name, DEFAULT)
        if policy.removes_by_name:
            added, removed = set_change(value)
            entries[name] = {change.dot: Live(change.dot, added, change.at_ms)}
            superseded[name] = frozenset(removed) & change.seen
        else:
            entries[name] = {change.dot: Live(change.dot, value, change.at_ms)}
            if policy.rule is not Rule.APPEND:
                superseded[name] = change.seen
    return RecordState(entries, superseded)


def set_change(value: Json) -> tuple[list[Json], list[Dot]]:
    """Split a set field's change `{"add": [elements], "remove": [dots]}`.

    Raises:
        ValueError: the value is not of this shape.
    """
    if not isinstance(value, dict) or not value.keys() <= {"add", "remove"}:
        raise ValueError('a set change is {"add": [...], "remove": [dots]}')
    added, removed = value.get("add", []), value.get("remove", [])
    if not isinstance(added, list) or not isinstance(removed, list):
        raise ValueError('"add" and "remove" are lists')
    return added, [parse_dot(dot) for dot in removed]


def read(policy: Policy, values: Sequence[Live]) -> Reading:
    """Read a field's live values by its policy; no values read as None (a set or list: as empty)."""
    match policy.rule:
        case Rule.SET:
            return Reading(_union(values))
        case Rule.LIST:
            return Reading(_in_order(values))
        case Rule.APPEND:
            return Reading([entry.value for entry in sorted(values, key=_by_time)])
    if not values:
        return Reading(None)
    match policy.rule:
        case Rule.FIRST:
            return Reading(min(values, key=_by_time).value)
        case Rule.MONOTONE:
            return Reading(max(values, key=lambda entry: (_rank(policy.order, entry.value), *_by_time(entry))).value)
        case Rule.MANUAL if len({canonical(entry.value) for entry in values}) > 1:
            return Reading(None, conflict=True)
    return Reading(max(values, key=_by_time).value)


def read_record(state: RecordState, policies: Policies) -> dict[str, Reading]:
    """Read all fields of a record that have live values; the deletion mark is not a field."""
    return {
        name: read(policies.get(name, DEFAULT), values)
        for name, values in state.live_fields().items()
        if name != DELETED
    }


def conflicts(state: RecordState, policies: Policies) -> tuple[str, ...]:
    """Return the names of the fields that people must decide; `_deleted` when an edit and a deletion met.

    A deleted record has nothing to decide.
    """
    if is_deleted(state):
        return ()
    found = [
        name
        for name, entries in state.entries.items()
        if len(entries) > 1 and name != DELETED and read(policies.get(name, DEFAULT), state.live(name)).conflict
    ]
    if state.live(DELETED):
        found.append(DELETED)
    return tuple(sorted(found))


def is_deleted(state: RecordState) -> bool:
    """Tell whether the record is gone: there are live deletions, and together they cover every live value."""
    return bool(state.live(DELETED)) and not state.spared_dots()


def canonical(value: Json) -> str:
    """Return one spelling per JSON value, for comparing values.

    Numbers are compared as numbers: 1 and 1.0 are one value (many languages cannot tell them apart), true is another.
    """
    return json.dumps(_with_whole_numbers(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _with_whole_numbers(value: Json) -> Json:
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_with_whole_numbers(member) for member in value]
        case dict():
            return {name: _with_whole_numbers(member) for name, member in value.items()}
    return value


def _rank(order: tuple[str, ...], value: Json) -> int:
    """Place in the order; a state of a newer version, or no state at all, stands before all known ones."""
    return order.index(value) if value in order else -1


def _by_time(entry: Live) -> tuple[int, Dot]:
    return entry.at_ms, entry.dot


def _union(values: Sequence[Live]) -> list[Any]:
    ordered = sorted(values, key=_by_time)
    elements = {canonical(element): element for entry in ordered for element in _added(entry.value)}
    return [elements[key] for key in sorted(elements)]


def _in_order(values: Sequence[Live]) -> list[Any]:
    """The elements by rank, then dot, then their place in the act; what has no rank stands before all."""
    found = []
    for entry in sorted(values, key=lambda entry: entry.dot):
        for element in _added(entry.value):
            ranked = isinstance(element, dict) and element.keys() == {"rank", "value"}
            found.append((str(element["rank"]), element["value"]) if ranked else ("", element))
    return [value for _, value in sorted(found, key=lambda item: item[0])]


def _added(value: Json) -> list[Any]:
    """The additions an entry holds; a whole change, kept by a version that did not know the field as a set, counts."""
    if isinstance(value, dict):
        value = value.get("add", [])
    return value if isinstance(value, list) else [value]
