"""The served form of a record: one JSON line, stored as it is sent. Pure.

Live values stand grouped by the act that wrote them: most records have one or two live acts and dozens of fields, so
dot and time are said once for each act and not once for each field.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from schemas.kinds import KINDS, policy_table
from server.records.served import Served, ServedAct
from sync.policies import Policies, Policy, Rule, is_deleted, read, read_record
from sync.registers import RecordState


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
COLLECTIONS = (Rule.SET, Rule.LIST, Rule.APPEND)
"""Rules by which several values read together."""


class Line(msgspec.Struct):
    """A served line; the order of the members is part of the form."""

    kind: str
    id: str
    position: int
    region: str
    department: str
    acts: list[ServedAct]
    deleted: bool
    conflicts: Sequence[str]


def encode_line(
    kind: str, record_id: str, position: int, placement: Placement, state: RecordState, conflicting: Sequence[str]
) -> bytes:
    """Return the line of a record as handhelds pull it; `conflicting` names its fields in conflict.

    The line depends on the state alone, and not on how it came about: acts stand in the order of their dots, the fields
    of each in the order of their names.
    """
    return encode_served(kind, record_id, position, placement, Served.of(state), conflicting, deleted=is_deleted(state))


def encode_served(
    kind: str,
    record_id: str,
    position: int,
    placement: Placement,
    served: Served,
    conflicting: Sequence[str],
    *,
    deleted: bool,
) -> bytes:
    """Return the line of a record whose values are grouped already; see :func:`encode_line`."""
    acts = list(served.acts.values())
    return _encode(Line(kind, record_id, position, placement.region, placement.department, acts, deleted, conflicting))


_encode = msgspec.json.Encoder().encode


def decode_state(line: bytes) -> RecordState:
    """Return the merged state held in a served line."""
    return Served.decode(line).state


def view_of(kind: str, state: RecordState) -> dict[str, Any]:
    """Return what the record says, field by field; a field in conflict reads as None."""
    return {name: reading.value for name, reading in read_record(state, policies_of(kind)).items()}


def values_of(kind: str, live: Served, names: Sequence[str]) -> dict[str, Any]:
    """Return what some fields of a record say; what is not there, or in conflict, reads as None."""
    policies = policies_of(kind)
    if len(live.acts) == 1:  # most records: of registers, a value that stands alone is what they read as
        (act,) = live.acts.values()
        return {
            name: read(policies[name], live.live(name)).value
            if policies[name].rule in COLLECTIONS
            else act.fields.get(name)
            for name in names
        }
    return {name: read(policies[name], live.live(name)).value for name in names}
