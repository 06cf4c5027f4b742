"""The live values of a record as they are served: grouped by the act that wrote them. Pure.

Most acts meet no concurrency: they make a record, or were written by somebody who had seen all of it. What they change
can be said act by act, without building the registers of every field; :meth:`Served.advanced` does so, and gives
exactly what the general merge gives. Everything else goes through :mod:`sync.merge`.
"""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import msgspec

from sync.dots import Dot, parse_dot
from sync.policies import DEFAULT, Policies, Rule, set_change
from sync.registers import DELETED, Change, Live, RecordState, from_live


class LiveValues(Protocol):
    """Whatever can say which values of a field are live."""

    def live(self, name: str) -> tuple[Live, ...]:
        """Return the live values of a field, ordered by dot."""
        ...


class ServedAct(msgspec.Struct):
    """The live values that one act wrote, by field in the order of their names."""

    dot: str
    at_ms: int
    fields: dict[str, Any]


class _ActsOfLine(msgspec.Struct):
    acts: list[ServedAct]


_decode = msgspec.json.Decoder(_ActsOfLine).decode


class Served:
    """The live values of one record, by act in the order of their dots."""

    __slots__ = ("_state", "acts")

    def __init__(self, acts: Mapping[Dot, ServedAct], state: RecordState | None = None) -> None:
        """Take the acts in order, and the same as registers if they are at hand."""
        self.acts, self._state = acts, state

    @classmethod
    def of(cls, state: RecordState) -> Self:
        """Group the live values of a state."""
        found: dict[Dot, ServedAct] = {}
        for name, values in state.live_fields().items():
            for entry in values:
                act = found.get(entry.dot)
                if act is None:
                    act = found[entry.dot] = ServedAct(str(entry.dot), entry.at_ms, {})
                act.fields[name] = entry.value
        return cls({dot: found[dot] for dot in sorted(found)}, state)

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Read a served line."""
        return cls({parse_dot(act.dot): act for act in _decode(line).acts})

    @property
    def state(self) -> RecordState:
        """The same as registers, for merging."""
        if self._state is None:
            fields: dict[str, list[Live]] = {}
            for dot, act in self.acts.items():
                for name, value in act.fields.items():
                    fields.setdefault(name, []).append(Live(dot, value, act.at_ms))
            self._state = from_live(fields)
        return self._state

    def live(self, name: str) -> tuple[Live, ...]:
        """Return the live values of a field, ordered by dot."""
        return tuple(Live(dot, act.fields[name], act.at_ms) for dot, act in self.acts.items() if name in act.fields)

    def live_dots(self) -> frozenset[Dot]:
        """Return the dots of all live values."""
        return frozenset(self.acts)

    def advanced(self, change: Change, policies: Policies) -> Self | None:
        """Return the record after an act that has seen exactly what is live, or None where only a merge can tell.

        The act is applied then, and if the record had no conflicts before it has none afterwards: a value that it sets
        stands alone, and it touches no other.
        """
        if change.delete or self.acts.keys() != change.seen or change.dot in self.acts:
            return None
        mine = dict(sorted(change.fields.items()))
        if not self.acts:
            return type(self)({change.dot: ServedAct(str(change.dot), change.at_ms, _additions(mine, policies))})
        if any(DELETED in act.fields for act in self.acts.values()):
            return None
        gone: dict[str, frozenset[Dot]] = {}
        for name, value in mine.items():
            policy = policies.get(name, DEFAULT)
            if policy.removes_by_name:
                mine[name], removed = set_change(value)
                gone[name] = frozenset(removed)
            elif policy.rule is not Rule.APPEND:
                gone[name] = change.seen
        left = {dot: _without(act, dot, gone) for dot, act in self.acts.items()}
        acts = {dot: act for dot, act in left.items() if act.fields}
        acts[change.dot] = ServedAct(str(change.dot), change.at_ms, mine)
        return type(self)({dot: acts[dot] for dot in sorted(acts)} if len(acts) > 1 else acts)


def _additions(fields: dict[str, Any], policies: Policies) -> dict[str, Any]:
    """Return what the act that makes a record leaves live: what it sets, and of changes of sets what they add."""
    for name, value in fields.items():
        if type(value) is dict and policies.get(name, DEFAULT).removes_by_name:
            fields[name], _ = set_change(value)
    return fields


def _without(act: ServedAct, dot: Dot, gone: Mapping[str, frozenset[Dot]]) -> ServedAct:
    """Return an act without those of its values that are superseded."""
    superseded = {name for name in act.fields.keys() & gone.keys() if dot in gone[name]}
    if not superseded:
        return act
    left = {name: value for name, value in act.fields.items() if name not in superseded}
    return ServedAct(act.dot, act.at_ms, left)
