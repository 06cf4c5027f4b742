"""Supervision behaviors for operators and auditors."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.behavior import SCHEMAS
from server.behaviors import service
from server.behaviors.drafting import check_correction
from server.behaviors.models import Behavior
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("behaviors", __name__, url_prefix="/api/v1/behaviors", description="监管行为 Supervision behaviors")


class BehaviorQuery(PageQuery):
    """Which behaviors."""

    kind = fields.String(load_default="", validate=validate.OneOf(("", *SCHEMAS)))
    result = fields.String(load_default="", validate=validate.Length(max=32))
    entity = fields.String(load_default="", validate=validate.Length(max=36))
    region = fields.String(load_default="", validate=validate.Regexp(r"\A\d{0,9}\Z"))
    number = fields.String(load_default="", validate=validate.Length(max=64))
    inspected_from = fields.AwareDateTime(load_default=None)
    inspected_before = fields.AwareDateTime(load_default=None)


class BehaviorSchema(Schema):
    """One version of a behavior; `content` holds the national fields."""

    id = fields.String()
    version = fields.Integer()
    kind = fields.String()
    number = fields.String()
    status = fields.String()
    region = fields.String()
    department = fields.String()
    entity = fields.String(allow_none=True)
    inspection = fields.String(allow_none=True)
    result = fields.String()
    inspected_at = fields.AwareDateTime()
    created_at = fields.AwareDateTime()
    content = fields.Function(service.content_of, metadata={"type": "object"})


class CorrectionSchema(Schema):
    """A corrected version: all national fields as they should be, and why."""

    content = fields.Dict(keys=fields.String(), required=True)
    reason = fields.String(required=True, validate=validate.Length(1, service.MAX_REASON_CHARS))


class BehaviorListSchema(Schema):
    """A page of behaviors, newest first."""

    behaviors = fields.List(fields.Nested(BehaviorSchema))


@blp.route("", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(BehaviorQuery, location="query")
@blp.response(200, BehaviorListSchema)
def behaviors(query: dict[str, Any]) -> dict[str, Any]:
    """List the behaviors of one's scope, newest first."""
    paging = {"after": query.pop("after"), "limit": query.pop("limit")}
    return {"behaviors": service.list_behaviors(session(), principal(), service.BehaviorFilter(**query), **paging)}


@blp.route("/<behavior_id>", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, BehaviorSchema)
def behavior(behavior_id: str) -> Behavior:
    """Show the current version of a behavior."""
    return service.versions_of(session(), principal(), behavior_id)[-1]


@blp.route("/<behavior_id>/versions", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, BehaviorListSchema)
def versions(behavior_id: str) -> dict[str, Any]:
    """Show all versions of a behavior, oldest first."""
    return {"behaviors": service.versions_of(session(), principal(), behavior_id)}


@blp.route("/<behavior_id>/versions", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(CorrectionSchema)
@blp.response(201, BehaviorSchema)
def correct(correction: dict[str, Any], behavior_id: str) -> Behavior:
    """Append a corrected version; the earlier ones stay."""
    check_correction(service.versions_of(session(), principal(), behavior_id)[-1], correction["content"])
    service.correct_behavior(session(), runtime(), behavior_id, author=principal().subject, **correction)
    return service.versions_of(session(), principal(), behavior_id)[-1]
