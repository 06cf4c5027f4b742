"""HTTP of leads: what off-site supervision suspects, and where each lead stands."""

from typing import Any

from marshmallow import Schema, fields, validate

from server.leads import service
from server.leads.models import Lead
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.principal import require_scope
from server.web.transaction import session, transactional

blp = Blueprint("leads", __name__, url_prefix="/api/v1/leads", description="线索 Leads")

READERS = ("admin", "operator", "auditor", "officer")


class LeadsQuery(PageQuery):
    """Which leads."""

    status = fields.String(load_default=None, validate=validate.OneOf(service.STATUSES))


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


class LeadListSchema(Schema):
    """A page of leads."""

    leads = fields.List(fields.Nested(LeadSchema))


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(LeadsQuery, location="query")
@blp.response(200, LeadListSchema)
def leads(query: dict[str, Any]) -> dict[str, Any]:
    """List the leads of one's scope."""
    caller = principal()
    return {"leads": service.list_leads(session(), region=caller.region, department=caller.department, **query)}


@blp.route("/<lead_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, LeadSchema)
def lead(lead_id: str) -> Lead:
    """Show one lead."""
    found = service.get_lead(session(), lead_id)
    require_scope(principal(), found.region, found.department)
    return found
