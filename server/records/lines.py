"""The served form of a record: one JSON line, stored as it is sent. Pure.

Live values stand grouped by the act that wrote them: most records have one or two live acts and dozens of fields, so
dot and time are said once for each act and not once for each field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from schemas.kinds import KINDS, policy_table
from sync.dots import Dot, parse_dot
from sync.policies import Policies, Policy, Rule, is_deleted, read_record
from sync.registers import Live, RecordState, from_live


@dataclass(frozen=True)
class Placement:
    """Where a record belongs: region, department, who it is assigned to, and the inspection it is part of."""

    region: str
    department: str
    assignees: tuple[str, ...] = ()
    parent: str | None = None


def policies_of(kind: str) -> Policies:
    """Return the merge policies of a kind's fields, as declared in its schema."""
    found = _POLICIES.get(kind)
    if found is None:
        table = policy_table(KINDS[kind].schema)
        found = _POLICIES[kind] = {name: Policy(Rule(rule), order) for name, (rule, order) in table.items()}
    return found


_POLICIES: dict[str, Policies] = {}


def encode_line(
    kind: str, record_id: str, position: int, placement: Placement, state: RecordState, conflicting: Sequence[str]
) -> bytes:
    """Return the line of a record as handhelds pull it; `conflicting` names its fields in conflict.

    The line depends on the state alone, and not on how it came about: acts stand in the order of their dots, the fields
    of each in the order of their names.
    """
    return _encode(
        {
            "kind": kind,
            "id": record_id,
            "position": position,
            "region": placement.region,
            "department": placement.department,
            "acts": _acts_of(state),
            "deleted": is_deleted(state),
            "conflicts": list(conflicting),
        }
    )


_encode = msgspec.json.Encoder().encode


def _acts_of(state: RecordState) -> list[dict[str, Any]]:
    found: dict[Dot, dict[str, Any]] = {}
    for name, values in state.live_fields().items():
        for entry in values:
            act = found.get(entry.dot)
            if act is None:
                act = found[entry.dot] = {"dot": str(entry.dot), "at_ms": entry.at_ms, "fields": {}}
            act["fields"][name] = entry.value
    return [found[dot] for dot in sorted(found)]


class _ServedAct(msgspec.Struct):
    dot: str
    at_ms: int
    fields: dict[str, Any]


class _ServedLine(msgspec.Struct):
    acts: list[_ServedAct]


_decode = msgspec.json.Decoder(_ServedLine).decode


def decode_state(line: bytes) -> RecordState:
    """Return the merged state held in a served line."""
    fields: dict[str, list[Live]] = {}
    for act in _decode(line).acts:
        dot = parse_dot(act.dot)
        for name, value in act.fields.items():
            fields.setdefault(name, []).append(Live(dot, value, act.at_ms))
    return from_live(fields)


def view_of(kind: str, state: RecordState) -> dict[str, Any]:
    """Return what the record says, field by field; a field in conflict reads as None."""
    return {name: reading.value for name, reading in read_record(state, policies_of(kind)).items()}
