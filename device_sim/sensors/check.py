"""The balance: everything the sensors said must be stored or dead-lettered, exactly once. Pure.

It reads what the API serves (`/api/v1/telemetry/sensors/<id>/readings` and `/api/v1/telemetry/dead-letters`), so it
checks what an outsider can see and not what the server believes of itself.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from device_sim.sensors.replay import Published
from schemas.telemetry import reading_identity

Row = Mapping[str, Any]
EXAMPLES = 5
SAID = ("time", "factor", "value", "unit", "flag", "kind")
"""What of a stored reading the sensor has said."""


@dataclass(frozen=True)
class Balance:
    """How the published things ended; all counts but `published` must add up to it, the last three are faults."""

    published: int
    valid: int
    invalid: int
    dead_lettered: int
    lost: int
    twice: int
    """Stored and dead-lettered as well."""
    unexpected: int
    """Stored or dead-lettered, but never published."""
    examples: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether everything ended exactly once."""
        return not (self.lost or self.twice or self.unexpected)


def balance(published: Iterable[Published], stored: Iterable[Row], letters: Iterable[Row]) -> Balance:
    """Compare what was published with what the API serves.

    Args:
        published: the sensors' record.
        stored: readings as served, each with its `sensor` added.
        letters: dead letters as served; replayed ones are left out.
    """
    said = {item.identity: item for item in published}
    valid: set[str] = set()
    invalid: set[str] = set()
    for row in stored:
        identity = reading_identity(row["sensor"], {name: row[name] for name in SAID if name in row})
        (valid if row["valid"] else invalid).add(identity)
    dead = {identity for row in letters if row["status"] != "replayed" for identity in _identities(row, said)}
    kept = valid | invalid
    lost, twice, unexpected = said.keys() - kept - dead, kept & dead, (kept | dead) - said.keys()
    examples = [f"lost: {said[identity]}" for identity in sorted(lost)[:EXAMPLES]]
    examples += [f"twice: {identity}" for identity in sorted(twice)[:EXAMPLES]]
    examples += [f"unexpected: {identity}" for identity in sorted(unexpected)[:EXAMPLES]]
    return Balance(
        published=len(said),
        valid=len(valid),
        invalid=len(invalid),
        dead_lettered=len(dead),
        lost=len(lost),
        twice=len(twice),
        unexpected=len(unexpected),
        examples=tuple(examples),
    )


def _identities(row: Row, said: Mapping[str, Published]) -> Iterator[str]:
    """Return what a dead letter stands for: itself, or each reading of a sound message that was refused whole."""
    if not row["whole"] or row["identity"] in said:
        yield row["identity"]
        return
    try:
        for reading in json.loads(base64.b64decode(row["payload"]))["readings"]:
            yield reading_identity(row["sensor"], reading)
    except (ValueError, LookupError, TypeError):
        yield row["identity"]
