"""Filling the national fields of a behavior from the registers: item, checklist, firm and officers."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.behavior import UNIFIED_CODE
from server.directory.models import Checklist, SupervisionItem
from server.entities.models import Entity
from server.officers.models import Officer
from server.runtime import Runtime

OPTIONAL = ("method", "double_random_result", "visit_reason", "visit_filed_at", "door_scanned_at", "scan_exemption")
"""Fields that a visit may have, under the names they have nationally or here."""


def inspection_content(
    rt: Runtime,
    visit: Mapping[str, Any],
    officers: Sequence[Officer],
    entity: Entity,
    checklist: Checklist,
    item: SupervisionItem,
    *,
    item_name: str = "",
) -> dict[str, Any]:
    """Return the national fields of an inspection, all but its record id and number.

    Args:
        rt: the runtime, for the time of reporting.
        visit: `form`, `category`, `result` and `inspected_at`; `plan` and the optional
            ones if there are any.
        officers: those who took part, the reporting one first.
        entity: whom it was about.
        checklist: by which list, whose code begins with the implementing body's.
        item: of which supervision item.
        item_name: what the item was called at the time; empty: what it is called now.
    """
    content = {
        "item_code": item.code,
        "checklist_code": checklist.code,
        "name": item_name or item.name,
        "implementing_body": item.department,
        "implementing_body_code": checklist.code[:18],
        "object": entity.name,
        "counterpart_name": entity.name,
        "counterpart_nature": entity.nature,
        "certificate_type": UNIFIED_CODE,
        "certificate_number": entity.uscc,
        "registered_address": entity.registered_address,
        "operating_address": entity.operating_address,
        "region": entity.region[:6],
        "form": visit["form"],
        "category": visit["category"],
        "result": visit["result"],
        "inspected_at": visit["inspected_at"],
        "officers": [{"name": officer.name, "certificate_number": officer.certificate_number} for officer in officers],
        "reported_at": rt.now().isoformat(),
        "reported_by": officers[0].name if officers else "",
    }
    optional = {name: visit.get(name) for name in OPTIONAL} | {"plan_id": visit.get("plan")}
    return content | {name: value for name, value in optional.items() if value}
