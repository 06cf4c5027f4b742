"""Lawful erasure: asking for it, approving it as a second person, and handhelds saying that theirs is gone."""

from typing import Any

from marshmallow import Schema, fields, validate

from server.fieldsync import erasure
from server.fieldsync.conflicts import MAX_REASON_CHARS, MIN_REASON_CHARS
from server.fieldsync.models import ErasureOrder
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("erasures", __name__, url_prefix="/api/v1", description="依法删除 Lawful erasure")


class ErasableSchema(Schema):
    """A record by kind and id."""

    kind = fields.String(required=True, validate=validate.Length(1, 64))
    id = fields.String(required=True, validate=validate.Length(1, 64))


def _records() -> fields.List[Any]:
    limits = validate.Length(1, erasure.MAX_RECORDS)
    return fields.List(fields.Nested(ErasableSchema), required=True, validate=limits)


class ErasureBody(Schema):
    """What is to be erased, by which law, and why."""

    records = _records()
    basis = fields.String(required=True, validate=validate.Length(1, erasure.MAX_BASIS_CHARS))
    reason = fields.String(required=True, validate=validate.Length(MIN_REASON_CHARS, MAX_REASON_CHARS))


class ErasedBody(Schema):
    """The records whose personal parts a device has destroyed."""

    records = _records()


class ErasedSchema(Schema):
    """How many of them it had been told to."""

    acknowledged = fields.Integer()


class ErasureOrderSchema(Schema):
    """An order and how far it is."""

    id = fields.String()
    basis = fields.String()
    reason = fields.String()
    records = fields.Function(lambda row: [{"kind": kind, "id": record} for kind, record in row.records])
    region = fields.String()
    department = fields.String()
    status = fields.String()
    requested_by = fields.String()
    requested_at = fields.AwareDateTime()
    decided_by = fields.String(allow_none=True)
    decided_at = fields.AwareDateTime(allow_none=True)
    executed_at = fields.AwareDateTime(allow_none=True)
    acts = fields.Integer()


class ErasureViewSchema(Schema):
    """An order with the devices that have not yet said that they have destroyed theirs."""

    order = fields.Nested(ErasureOrderSchema)
    waiting_devices = fields.List(fields.String())


class ErasureListSchema(Schema):
    """A page of orders."""

    orders = fields.List(fields.Nested(ErasureOrderSchema))


@blp.route("/erasures", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(ErasureBody)
@blp.response(201, ErasureOrderSchema)
def request_erasure(body: dict[str, Any]) -> ErasureOrder:
    """Ask for the erasure of the personal data of some records; another person must approve it."""
    records = [(one["kind"], one["id"]) for one in body["records"]]
    return erasure.order_erasure(session(), runtime(), principal(), records, body["basis"], body["reason"])


@blp.route("/erasures", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, ErasureListSchema)
def erasures(query: dict[str, Any]) -> dict[str, Any]:
    """List the orders of one's scope, oldest first."""
    return {"orders": erasure.list_orders(session(), principal(), **query)}


@blp.route("/erasures/<order_id>", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, ErasureViewSchema)
def show_erasure(order_id: str) -> dict[str, Any]:
    """Show an order, and which devices have still to answer."""
    order = erasure.find_order(session(), principal(), order_id)
    return {"order": order, "waiting_devices": erasure.waiting_devices(session(), order_id)}


@blp.route("/erasures/<order_id>/approve", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(200, ErasureOrderSchema)
def approve_erasure(order_id: str) -> ErasureOrder:
    """Approve an order that another person asked for; the worker executes it."""
    return erasure.decide_order(session(), runtime(), principal(), order_id, approve=True)


@blp.route("/erasures/<order_id>/refuse", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(200, ErasureOrderSchema)
def refuse_erasure(order_id: str) -> ErasureOrder:
    """Refuse an order."""
    return erasure.decide_order(session(), runtime(), principal(), order_id, approve=False)


@blp.route("/sync/erasures", methods=["POST"])
@require("device")
@transactional
@blp.arguments(ErasedBody)
@blp.response(200, ErasedSchema)
def erased_on_device(body: dict[str, Any]) -> dict[str, int]:
    """Say, as a device, that the personal parts of one's own acts on some records are destroyed."""
    records = [(one["kind"], one["id"]) for one in body["records"]]
    return {"acknowledged": erasure.acknowledge(session(), runtime(), principal(), records)}
