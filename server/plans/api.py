"""Plans of double-random inspection over HTTP: proposing, approving, closing."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.kinds.base import MAX_LABEL_CHARS, REGION
from server.inspections.draw import MAX_STRATA, MAX_TICKETS, MIN_OFFICERS
from server.plans import service
from server.plans.lifecycles import PLAN
from server.plans.models import DrawPlan
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

READERS = ("admin", "operator", "auditor")
EDITORS = ("admin", "operator")
GRADE = validate.OneOf(("A", "B", "C", "D"))
REASON = validate.Length(0, service.MAX_REASON_CHARS)
blp = Blueprint("plans", __name__, url_prefix="/api/v1/draw-plans", description="双随机抽查 Double-random inspection")


class StratumSchema(Schema):
    """Entities drawn at one rate."""

    name = fields.String(required=True, validate=validate.Length(1, 64))
    risks = fields.List(fields.String(validate=GRADE), required=True, validate=validate.Length(1, 4))
    credits = fields.List(fields.String(validate=GRADE), required=True, validate=validate.Length(1, 4))
    per_mille = fields.Integer(required=True, strict=True, validate=validate.Range(0, 1_000))
    minimum = fields.Integer(load_default=0, strict=True, validate=validate.Range(0, 10_000))


class RulesSchema(Schema):
    """What differs from the usual rules."""

    strata = fields.List(fields.Nested(StratumSchema), validate=validate.Length(1, MAX_STRATA))
    tickets = fields.Dict(
        keys=fields.String(validate=GRADE), values=fields.Integer(strict=True, validate=validate.Range(0, MAX_TICKETS))
    )
    visits_cap = fields.Integer(strict=True, validate=validate.Range(1, 366))
    officers = fields.Integer(strict=True, validate=validate.Range(MIN_OFFICERS, 8))
    load_slack = fields.Integer(strict=True, validate=validate.Range(0, 1_000))
    capacity = fields.Integer(strict=True, validate=validate.Range(1, 10_000))


class PlanBody(Schema):
    """A plan as it is proposed."""

    number = fields.String(required=True, validate=validate.Length(1, 32))
    title = fields.String(required=True, validate=validate.Length(1, MAX_LABEL_CHARS))
    year = fields.Integer(required=True, strict=True, validate=validate.Range(2000, 2199))
    quarter = fields.Integer(load_default=None, allow_none=True, strict=True, validate=validate.Range(1, 4))
    region = fields.String(required=True, validate=REGION)
    item_code = fields.String(required=True, validate=validate.Regexp(r"\A[0-9]{14}\Z"))
    joint = fields.List(
        fields.String(validate=validate.Length(1, 32)), load_default=list,
        validate=validate.Length(0, service.MAX_JOINT),
    )  # fmt: skip
    rules = fields.Nested(RulesSchema, load_default=dict)


class PlanSchema(Schema):
    """A plan."""

    id = fields.String()
    number = fields.String()
    title = fields.String()
    year = fields.Integer()
    quarter = fields.Integer(allow_none=True)
    region = fields.String()
    department = fields.String()
    joint = fields.List(fields.String())
    sector = fields.String()
    rules = fields.Dict()
    state = fields.String()
    author = fields.String()
    approver = fields.String(allow_none=True)
    reason = fields.String()
    legal = fields.Function(lambda row: list(PLAN.legal(row.state)), metadata={"type": "array"})


class PlanListSchema(Schema):
    """A page of plans."""

    plans = fields.List(fields.Nested(PlanSchema))


class PlanActionBody(Schema):
    """What to do with a plan, and why."""

    action = fields.String(required=True, validate=validate.Length(1, 16))
    reason = fields.String(load_default="", validate=REASON)


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, PlanListSchema)
def list_plans(query: dict[str, Any]) -> dict[str, Any]:
    """List the plans of one's scope."""
    return {"plans": service.list_plans(session(), principal(), **query)}


@blp.route("", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(PlanBody)
@blp.response(201, PlanSchema)
def propose(body: dict[str, Any]) -> DrawPlan:
    """Propose a plan for an item of the published list."""
    return service.create_plan(session(), runtime(), principal(), service.PlanDraft(**body))


@blp.route("/<plan_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, PlanSchema)
def plan(plan_id: str) -> DrawPlan:
    """Show a plan."""
    return service.get_plan(session(), principal(), plan_id)


@blp.route("/<plan_id>/actions", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(PlanActionBody)
@blp.response(200, PlanSchema)
def act_on_plan(body: dict[str, Any], plan_id: str) -> DrawPlan:
    """Approve a plan that somebody else proposed, close it, or withdraw it with a reason."""
    return service.act_on_plan(session(), runtime(), principal(), plan_id, body["action"], body["reason"])
