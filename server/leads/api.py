"""HTTP of leads: what off-site supervision suspects, where each lead stands, and how often its rules were right."""

from collections.abc import Sequence
from typing import Any

from marshmallow import Schema, fields, validate

from server.leads import course, desk, service
from server.leads.lifecycle import DISPOSALS, LEAD
from server.leads.models import Lead, LeadStep
from server.leads.precision import rule_precision
from server.telemetry.rules import CATEGORIES
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.principal import require_scope
from server.web.transaction import runtime, session, transactional

blp = Blueprint("leads", __name__, url_prefix="/api/v1/leads", description="线索 Leads")

READERS = ("admin", "operator", "auditor", "officer")
EDITORS = ("admin", "operator")


class LeadsQuery(PageQuery):
    """Which leads."""

    status = fields.String(load_default="", validate=validate.OneOf(("", *LEAD.states)))
    category = fields.String(load_default="", validate=validate.OneOf(("", *CATEGORIES)))
    rule = fields.String(load_default="", validate=validate.Length(max=64))
    entity = fields.String(load_default="", validate=validate.Length(max=36))
    overdue = fields.Boolean(load_default=None)
    withdrawn = fields.Boolean(load_default=None)


class DeskStepSchema(Schema):
    """A step at the desk."""

    action = fields.String(required=True, validate=validate.Length(1, 16))
    reason = fields.String(load_default="", validate=validate.Length(max=desk.MAX_REASON_CHARS))
    disposal = fields.String(load_default="", validate=validate.OneOf(("", *DISPOSALS)))


class LeadStepSchema(Schema):
    """A step that was taken: by whom, when, and when it was due."""

    number = fields.Integer()
    action = fields.String()
    source = fields.String()
    target = fields.String()
    actor = fields.String()
    at = fields.AwareDateTime()
    noted_at = fields.AwareDateTime(metadata={"description": "when the platform learned of it"})
    due_at = fields.AwareDateTime(allow_none=True)
    reason = fields.String()
    detail = fields.Dict()


class LeadSchema(Schema):
    """A lead, with the readings it was opened on."""

    id = fields.String(data_key="lead")
    source = fields.String()
    episode_key = fields.String(data_key="episode")
    sensor_id = fields.String(data_key="sensor")
    entity_id = fields.String(data_key="entity")
    region = fields.String()
    department = fields.String()
    rule_code = fields.String()
    rule_version = fields.Integer()
    factor = fields.String()
    unit = fields.String()
    threshold = fields.Float()
    title_zh = fields.String()
    title_en = fields.String()
    explanation_zh = fields.String()
    explanation_en = fields.String()
    extract = fields.List(fields.List(fields.Raw()))
    started_at = fields.AwareDateTime()
    confirmed_at = fields.AwareDateTime()
    last_at = fields.AwareDateTime()
    ended_at = fields.AwareDateTime(allow_none=True)
    peak = fields.Float()
    status = fields.String()
    task_id = fields.String(data_key="task", allow_none=True)
    created_at = fields.AwareDateTime()
    pushed_at = fields.AwareDateTime(allow_none=True)
    category = fields.String()
    withdrawn_at = fields.AwareDateTime(allow_none=True)
    outcome = fields.String(allow_none=True)
    disposal = fields.String(allow_none=True)
    behavior_id = fields.String(data_key="behavior", allow_none=True)
    due_at = fields.AwareDateTime(allow_none=True)
    overdue = fields.Function(lambda lead: course.is_overdue(lead, runtime().now()))
    escalation = fields.Integer(metadata={"description": "how far it has risen: 0, or 1 to 3"})
    held_up = fields.String(metadata={"description": "why the platform could not take its next step"})
    extract_id = fields.String(data_key="evidence", allow_none=True)
    extract_sha256 = fields.String(allow_none=True)
    extract_sm3 = fields.String(allow_none=True)


class WholeLeadSchema(LeadSchema):
    """A lead with its history, and what may be done with it at the desk."""

    legal = fields.Function(lambda lead: list(desk.legal_actions(lead)))
    disposals = fields.Function(lambda lead: list(desk.possible_disposals(lead)))
    steps = fields.Method("_steps")

    def _steps(self, lead: Lead) -> Any:  # noqa: ANN401 - what marshmallow makes
        rows: Sequence[LeadStep] = course.steps_of(session(), lead.id)
        return LeadStepSchema(many=True).dump(rows)


class PrecisionQuery(Schema):
    """Of which rule."""

    rule = fields.String(load_default="", validate=validate.Length(max=64))


class RulePrecisionSchema(Schema):
    """What became of the leads of one version of a rule."""

    code = fields.String()
    version = fields.Integer()
    title_zh = fields.String()
    title_en = fields.String()
    leads = fields.Integer()
    withdrawn = fields.Integer()
    confirmed = fields.Integer()
    partly = fields.Integer()
    refuted = fields.Integer()
    verified = fields.Integer()
    precision = fields.Float(allow_none=True, metadata={"description": "part of the settled ones that was right"})


class PrecisionListSchema(Schema):
    """Versions of rules in order of their codes."""

    rules = fields.List(fields.Nested(RulePrecisionSchema))


class LeadListSchema(Schema):
    """A page of leads."""

    leads = fields.List(fields.Nested(LeadSchema))


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(LeadsQuery, location="query")
@blp.response(200, LeadListSchema)
def leads(query: dict[str, Any]) -> dict[str, Any]:
    """List the leads of one's scope, by state, kind, rule, entity, and whether they are overdue."""
    page = {name: query.pop(name) for name in ("after", "limit")}
    return {"leads": service.list_leads(session(), runtime(), principal(), service.LeadFilter(**query), **page)}


@blp.route("/precision", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(PrecisionQuery, location="query")
@blp.response(200, PrecisionListSchema)
def precision(query: dict[str, Any]) -> dict[str, Any]:
    """Tell for each version of a rule how many of its leads were confirmed, partly, or refuted."""
    return {"rules": rule_precision(session(), principal(), code=query["rule"])}


@blp.route("/<lead_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, WholeLeadSchema)
def lead(lead_id: str) -> Lead:
    """Show one lead: why it was raised, its history, and what may be done next."""
    found = service.get_lead(session(), lead_id)
    require_scope(principal(), found.region, found.department)
    return found


@blp.route("/<lead_id>/steps", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(DeskStepSchema)
@blp.response(201, WholeLeadSchema)
def step(body: dict[str, Any], lead_id: str) -> Lead:
    """Take a step at the desk: dismiss, confirm, refute, partly_confirm, return, dispose, close."""
    return desk.act(session(), runtime(), principal(), lead_id, desk.DeskStep(**body))
