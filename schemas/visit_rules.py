"""The limits on visits since 2024, for handheld and server alike: a filed plan, the code at the door, a cap. Pure.

A firm shows a code (as QR) that the platform has signed; a handheld checks it without a network, with the platform's
public key. The text is `FP1.<entity, 32 hex>.<serial>.<signature>`; what is signed is :func:`door_statement`.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from schemas.field_rules import Fault

PLANNED, EMERGENCY = "01", "05"
"""Codes of the table `visit_reason`: the one that counts towards the cap, and the one that needs no filed plan."""
REASON_OF_ORIGIN: Mapping[str, str] = {"lead": "03", "recheck": "04"}
"""Reasons that follow from where a task comes from; all others are planned unless they say more."""
NOT_FILED, NOT_SCANNED, WRONG_CODE, OVER_CAP = (
    "visit-not-filed", "door-not-scanned", "door-code-wrong", "over-frequency-cap",
)  # fmt: skip
MAX_CODE_CHARS = 200
DEFAULT_RISK = "B"
_CODE = re.compile(r"FP1\.([0-9a-f]{32})\.([1-9][0-9]{0,8})\.([A-Za-z0-9_-]{86})")

Verify = Callable[[bytes, str], bool]
"""Tells whether a signature (base64url) belongs to a statement, by the platform's public key."""


@dataclass(frozen=True)
class DoorCode:
    """What a code at the door says."""

    entity: str
    serial: int
    """Rises when a firm gets a new code; the platform knows which one counts."""
    signature: str

    @property
    def text(self) -> str:
        """The code as it is shown."""
        return f"FP1.{self.entity.replace('-', '')}.{self.serial}.{self.signature}"


def door_statement(entity: str, serial: int) -> bytes:
    """Return what the platform signs of a code."""
    return f"fieldproof-door-code-v1\n{entity}\n{serial}".encode()


def read_door_code(text: str, verify: Verify) -> DoorCode | None:
    """Return what a scanned code says, or None when the platform did not sign it."""
    found = _CODE.fullmatch(text)
    if found is None:
        return None
    digits = found[1]
    entity = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    code = DoorCode(entity, int(found[2]), found[3])
    return code if verify(door_statement(entity, code.serial), code.signature) else None


@cache
def visit_caps() -> Mapping[str, int]:
    """Return the planned visits a year that a firm of each risk grade may get."""
    caps: dict[str, int] = json.loads((files("schemas") / "visit_caps.json").read_text("utf-8"))["by_risk"]
    return caps


def is_capped(reason: str | None) -> bool:
    """Whether a visit with this reason counts towards the cap."""
    return (reason or PLANNED) == PLANNED


def filing_faults(reason: str | None, *, filed: bool) -> list[Fault]:
    """Return why a visit may not begin: its plan is filed before, unless it is an emergency."""
    return [] if filed or reason == EMERGENCY else [Fault(NOT_FILED, "task")]


def door_faults(code: str | None, exemption: str | None, entity: str | None, verify: Verify | None) -> list[Fault]:
    """Return why an officer may not enter: the firm's own code is scanned, or a coded reason says why not.

    Without a key to verify by (a handheld that has never signed in since there is one) only the entity is compared.
    """
    if code:
        found = read_door_code(code, verify or (lambda _statement, _signature: True))
        return [] if found is not None and found.entity == entity else [Fault(WRONG_CODE, "door_code")]
    return [] if exemption else [Fault(NOT_SCANNED, "door_code")]


def cap_faults(reason: str | None, others: int, risk: str = DEFAULT_RISK) -> list[Fault]:
    """Return why a firm may not get one more visit this year.

    Args:
        reason: of this visit.
        others: its other visits of the year that count.
        risk: its risk grade.
    """
    over = is_capped(reason) and others >= visit_caps()[risk]
    return [Fault(OVER_CAP, "entity")] if over else []
