"""What people do with a lead at the desk: dismiss, settle without a visit, return, dispose of, close."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from server.errors import Problem
from server.leads import course
from server.leads.lifecycle import (
    CONFIRM,
    DESK_ACTIONS,
    DISPOSALS,
    DISPOSE,
    LEAD,
    PARTLY_CONFIRM,
    REASON_NEEDED,
    RETURN,
)
from server.leads.models import REASON_CHARS, Lead
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

MIN_REASON_CHARS = 2
MAX_REASON_CHARS = REASON_CHARS


@dataclass(frozen=True)
class DeskStep:
    """A step that a person takes."""

    action: str
    """One of `lifecycle.DESK_ACTIONS`."""
    reason: str = ""
    disposal: str = ""
    """Code of the table `lead_disposal`; needed for `dispose` only."""


def act(session: Session, rt: Runtime, caller: Principal, lead_id: str, step: DeskStep) -> Lead:
    """Take a step at the desk.

    Raises:
        Problem: `not-found`; `illegal-transition` naming the legal actions; `invalid-field` for a missing reason or a
            way of disposal that does not go with the outcome; `conflict` for confirming what its data do not support.
    """
    lead = course.lock(session, lead_id)
    require_scope(caller, lead.region, lead.department)
    legal = legal_actions(lead)
    if step.action not in legal:
        named = ", ".join(legal) or "nothing"
        detail = f"{step.action} is not done at the desk in the state {lead.status}; legal: {named}"
        raise Problem("illegal-transition", field="action", detail=detail, state=lead.status, legal=list(legal))
    if step.action in REASON_NEEDED and len(step.reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    if len(step.reason) > MAX_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="too long", limit=MAX_REASON_CHARS)
    if step.action in (CONFIRM, PARTLY_CONFIRM) and lead.withdrawn_at is not None:
        detail = "the data as they are now do not support the lead; data that do not count accuse nobody"
        raise Problem("conflict", field="action", detail=detail)
    detail_of = {}
    if step.action == DISPOSE:
        detail_of["disposal"] = lead.disposal = _disposal(lead, step.disposal)
    elif step.action == RETURN:
        lead.disposal = None
    course.take(session, rt, lead, step.action, actor=caller.subject, reason=step.reason.strip(), detail=detail_of)
    return lead


def legal_actions(lead: Lead) -> Sequence[str]:
    """Return what may be done at the desk with a lead as it stands."""
    return [action for action in LEAD.legal(lead.status) if action in DESK_ACTIONS]


def possible_disposals(lead: Lead) -> Sequence[str]:
    """Return the ways of disposal that go with a lead's outcome."""
    return [code for code, outcomes in DISPOSALS.items() if lead.status in outcomes]


def _disposal(lead: Lead, code: str) -> str:
    possible = possible_disposals(lead)
    if code not in possible:
        detail = f"after {lead.status} must be one of {', '.join(possible)}"
        raise Problem("invalid-field", field="disposal", detail=detail)
    return code
