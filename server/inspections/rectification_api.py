"""Rectification orders at the desk: finding them, taking reports in, extending, giving re-checks out, settling."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.kinds.base import ID
from server.inspections import rechecking, rectifying
from server.inspections.lifecycles import CLOSE, PENALIZE, RECTIFICATION
from server.inspections.models import Rectification
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

READERS = ("admin", "operator", "auditor")
EDITORS = ("admin", "operator")
REASON = validate.Length(rectifying.MIN_REASON_CHARS, rectifying.MAX_REASON_CHARS)
blp = Blueprint(
    "rectifications", __name__, url_prefix="/api/v1/rectifications", description="责令整改 Rectification orders"
)


class OrderQuery(PageQuery):
    """Which orders."""

    state = fields.String(load_default="", validate=validate.OneOf(("", *RECTIFICATION.states)))
    entity = fields.String(load_default="", validate=validate.Length(max=36))
    inspection = fields.String(load_default="", validate=validate.Length(max=36))
    overdue = fields.Boolean(load_default=None)


class RectificationSchema(Schema):
    """An order, and how far the loop has got."""

    id = fields.String()
    inspection = fields.String(allow_none=True)
    entity = fields.String(allow_none=True)
    answer = fields.String(allow_none=True)
    region = fields.String()
    department = fields.String()
    requirement = fields.String(allow_none=True)
    deadline = fields.AwareDateTime(allow_none=True)
    state = fields.String()
    outcome = fields.String(allow_none=True)
    task = fields.String(allow_none=True)
    recheck = fields.String(allow_none=True)
    proceeding = fields.String(allow_none=True)
    overdue_at = fields.AwareDateTime(allow_none=True)
    closed_at = fields.AwareDateTime(allow_none=True)
    legal = fields.Function(lambda row: list(RECTIFICATION.legal(row.state)), metadata={"type": "array"})


class OrderListSchema(Schema):
    """A page of orders."""

    rectifications = fields.List(fields.Nested(RectificationSchema))


class ReportBody(Schema):
    """What was done, and who says so."""

    text = fields.String(required=True, validate=validate.Length(1, rectifying.MAX_REPORT_CHARS))
    reported_by = fields.String(required=True, validate=validate.Length(1, 200))


class ExtendBody(Schema):
    """A later deadline, and why."""

    deadline = fields.AwareDateTime(required=True)
    reason = fields.String(required=True, validate=REASON)


class RecheckBody(Schema):
    """Who re-checks; nobody named: the officers of the inspection while they may go."""

    officers = fields.List(fields.String(validate=ID), load_default=list, validate=validate.Length(0, 8))


class SettleBody(Schema):
    """How a re-checked order ends, and why."""

    action = fields.String(required=True, validate=validate.OneOf((CLOSE, PENALIZE)))
    reason = fields.String(required=True, validate=REASON)


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(OrderQuery, location="query")
@blp.response(200, OrderListSchema)
def list_all(query: dict[str, Any]) -> dict[str, Any]:
    """List the orders of one's scope; `overdue=true` shows those whose deadline has passed without a report."""
    paging = {"after": query.pop("after"), "limit": query.pop("limit")}
    wanted = rectifying.OrderFilter(**query)
    return {"rectifications": rectifying.list_orders(session(), runtime(), principal(), wanted, **paging)}


@blp.route("/<order_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, RectificationSchema)
def show(order_id: str) -> Rectification:
    """Show an order and what may be done next."""
    return rectifying.get_order(session(), principal(), order_id)


@blp.route("/<order_id>/report", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(ReportBody)
@blp.response(200, RectificationSchema)
def report(body: dict[str, Any], order_id: str) -> Rectification:
    """Take in what a firm says it has done."""
    return rectifying.report(session(), runtime(), principal(), order_id, **body)


@blp.route("/<order_id>/extend", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(ExtendBody)
@blp.response(200, RectificationSchema)
def extend(body: dict[str, Any], order_id: str) -> Rectification:
    """Give an order a later deadline."""
    return rectifying.extend(session(), runtime(), principal(), order_id, **body)


@blp.route("/<order_id>/recheck", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(RecheckBody)
@blp.response(200, RectificationSchema)
def recheck(body: dict[str, Any], order_id: str) -> Rectification:
    """Give the re-check out now, as a task on the officers' handhelds."""
    return rechecking.give_out_order(session(), runtime(), principal(), order_id, body["officers"])


@blp.route("/<order_id>/settle", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(SettleBody)
@blp.response(200, RectificationSchema)
def settle(body: dict[str, Any], order_id: str) -> Rectification:
    """Close a re-checked order or pass it on for a penalty, where its record leaves that to a person."""
    return rechecking.settle(session(), runtime(), principal(), order_id, **body)
