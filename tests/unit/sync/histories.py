"""Well-formed histories of one record for property tests: replicas that write what they see and exchange acts.

A history is what real handhelds and an office produce: each act has seen exactly the live dots of the replica on which
it was written, and a replica only ever receives acts after everything these had seen.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from sync.dots import Dot
from sync.ids import uuid7
from sync.merge import merge
from sync.policies import Policy, Rule, state_of
from sync.registers import Change, RecordState, join

STATES = ("open", "submitted", "closed")
POLICIES: Mapping[str, Policy] = {
    "caption": Policy(Rule.LATEST),
    "origin": Policy(Rule.FIRST),
    "status": Policy(Rule.MONOTONE, STATES),
    "photos": Policy(Rule.SET),
    "steps": Policy(Rule.LIST),
    "notes": Policy(Rule.APPEND),
    "result": Policy(Rule.MANUAL),
}
"""One field per rule; `extra` is a field of a newer version and stands in no table."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""Any value that strict JSON has."""

IDS = st.builds(uuid7, st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
HASHES = st.text("0123456789abcdef", min_size=64, max_size=64)


def journal(number: int) -> str:
    """The journal id of a numbered replica."""
    return uuid7(1_700_000_000_000, bytes([0, number] * 5))


def dot(number: int, seq: int = 1) -> Dot:
    """A dot of a numbered replica."""
    return Dot(journal(number), seq)


@dataclass
class Replica:
    """One copy of the record: the acts it has, and their state with superseded values pruned."""

    number: int
    acts: list[Change] = field(default_factory=list)
    state: RecordState = field(default_factory=RecordState)
    written: int = 0

    def write(self, fields: Mapping[str, Any], at_ms: int, *, delete: bool = False) -> Change:
        """Write an act that has seen all that is live here."""
        self.written += 1
        change = Change(dot(self.number, self.written), self.state.live_dots(), at_ms, fields, delete)
        self.take(change)
        return change

    def take(self, change: Change) -> None:
        """Merge an act that is not here yet."""
        self.state = merge(self.state, change, POLICIES).state
        self.acts.append(change)

    def receive(self, other: Replica, most: int) -> None:
        """Take over up to `most` acts of another replica, in its order (which has causes before effects)."""
        known = {change.dot for change in self.acts}
        for change in [change for change in other.acts if change.dot not in known][:most]:
            self.take(change)


@st.composite
def fields_of(draw: st.DrawFn, seen: Sequence[Dot]) -> dict[str, Any]:
    """What one act sets: at least one field, with few different values so that they meet often."""
    changes = {
        "caption": st.sampled_from(["a", "b"]),
        "origin": st.sampled_from(["lead", "plan"]),
        "status": st.sampled_from(STATES),
        "photos": st.fixed_dictionaries(
            {"add": st.lists(st.sampled_from(["p", "q", "r"]), max_size=2)},
            optional={"remove": st.lists(st.sampled_from(seen).map(str), max_size=2)} if seen else {},
        ),
        "steps": st.fixed_dictionaries(
            {"add": st.lists(st.sampled_from([{"rank": "a", "value": 1}, {"rank": "b", "value": 2}]), max_size=2)},
            optional={"remove": st.lists(st.sampled_from(seen).map(str), max_size=2)} if seen else {},
        ),
        "notes": st.sampled_from(["seen", "heard"]),
        "result": st.sampled_from(["01", "02"]),
        "extra": st.integers(0, 1),
    }
    names = draw(st.lists(st.sampled_from(sorted(changes)), min_size=1, max_size=3, unique=True))
    return {name: draw(changes[name]) for name in names}


@st.composite
def histories(draw: st.DrawFn, replicas: int = 3, most_steps: int = 14) -> list[Change]:
    """All acts of a record, in the order in which they were written."""
    fleet = [Replica(number) for number in range(replicas)]
    written: list[Change] = []
    for _ in range(draw(st.integers(1, most_steps))):
        replica = fleet[draw(st.integers(0, replicas - 1))]
        match draw(st.sampled_from(["write", "write", "write", "receive", "receive", "delete"])):
            case "write":
                fields = draw(fields_of(sorted(replica.state.live_dots())))
                written.append(replica.write(fields, draw(st.integers(0, 3))))
            case "delete" if replica.acts:
                written.append(replica.write({}, draw(st.integers(0, 3)), delete=True))
            case _:
                replica.receive(fleet[draw(st.integers(0, replicas - 1))], draw(st.integers(1, 4)))
    return written


def causal_order(acts: Sequence[Change], randomness: random.Random) -> list[Change]:
    """Some order of the same acts in which each comes after everything it had seen."""
    waiting, done, order = list(acts), set[Dot](), list[Change]()
    while waiting:
        ready = [act for act in waiting if act.seen <= done]
        act = randomness.choice(ready)
        waiting.remove(act)
        done.add(act.dot)
        order.append(act)
    return order


def joined(acts: Sequence[Change]) -> RecordState:
    """The join of what the acts amount to, nothing pruned."""
    state = RecordState()
    for act in acts:
        state = join(state, state_of(act, POLICIES))
    return state


def merged(acts: Sequence[Change]) -> RecordState:
    """The state after merging the acts one by one, pruned after each."""
    state = RecordState()
    for act in acts:
        state = merge(state, act, POLICIES).state
    return state
