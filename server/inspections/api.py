"""Tasks and inspections for operators."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.codes import Code
from schemas.kinds.base import ID, MAX_LABEL_CHARS, MAX_TEXT_CHARS
from server.inspections import pinning, reassigning, service
from server.inspections.models import Inspection, Task
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("inspections", __name__, url_prefix="/api/v1", description="任务与检查 Tasks and inspections")


class OrderSchema(Schema):
    """One planned visit."""

    entity = fields.String(required=True, validate=ID)
    checklist = fields.String(required=True, validate=ID)
    officers = fields.List(fields.String(validate=ID), required=True, validate=validate.Length(2, 8))
    due_at = fields.AwareDateTime(required=True)
    title = fields.String(required=True, validate=validate.Length(1, MAX_LABEL_CHARS))
    explanation = fields.String(load_default="", validate=validate.Length(max=MAX_TEXT_CHARS))
    plan = fields.String(required=True, validate=validate.Length(1, MAX_LABEL_CHARS))
    visit_reason = Code("visit_reason", load_default="")


class DispatchBody(Schema):
    """Planned visits that become tasks."""

    orders = fields.List(fields.Nested(OrderSchema), required=True, validate=validate.Length(1, service.MAX_DISPATCH))


class DispatchedSchema(Schema):
    """The tasks made, in the order of the request."""

    tasks = fields.List(fields.String())


class ReassignBody(Schema):
    """Who is to do a task from now on, the leading officer first, and why."""

    officers = fields.List(fields.String(validate=ID), required=True, validate=validate.Length(2, 8))
    reason = fields.String(
        required=True, validate=validate.Length(reassigning.MIN_REASON_CHARS, reassigning.MAX_REASON_CHARS)
    )


class TaskSchema(Schema):
    """A task as people see it."""

    id = fields.String()
    title = fields.String()
    origin = fields.String()
    lead = fields.String(allow_none=True)
    entity = fields.String()
    inspection = fields.String()
    region = fields.String()
    department = fields.String()
    status = fields.String()
    due_at = fields.AwareDateTime()


class TaskListSchema(Schema):
    """A page of tasks."""

    tasks = fields.List(fields.Nested(TaskSchema))


class InspectionQuery(PageQuery):
    """Which inspections."""

    marked = fields.Boolean(load_default=False)


class PinnedSchema(Schema):
    """The versions an inspection was made with; `standing` marks a checklist that was superseded before or since."""

    code = fields.String()
    version = fields.Integer()
    name = fields.String()
    standing = fields.String(validate=validate.OneOf(pinning.STANDINGS))
    item_code = fields.String()
    item_version = fields.Integer(allow_none=True)
    item_name = fields.String()


class InspectionViewSchema(Schema):
    """An inspection as people see it."""

    id = fields.String()
    task = fields.String(allow_none=True)
    entity = fields.String(allow_none=True)
    region = fields.String()
    department = fields.String()
    status = fields.String()
    result = fields.String(allow_none=True)
    inspected_at = fields.AwareDateTime(allow_none=True)
    closed_at = fields.AwareDateTime(allow_none=True)
    behavior = fields.String(allow_none=True)
    blockers = fields.List(fields.Dict())
    visit_reason = fields.String(allow_none=True)
    marks = fields.List(fields.Dict())
    excuse = fields.Dict(allow_none=True)
    checklist = fields.Nested(PinnedSchema, allow_none=True)


class InspectionListSchema(Schema):
    """A page of inspections."""

    inspections = fields.List(fields.Nested(InspectionViewSchema))


@blp.route("/tasks", methods=["POST"])
@require("operator")
@transactional
@blp.arguments(DispatchBody)
@blp.response(201, DispatchedSchema)
def dispatch(body: dict[str, Any]) -> dict[str, Any]:
    """Dispatch planned visits: each becomes a task with its inspection opened beside it."""
    orders = [
        service.DispatchOrder(**order | {"origin": "plan", "officers": tuple(order["officers"])})
        for order in body["orders"]
    ]
    service.check_scope(session(), principal(), orders)
    return {"tasks": service.dispatch(session(), runtime(), orders, author=principal().subject)}


@blp.route("/tasks", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, TaskListSchema)
def tasks(query: dict[str, Any]) -> dict[str, Any]:
    """List the tasks of one's scope."""
    return {"tasks": service.list_tasks(session(), principal(), **query)}


@blp.route("/tasks/<task_id>/reassign", methods=["POST"])
@require("operator")
@transactional
@blp.arguments(ReassignBody)
@blp.response(200, TaskSchema)
def reassign(body: dict[str, Any], task_id: str) -> Task:
    """Give a task and its inspection to other officers of its department, with a reason."""
    return reassigning.reassign(session(), runtime(), principal(), task_id, body["officers"], body["reason"])


@blp.route("/inspections", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(InspectionQuery, location="query")
@blp.response(200, InspectionListSchema)
def inspections(query: dict[str, Any]) -> dict[str, Any]:
    """List the inspections of one's scope; `marked=true` shows those that broke a limit on visits."""
    found = service.list_inspections(session(), principal(), **query)
    pinned = pinning.pinned_versions(session(), [one.id for one in found])
    columns = Inspection.__table__.columns.keys()
    views = [{name: getattr(one, name) for name in columns} | {"checklist": pinned.get(one.id)} for one in found]
    return {"inspections": views}
