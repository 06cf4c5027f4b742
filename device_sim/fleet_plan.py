"""The plan file of a fleet: who the officers are, and what stands behind their tasks.

{"devices": [{"name", "officer", "login", "password"}, ...],
 "tasks": {task id: inspection key}, "drawn": {task id: key}, "doors": {entity id: code}, "revised": checklist id,
 "pair_share": 0.4, "contradiction_share": 0.15}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from device_sim.handheld.visit import CONTRADICTION_SHARE, PAIR_SHARE


class PlanFault(Exception):
    """The plan file is not readable or does not fit the fleet."""


@dataclass(frozen=True, slots=True)
class DeviceEntry:
    """One handheld of the plan: its name, its officer's id, and that officer's account."""

    name: str
    officer: str
    login: str
    password: str


@dataclass(frozen=True)
class FleetPlan:
    """The plan file, checked."""

    devices: tuple[DeviceEntry, ...]
    tasks: dict[str, str] = field(default_factory=dict)
    """The real inspection behind a task."""
    drawn: dict[str, str] = field(default_factory=dict)
    """Drawn tasks, each with a key that does not depend on who was drawn: what is found follows from it."""
    doors: dict[str, str] = field(default_factory=dict)
    """Codes that entities show at their doors."""
    revised: str = ""
    """A checklist that handhelds should hold by their last sync."""
    pair_share: float = PAIR_SHARE
    contradiction_share: float = CONTRADICTION_SHARE


def read_plan(path: Path) -> FleetPlan:
    """Read the plan file. Raises `PlanFault` naming what is wrong."""
    try:
        members = json.loads(path.read_text(encoding="utf-8"))
        return FleetPlan(
            devices=tuple(DeviceEntry(**entry) for entry in members["devices"]),
            tasks=_texts(members, "tasks"),
            drawn=_texts(members, "drawn"),
            doors=_texts(members, "doors"),
            revised=str(members.get("revised", "")),
            pair_share=float(members.get("pair_share", PAIR_SHARE)),
            contradiction_share=float(members.get("contradiction_share", CONTRADICTION_SHARE)),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanFault(f"{path}: {type(error).__name__}: {error}") from error


def _texts(members: Mapping[str, Any], name: str) -> dict[str, str]:
    return {str(key): str(value) for key, value in members.get(name, {}).items()}
