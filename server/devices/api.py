"""Enrolment, approval, revocation and sign-in of handhelds."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.kinds.base import ID
from server.devices import service
from server.devices.models import Device
from server.errors import Problem
from server.web.auth import issue_token, principal, public, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("devices", __name__, url_prefix="/api/v1", description="移动终端 Handhelds")


class EnrolBody(Schema):
    """A device's key and the proof that it holds it."""

    public_key = fields.String(required=True, validate=validate.Length(43, 44))
    proof = fields.String(required=True, validate=validate.Length(1, 128))
    name = fields.String(required=True, validate=validate.Length(1, 64))


class DeviceSchema(Schema):
    """A device as people see it."""

    id = fields.String(data_key="device")
    name = fields.String()
    officer = fields.String()
    region = fields.String()
    department = fields.String()
    status = fields.String()
    enrolled_at = fields.AwareDateTime()
    last_seen_at = fields.AwareDateTime(allow_none=True)
    last_sync_at = fields.AwareDateTime(allow_none=True)
    pending_acts = fields.Integer()


class DeviceListSchema(Schema):
    """A page of devices."""

    devices = fields.List(fields.Nested(DeviceSchema))


class DeviceSignInBody(Schema):
    """A signed request for a token."""

    device = fields.String(required=True, validate=ID)
    at_ms = fields.Integer(required=True, strict=True, validate=validate.Range(0, 1 << 53))
    nonce = fields.String(required=True, validate=validate.Length(16, 64))
    signature = fields.String(required=True, validate=validate.Length(1, 128))


class DeviceTokenSchema(Schema):
    """A device's token and the server's time."""

    token = fields.String()
    expires_at_ms = fields.Integer()
    server_ms = fields.Integer()


@blp.route("/devices", methods=["POST"])
@require("officer")
@transactional
@blp.arguments(EnrolBody)
@blp.response(201, DeviceSchema)
def enrol(body: dict[str, Any]) -> Device:
    """Enrol a device for the signed-in officer."""
    officers = principal().officers
    if not officers:
        raise Problem("forbidden", detail="this account belongs to no officer")
    return service.enrol(session(), runtime(), officers[0], body["name"], body["public_key"], body["proof"])


@blp.route("/devices", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, DeviceListSchema)
def devices(query: dict[str, Any]) -> dict[str, Any]:
    """List the devices of one's scope."""
    return {"devices": service.list_devices(session(), principal(), **query)}


@blp.route("/devices/<device_id>", methods=["GET"])
@require("admin", "operator", "auditor", "officer", "device")
@transactional(read_only=True)
@blp.response(200, DeviceSchema)
def device(device_id: str) -> Device:
    """Show one device."""
    return service.get_device(session(), device_id, principal())


@blp.route("/devices/<device_id>/approve", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(200, DeviceSchema)
def approve(device_id: str) -> Device:
    """Approve an enrolled device."""
    return service.decide(session(), runtime(), device_id, principal(), "active")


@blp.route("/devices/<device_id>/revoke", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(200, DeviceSchema)
def revoke(device_id: str) -> Device:
    """Revoke a device; it works at once, for tokens issued before as well."""
    return service.decide(session(), runtime(), device_id, principal(), "revoked")


@blp.route("/sign-in/device", methods=["POST"])
@public
@transactional
@blp.arguments(DeviceSignInBody)
@blp.response(200, DeviceTokenSchema)
def sign_in(body: dict[str, Any]) -> dict[str, Any]:
    """Exchange a signed request for a short-lived token."""
    found = service.sign_in(session(), runtime(), body["device"], body["at_ms"], body["nonce"], body["signature"])
    token = issue_token(runtime(), "device", found.id, runtime().settings.device_token_s)
    return {"token": token.text, "expires_at_ms": token.expires_at_ms, "server_ms": runtime().now_ms()}
