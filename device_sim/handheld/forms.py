"""What an officer sees on opening a record: the served state with this device's own pending acts on top.

Opening takes the dots of all live values: that is what an act written from the form has seen, and all it supersedes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from device_sim.handheld.store import HandheldStore, StoredAct
from schemas.kinds import KINDS, policy_table
from sync.acts import DELETE, erased_names, is_erased, parse_header
from sync.dots import Dot, parse_dot
from sync.policies import Policies, Policy, Reading, Rule, canonical, is_deleted, read_record, state_of
from sync.registers import Change, Live, RecordState, from_live, join

_ADDING = (Rule.SET, Rule.LIST, Rule.APPEND)


@dataclass(frozen=True)
class Form:
    """An open record: what its fields say, the dots behind them, and what people must decide first."""

    kind: str
    record: str
    seen: frozenset[Dot]
    readings: Mapping[str, Reading]
    state: RecordState

    def value(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """What a field says; None when it is empty or in conflict."""
        reading = self.readings.get(name)
        return reading.value if reading else None

    @property
    def deleted(self) -> bool:
        """Whether the record is gone: deletions cover everything in it."""
        return is_deleted(self.state)

    def changed(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Only those fields whose new value differs from what the form shows; additions always count."""
        policies = policies_of(self.kind)
        return {name: value for name, value in fields.items() if self._differs(policies.get(name), name, value)}

    def _differs(self, policy: Policy | None, name: str, value: Any) -> bool:  # noqa: ANN401 - any JSON value
        reading = self.readings.get(name)
        if reading is None or reading.conflict or (policy is not None and policy.rule in _ADDING):
            return True
        return canonical(reading.value) != canonical(value)


@cache
def policies_of(kind: str) -> Policies:
    """The merge policies of a kind's fields, as declared in its schema. Raises `KeyError` for an unknown kind."""
    table = policy_table(KINDS[kind].schema)
    return {name: Policy(Rule(rule), order) for name, (rule, order) in table.items()}


def change_of(act: StoredAct) -> Change:
    """What an own act does to its record; its time is this device's, which only orders values not yet stamped."""
    header = parse_header(json.loads(act.parts.header))
    fields = dict(json.loads(act.parts.body)["fields"])
    if is_erased(act.parts.personal):
        fields |= dict.fromkeys(erased_names(act.parts.personal))
    else:
        fields |= json.loads(act.parts.personal)["fields"]
    return Change(act.dot, header.seen, header.wall_ms, fields, header.op == DELETE)


def served_state(line: bytes) -> RecordState:
    """The state inside a served line."""
    fields: dict[str, list[Live]] = {}
    for act in json.loads(line)["acts"]:
        dot = parse_dot(act["dot"])
        for name, value in act["fields"].items():
            fields.setdefault(name, []).append(Live(dot, value, act["at_ms"]))
    return from_live(fields)


def state_of_record(store: HandheldStore, kind: str, record: str) -> RecordState:
    """The served state joined with this device's acts that it does not hold yet; empty for an unknown record."""
    served = store.records.get(kind, record)
    state = served_state(served.line) if served else RecordState()
    # What has left this device's scope is shown no more, but for what still waits for the server.
    covered = served.position if served else store.records.departed_at(kind, record)
    for act in store.uncovered_acts(kind, record, covered):
        state = join(state, state_of(change_of(act), policies_of(kind)))
    return state.pruned()


def open_form(store: HandheldStore, kind: str, record: str) -> Form:
    """Open a record, or an empty form for one that does not exist yet. Raises `KeyError` for an unknown kind."""
    state = state_of_record(store, kind, record)
    return Form(kind, record, state.live_dots(), read_record(state, policies_of(kind)), state)
