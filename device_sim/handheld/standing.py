"""What a handheld announces when it signs in, and what the server's answer lets it do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from schemas.kinds import KINDS

PROTOCOL = 1
"""The version of docs/protocol.md that this handheld speaks."""


@dataclass(frozen=True)
class Standing:
    """What the last sign-in said: what for the token is good, and what the server speaks."""

    purpose: str = "sync"
    problem: Mapping[str, Any] = field(default_factory=dict)
    wipe_ordered_at_ms: int | None = None
    newest_protocol: int = PROTOCOL
    door_key: str = ""
    """The public key by which codes at doors are checked, base64url."""

    @property
    def only_hands_in(self) -> bool:
        """Whether the device may only hand in what it has."""
        return self.purpose != "sync"


@cache
def _program_version() -> str:
    return version("fieldproof")


def announcement() -> dict[str, Any]:
    """What this client is and speaks."""
    kinds = {name: kind.version for name, kind in sorted(KINDS.items())}
    return {"name": "device_sim", "version": _program_version(), "protocol": PROTOCOL, "kinds": kinds}


def standing_of(reply: Mapping[str, Any]) -> Standing:
    """Read the reply to a sign-in; a server that says less lets the device sync."""
    wipe, versions = reply.get("wipe_ordered_at_ms"), reply.get("protocol")
    newest = versions.get("newest") if isinstance(versions, dict) else None
    return Standing(
        purpose=str(reply.get("purpose") or "sync"),
        problem=reply["problem"] if isinstance(reply.get("problem"), dict) else {},
        wipe_ordered_at_ms=wipe if isinstance(wipe, int) else None,
        newest_protocol=newest if isinstance(newest, int) else PROTOCOL,
        door_key=str(reply.get("door_key") or ""),
    )
