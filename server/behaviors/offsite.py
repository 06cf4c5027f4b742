"""Off-site supervision (非现场监管) as a behavior: what officers established without a visit."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from schemas.behavior import MIN_OFFICERS
from server.audit.service import record_event
from server.behaviors.national import inspection_content
from server.behaviors.service import BehaviorDraft, create_behavior
from server.directory.service import get_checklist, get_item
from server.entities.service import get_entity
from server.errors import Problem
from server.officers.fitness import avoided, certificate_fault
from server.officers.models import Officer
from server.officers.service import avoidances_of, get_officers
from server.runtime import Runtime

SPECIAL, OFF_SITE, LEAD_VERIFICATION = "02", "02", "05"
"""Codes of the tables `inspection_form`, `inspection_method` and `inspection_category`."""


@dataclass(frozen=True)
class OffsiteFinding:
    """What officers established from data alone."""

    lead: str
    """Id of the lead; it becomes a behavior once."""
    entity: str
    checklist: str
    """The checklist version that the item is supervised by."""
    officers: tuple[str, ...]
    """At least two, of one department, with certificates that cover the moment and the item's sector."""
    established_at: datetime
    result: str
    """Code of the table `inspection_result`."""


def create_offsite_behavior(session: Session, rt: Runtime, finding: OffsiteFinding, *, author: str) -> str:
    """Write the supervision behavior of an off-site finding, in the caller's transaction. Returns its id.

    It is an inspection by the method `02` (off site) in the category `05` (verification of an off-site lead).

    Raises:
        Problem: `not-found` for an unknown entity, checklist or officer; `invalid-field` for officers who may not act
            or a wrong code, naming the field; `conflict` when the lead has a behavior already.
    """
    entity, checklist = get_entity(session, finding.entity), get_checklist(session, finding.checklist)
    item = get_item(session, checklist.item)
    officers = _acting(session, finding, item.sector)
    visit = {
        "form": SPECIAL,
        "category": LEAD_VERIFICATION,
        "method": OFF_SITE,
        "result": finding.result,
        "inspected_at": finding.established_at.isoformat(),
    }
    content = inspection_content(rt, visit, officers, entity, checklist, item)
    content["number"] = f"{entity.region[:6]}-FXC-{finding.lead}"
    behavior = create_behavior(
        session, rt, BehaviorDraft("inspection", entity.region, officers[0].department, content, entity.id)
    )
    record_event(session, rt, author, "behavior.off-site", "behavior", behavior, {"lead": finding.lead})
    return behavior


def _acting(session: Session, finding: OffsiteFinding, sector: str) -> Sequence[Officer]:
    people = get_officers(session, finding.officers)
    if unknown := [one for one in finding.officers if one not in people]:
        raise Problem("not-found", field="officers", detail=f"no officer {unknown[0]}")
    for officer in people.values():
        if fault := certificate_fault(officer, finding.established_at, sector):
            raise Problem("invalid-field", field="officers", detail=f"{officer.id}: {fault}", reason=fault)
    if len({officer.department for officer in people.values()}) > 1:
        raise Problem("invalid-field", field="officers", detail="officers of one department are needed")
    if clash := avoided(list(people), finding.entity, avoidances_of(session, people)):
        raise Problem(
            "invalid-field", field="officers", detail=f"{clash[0]} must keep away from {clash[1]}", reason="avoidance"
        )
    if len(people) < MIN_OFFICERS:
        raise Problem("invalid-field", field="officers", detail="two officers are needed", limit=MIN_OFFICERS)
    return [people[one] for one in dict.fromkeys(finding.officers)]
