"""Who does what on one visit: roles, whether both officers work offline, and whether they contradict each other.

All of it follows from the seed and the work's key alone, so that both officers' handhelds come to the same plan without
talking, and two runs with one seed end with the same counts.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PAIR_SHARE = 0.4
"""Share of tasks on which both officers' handhelds work offline; else the lead officer's device does everything."""
CONTRADICTION_SHARE = 0.15
"""Share of those pairs that contradict each other in result or conclusion."""
SECOND_PHOTO_SHARE = 0.3


class Role(StrEnum):
    """What an officer is on one task: the first one named leads."""

    LEAD = "lead"
    SECOND = "second"


@dataclass(frozen=True, slots=True)
class VisitPlan:
    """How one visit goes: paired or alone, in which fields the second officer contradicts, and how many photos."""

    paired: bool
    contradicts: tuple[str, ...]
    photos: int

    def works(self, role: Role) -> bool:
        """Whether the handheld of an officer in this role has anything to do."""
        return self.paired or role is Role.LEAD

    def does(self, role: Role, part: Role) -> bool:
        """Whether the handheld of `role` does the part of `part`: its own, and alone both."""
        return role is part or not self.paired


def plan_visit(
    seed: str, key: str, pair_share: float = PAIR_SHARE, contradiction_share: float = CONTRADICTION_SHARE
) -> VisitPlan:
    """The plan of the visit known by `key`. The shares are in [0, 1]."""
    rng = random.Random(f"visit:{seed}:{key}")
    paired = rng.random() < pair_share
    contradicts: tuple[str, ...] = ()
    if rng.random() < contradiction_share and paired:
        contradicts = rng.choice((("conclusion",), ("result",), ("result", "conclusion")))
    return VisitPlan(paired, contradicts, 1 + (rng.random() < SECOND_PHOTO_SHARE))


def other_code(codes: Sequence[str], taken: str) -> str:
    """A code that differs from `taken`: the one after it."""
    rest = [code for code in codes if code != taken]
    return next((code for code in rest if code > taken), rest[0])
