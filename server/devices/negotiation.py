"""Which versions of the protocol and of the kinds this server speaks, and which clients are too old for it."""

from collections.abc import Mapping
from typing import Any

from schemas.kinds import KINDS
from server.errors import Problem

OLDEST_PROTOCOL = 1
NEWEST_PROTOCOL = 1
"""Versions of docs/protocol.md that this build speaks."""


def supported() -> dict[str, Any]:
    """Return what the server answers at sign-in: versions of the protocol from oldest to newest, and of each kind."""
    return {
        "protocol": {"oldest": OLDEST_PROTOCOL, "newest": NEWEST_PROTOCOL},
        "kinds": {name: kind.version for name, kind in sorted(KINDS.items())},
    }


def too_old(client: Mapping[str, Any] | None) -> Problem | None:
    """Return the problem of a client whose newest protocol is no longer spoken here; those that say nothing speak 1."""
    spoken = 1 if client is None else int(client["protocol"])
    if spoken >= OLDEST_PROTOCOL:
        return None
    return Problem(
        "client-too-old",
        field="client.protocol",
        limit=OLDEST_PROTOCOL,
        detail=f"this client speaks protocol {spoken}, the oldest one served is {OLDEST_PROTOCOL}; "
        "what it has written is still taken in",
    )
