"""What the rules of the field forbid, tried on a handheld without a network: each attempt must be refused on the spot.

Also what an app without the rules would write, so that the server can be seen to have the last word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from device_sim.handheld.client import Handheld
from device_sim.handheld.door import NO_CODE_SHOWN
from device_sim.handheld.officer import Task
from device_sim.handheld.rules import RuleRefused
from device_sim.sample.results import PATROL, ROUTINE_FORM
from schemas.field_rules import EXPIRED, NOT_PUBLISHED, TOO_FEW
from schemas.visit_rules import NOT_FILED, NOT_SCANNED, WRONG_CODE

Fields = dict[str, Any]


def attempts(handheld: Handheld, task: Task, doors: Mapping[str, str]) -> Iterator[tuple[str, Fields]]:
    """Yield what is tried, each as the rule that must refuse it and the beginning of a visit.

    Args:
        handheld: whose officer tries.
        task: a task of that officer; another visit to its entity is begun.
        doors: codes at doors by entity.
    """
    fair = _beginning(handheld, task)
    yield TOO_FEW, fair | {"officers": [handheld.officer]}
    if expired := expired_colleague(handheld):
        yield EXPIRED, fair | {"officers": [handheld.officer, expired]}
    unknown = handheld.outside.new_id()
    yield NOT_PUBLISHED, fair | {"item": unknown, "checklist": unknown}
    yield NOT_FILED, {name: value for name, value in fair.items() if name != "task"}
    yield NOT_SCANNED, {name: value for name, value in fair.items() if name != "scan_exemption"}
    if foreign := next((code for entity, code in doors.items() if entity != task.entity), ""):
        yield WRONG_CODE, fair | {"door_code": foreign}


def is_refused(handheld: Handheld, rule: str, fields: Fields) -> bool:
    """Whether the handheld refuses the beginning of a visit by a rule; nothing is written either way."""
    try:
        handheld.rules.check(handheld.open("inspection", handheld.outside.new_id()), fields)
    except RuleRefused as refusal:
        return any(fault.reason == rule for fault in refusal.faults)
    return False


def write_anyway(handheld: Handheld, task: Task) -> str:
    """Write, as an app without the rules would, a whole visit with an expired colleague; returns the inspection."""
    inspection = handheld.outside.new_id()
    team = [handheld.officer, *filter(None, [expired_colleague(handheld)])]
    fields = {
        "officers": team,
        "result": "01",
        "conclusion": "无现场规则的终端所写 / written by an app without the rules",
    }
    fair = _beginning(handheld, task)
    handheld.write(handheld.open("inspection", inspection), fair | fields | {"status": "submitted"})
    return inspection


def expired_colleague(handheld: Handheld) -> str:
    """An officer whom the handheld knows and whose certificate has run out; empty if there is none."""
    now = _now(handheld)
    for officer in handheld.store.ids("officer"):
        until = handheld.open("officer", officer).value("certificate_valid_until")
        if until and datetime.fromisoformat(until) < now:
            return officer
    return ""


def _beginning(handheld: Handheld, task: Task) -> Fields:
    """The beginning of a visit that no rule forbids."""
    now = _now(handheld).isoformat()
    return {
        "task": task.id, "entity": task.entity, "item": handheld.open("task", task.id).value("item"),
        "checklist": task.checklist, "officers": list(task.officers), "started_at": now, "inspected_at": now,
        "form": ROUTINE_FORM, "category": PATROL, "scan_exemption": NO_CODE_SHOWN,
    }  # fmt: skip


def _now(handheld: Handheld) -> datetime:
    return datetime.fromtimestamp(handheld.outside.wall_ms() / 1000, UTC)
