"""The limits on visits since 2024, on the server: what a handheld should have refused is kept, and marked for people.

A mark does not keep an inspection from closing unless `FIELDPROOF_VISIT_LIMITS` is `block`: then a person at the desk
says why, by a coded reason, before it closes.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from schemas.codes import code_table
from schemas.visit_rules import EMERGENCY, cap_faults, door_faults, filing_faults, is_capped, read_door_code
from server.audit.service import record_event
from server.entities.door_codes import current_serial, door_verifier
from server.entities.merging import survivor
from server.entities.models import Entity
from server.errors import Problem
from server.inspections.frequency import visits_in_year, year_of
from server.inspections.models import Inspection, VisitFiling
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

FILED_LATE, SUPERSEDED_CODE = "visit-filed-late", "door-code-superseded"
REASONS = "visit_reason"
"""Code table of the reasons of visits."""
MIN_REASON_CHARS, MAX_REASON_CHARS = 2, 1_000

Mark = dict[str, Any]


def limit_marks(session: Session, rt: Runtime, row: Inspection, fields: Mapping[str, Any]) -> list[Mark]:
    """Return which limits a visit broke, each as `{"reason", ...}`.

    Args:
        session: a session.
        rt: the runtime.
        row: the inspection.
        fields: what its record says.
    """
    text = fields.get("started_at") or fields.get("inspected_at")
    began = min(datetime.fromisoformat(text).astimezone(UTC), rt.now()) if text else rt.now()
    reason = fields.get(REASONS)
    filing = session.get(VisitFiling, row.id)
    found: list[Mark] = [fault.as_dict() for fault in filing_faults(reason, filed=filing is not None)]
    if filing is not None and filing.filed_at > began and reason != EMERGENCY:
        found.append({"reason": FILED_LATE, "field": "task", "filed_at": filing.filed_at.isoformat()})
    found += _door_marks(session, rt, row, fields)
    if row.entity is not None and is_capped(reason):
        year = year_of(began)
        known = session.get(Entity, row.entity)
        if known is not None:
            entity = survivor(session, known)
            others = visits_in_year(session, year, [entity.id]).get(entity.id, 0) - _counts(row, year)
            found += [fault.as_dict() | {"visits": others + 1} for fault in cap_faults(reason, others, entity.risk)]
    return found


def _counts(row: Inspection, year: int) -> int:
    return int(year_of(row.inspected_at) == year if row.inspected_at else row.status == "open")


def _door_marks(session: Session, rt: Runtime, row: Inspection, fields: Mapping[str, Any]) -> list[Mark]:
    code, exemption = fields.get("door_code"), fields.get("scan_exemption")
    verify = door_verifier(rt)
    faults = door_faults(code, exemption, row.entity, verify)
    if faults or not code:
        return [fault.as_dict() for fault in faults]
    read = read_door_code(code, verify)
    serial = current_serial(session, row.entity or "")
    if read is not None and serial != read.serial:
        return [{"reason": SUPERSEDED_CODE, "field": "door_code"}]
    return []


def excuse(session: Session, rt: Runtime, caller: Principal, inspection: str, code: str, reason: str) -> Inspection:
    """Say at the desk why a visit broke a limit; its marks stay.

    Raises:
        Problem: `not-found`; `conflict` when nothing is marked; `invalid-field` for a code outside the table or without
            a reason.
    """
    row = session.get(Inspection, inspection, with_for_update=True)
    if row is None:
        raise Problem("not-found", detail="no inspection with this id")
    require_scope(caller, row.region, row.department)
    if not row.marks:
        raise Problem("conflict", field="marks", detail="no limit was broken")
    if code_table(REASONS).find(code) is None or is_capped(code):
        raise Problem("invalid-field", field="code", detail=f"须为例外事由 / an exception of the code table {REASONS}")
    if len(reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    row.excuse = {"code": code, "reason": reason.strip(), "by": caller.subject, "at": rt.now().isoformat()}
    row.check_after = rt.now()
    record_event(
        session, rt, caller.subject, "inspection.excuse", "inspection", row.id, {"code": code, "reason": reason},
        region=row.region, department=row.department,
    )  # fmt: skip
    session.flush()
    return row


def check_cap(session: Session, rt: Runtime, entity: Entity, reason: str, planned: int) -> None:
    """Refuse one more planned visit of a year to an entity that has had its number.

    Args:
        session: a session.
        rt: the runtime.
        entity: whom the visit is to.
        reason: code of the table `visit_reason`; only planned visits count.
        planned: visits to it in the same request.

    Raises:
        Problem: `limit-exceeded` with the cap as its limit.
    """
    if not is_capped(reason) or rt.settings.visit_limits == "off":
        return
    others = planned + visits_in_year(session, year_of(rt.now()), [entity.id]).get(entity.id, 0)
    if cap_faults(reason, others, entity.risk):
        raise Problem(
            "limit-exceeded", field="entity", limit=others, reason="over-frequency-cap",
            detail="本年度检查频次已满 / no more planned visits this year; an exception names its reason",
        )  # fmt: skip
