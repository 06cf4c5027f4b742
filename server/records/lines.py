"""The served form of a record: one JSON line, stored as it is sent. Pure."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from schemas.kinds import KINDS, policy_table
from sync.acts import encode
from sync.dots import parse_dot
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
    """Return the line of a record as handhelds pull it; `conflicting` names its fields in conflict."""
    fields = {
        name: [{"dot": str(entry.dot), "value": entry.value, "at_ms": entry.at_ms} for entry in values]
        for name, values in state.live_fields().items()
    }
    return encode(
        {
            "kind": kind,
            "id": record_id,
            "position": position,
            "region": placement.region,
            "department": placement.department,
            "fields": fields,
            "deleted": is_deleted(state),
            "conflicts": list(conflicting),
        }
    )


def decode_state(line: bytes) -> RecordState:
    """Return the merged state held in a served line."""
    fields: Mapping[str, list[dict[str, Any]]] = json.loads(line)["fields"]
    return from_live(
        {
            name: [Live(parse_dot(entry["dot"]), entry["value"], entry["at_ms"]) for entry in entries]
            for name, entries in fields.items()
        }
    )


def view_of(kind: str, state: RecordState) -> dict[str, Any]:
    """Return what the record says, field by field; a field in conflict reads as None."""
    return {name: reading.value for name, reading in read_record(state, policies_of(kind)).items()}
