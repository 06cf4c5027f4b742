"""Leads at the desk: disposed of after their verification, and closed once they are fed back."""

from __future__ import annotations

from collections.abc import Sequence

from device_sim.demo.checks import require
from device_sim.demo.office import Office

DISPOSALS = {
    "confirmed": ("rectification", "线索属实，责令改正 / confirmed, correction ordered"),
    "partly": ("warning", "线索部分属实，约谈提醒 / confirmed in part, warned"),
    "refuted": ("none", "线索不实，无需处置 / refuted, nothing to do"),
}
"""How the office disposes of a lead after each outcome, and why."""


def count_tasks(office: Office, leads: int) -> int:
    """Count the tasks that came from leads.

    Raises:
        InvariantBroken: a lead has no task, or two.
    """
    named = [task["lead"] for task in office.every("/api/v1/tasks", "tasks") if task["lead"]]
    require(len(named) == len(set(named)) == leads, "a lead has no task, or two")
    return len(named)


def dispose(office: Office) -> list[str]:
    """Dispose of every lead that officers have verified; returns their ids."""
    verified = [lead for lead in office.every("/api/v1/leads", "leads") if lead["status"] in DISPOSALS]
    for lead in verified:
        disposal, reason = DISPOSALS[lead["status"]]
        office.step_lead(lead["lead"], "dispose", reason=reason, disposal=disposal)
    return [lead["lead"] for lead in verified]


def close(office: Office, leads: Sequence[str]) -> dict[str, int]:
    """Close leads that are fed back; returns how many of each outcome the rules count.

    Raises:
        InvariantBroken: one has become no behavior, or the rules count something else.
    """
    for lead in leads:
        closed = office.step_lead(lead, "close")
        require(bool(closed["behavior"]), f"lead {lead} has become no behavior")
    rules = office.get("/api/v1/leads/precision")["rules"]
    settled = {name: sum(rule[name] for rule in rules) for name in DISPOSALS}
    require(sum(settled.values()) == len(leads), f"{len(leads)} leads settled, the rules count {settled}")
    return settled
