"""The national fields of a proceeding: who may write which of them when, and which a step needs."""

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.behavior import SCHEMAS, behavior_schema, days_of
from server.behaviors.lifecycles import (
    DECISION_FIELDS,
    EDITABLE,
    GIVEN_AT_ISSUE,
    ISSUE,
    LATER_FIELDS,
    LIFECYCLES,
    RETURN,
    STEP_FIELDS,
    WITHDRAW,
)
from server.behaviors.models import Behavior, Proceeding
from server.behaviors.service import content_of
from server.errors import Problem
from server.states import StateMachine

GIVEN_HERE = ("record_id", "number", "behavior_kind", "inspection_number", "reported_at", "reported_by")
"""National fields that nobody writes by hand."""
REVIEW_FIELDS = ("legal_review", "legal_review_at", "legal_review_opinion")
"""National fields of a penalty that only the review itself fills in."""
REASON_NEEDED = (RETURN, WITHDRAW)
FROM_INSPECTION = (
    "plan_id", "item_code", "checklist_code", "name", "implementing_body", "implementing_body_code", "entrusted_body",
    "entrusted_body_code", "object", "counterpart_name", "counterpart_nature", "certificate_type",
    "certificate_number", "registered_address", "operating_address", "region", "form", "category", "method", "result",
    "inspected_at", "officers",
)  # fmt: skip
"""National fields that a following behavior takes from its inspection."""


def fields_of_step(row: Proceeding, action: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that come with a step, after checking that it brings only what it may, and what it must.

    Raises:
        Problem: `invalid-field` naming the field.
    """
    machine = LIFECYCLES[row.kind]
    later = machine.states.keys() - _before_issue(machine)
    allowed: Sequence[str] = ()
    if row.state in EDITABLE or action == ISSUE:
        allowed = tuple(given) if row.state in EDITABLE else GIVEN_AT_ISSUE[row.kind]
    elif row.state in later:
        allowed = LATER_FIELDS[row.kind]
    for name in given:
        if name not in allowed:
            raise Problem("invalid-field", field=f"content.{name}", detail=f"does not come with {action}")
    if row.state in later:
        require_fields(given, STEP_FIELDS.get((row.kind, action), ()))
    return dict(given)


def _before_issue(machine: StateMachine) -> set[str]:
    """States in which a behavior is not issued yet, the withdrawn one included."""
    issued = {one.target for one in machine.transitions if one.action == ISSUE}
    while more := {one.target for one in machine.transitions if issued & set(one.sources)} - issued:
        issued |= more
    return set(machine.states) - issued


def missing_fields(row: Proceeding) -> list[str]:
    """Return the required national fields that a draft lacks, but for those given when it is issued."""
    given = {*GIVEN_HERE, *GIVEN_AT_ISSUE[row.kind]}
    required = [name for name, field in SCHEMAS[row.kind]().fields.items() if field.required]
    return [name for name in required if name not in given and name not in row.content]


def write_content(row: Proceeding, change: Mapping[str, Any], *, reviewed: bool = False) -> None:
    """Change fields of a draft; null takes one out. `reviewed`: the change comes from its review.

    Raises:
        Problem: `invalid-field` naming the field.
    """
    closed = GIVEN_HERE if reviewed else (*GIVEN_HERE, *REVIEW_FIELDS)
    for name in change:
        if name in closed:
            raise Problem("invalid-field", field=f"content.{name}", detail="is given by the platform")
    content = {**row.content, **change}
    content = {name: value for name, value in content.items() if value is not None}
    checked = content | {"reported_at": content["inspected_at"]}
    errors = behavior_schema(row.kind, days_of(content)).validate(checked, partial=True)
    errors.pop("legal_review_opinion", None)  # a major case is not approved before its review
    if errors:
        name, reason = next(iter(errors.items()))
        raise Problem("invalid-field", field=f"content.{name}", detail=str(reason))
    row.content = content


def require_fields(content: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse a step whose fields are not all there.

    Raises:
        Problem: `invalid-field` naming the first that lacks, and all of them.
    """
    if lacking := [name for name in names if content.get(name) in (None, "", [])]:
        detail = f"this step needs {', '.join(lacking)}"
        raise Problem("invalid-field", field=f"content.{lacking[0]}", detail=detail, missing=lacking)


def check_correction(behavior: Behavior, content: Mapping[str, Any]) -> None:
    """Refuse a correction that would change the decision itself: that takes a decision of its own.

    Raises:
        Problem: `illegal-transition` naming the field.
    """
    before = content_of(behavior)
    for name in DECISION_FIELDS.get(behavior.kind, ()):
        if before.get(name) != content.get(name):
            detail = "a correction does not change the decision; withdraw it by a decision of its own"
            raise Problem("illegal-transition", field=f"content.{name}", detail=detail)
