"""Enrolment, approval, keys, officers, revocation, wipe and sign-in of handhelds."""

from typing import Any

from server.clock import to_ms
from server.devices import clocks, keys, service, sharing, wiping
from server.devices.models import Device
from server.devices.negotiation import supported
from server.devices.schemas import (
    BootListSchema,
    DeviceListSchema,
    DeviceSchema,
    DeviceSignInBody,
    DeviceTokenSchema,
    EnrolBody,
    KeyBody,
    KeyListSchema,
    ShareBody,
    WipedBody,
    WipeOrderBody,
)
from server.entities.door_codes import public_door_key
from server.errors import Problem
from server.web.auth import HAND_IN, issue_token, principal, public, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional
from sync.statements import JournalHead

blp = Blueprint("devices", __name__, url_prefix="/api/v1", description="移动终端 Handhelds")
PEOPLE = ("admin", "operator", "auditor")


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
@require(*PEOPLE)
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, DeviceListSchema)
def devices(query: dict[str, Any]) -> dict[str, Any]:
    """List the devices of one's scope."""
    return {"devices": service.list_devices(session(), principal(), **query)}


@blp.route("/devices/<device_id>", methods=["GET"])
@require(*PEOPLE, "officer", "device", HAND_IN)
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


@blp.route("/devices/<device_id>/key", methods=["POST"])
@require("device")
@transactional
@blp.arguments(KeyBody)
@blp.response(200, DeviceSchema)
def change_key(body: dict[str, Any], device_id: str) -> Device:
    """Put a new key in the place of the device's present one."""
    device = _own(device_id)
    heads = [JournalHead(**head) for head in body["heads"]]
    return keys.change_key(
        session(), runtime(), device, body["public_key"], heads, signature=body["signature"], proof=body["proof"]
    )


@blp.route("/devices/<device_id>/keys", methods=["GET"])
@require(*PEOPLE)
@transactional(read_only=True)
@blp.response(200, KeyListSchema)
def device_keys(device_id: str) -> dict[str, Any]:
    """Show a device's keys, and for which acts each one vouches."""
    device = service.get_device(session(), device_id, principal())
    former = [keys.as_dict(key) for key in keys.former_keys(session(), device_id)]
    return {"number": device.key_number, "public_key": keys.encode_key(device.public_key), "former": former}


@blp.route("/devices/<device_id>/boots", methods=["GET"])
@require(*PEOPLE)
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, BootListSchema)
def device_boots(query: dict[str, Any], device_id: str) -> dict[str, Any]:
    """Show a device's clocks, boot by boot: how far off, how often set, and what ties them to the server's time."""
    service.get_device(session(), device_id, principal())
    return {"boots": clocks.boots_of(session(), device_id, **query)}


@blp.route("/devices/<device_id>/officers", methods=["POST"])
@require("officer")
@transactional
@blp.arguments(ShareBody)
@blp.response(200, DeviceSchema)
def join(body: dict[str, Any], device_id: str) -> Device:
    """Begin to work, as the signed-in officer, on a device that is somebody else's too."""
    officers = principal().officers
    if not officers:
        raise Problem("forbidden", detail="this account belongs to no officer")
    return sharing.join(session(), runtime(), device_id, officers[0], body["proof"])


@blp.route("/devices/<device_id>/officers/<officer_id>", methods=["DELETE"])
@require("admin", "operator")
@transactional
@blp.response(200, DeviceSchema)
def leave(device_id: str, officer_id: str) -> Device:
    """Take an officer off a shared device."""
    device = service.get_device(session(), device_id, principal(), lock=True)
    return sharing.leave(session(), runtime(), device, officer_id, principal())


@blp.route("/devices/<device_id>/wipe", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(WipeOrderBody)
@blp.response(200, DeviceSchema)
def wipe(body: dict[str, Any], device_id: str) -> Device:
    """Order a device to hand in what it has and erase itself."""
    device = service.get_device(session(), device_id, principal(), lock=True)
    return wiping.order_wipe(session(), runtime(), device, principal(), body["reason"])


@blp.route("/devices/<device_id>/wiped", methods=["POST"])
@require(HAND_IN)
@transactional
@blp.arguments(WipedBody)
@blp.response(200, DeviceSchema)
def wiped(body: dict[str, Any], device_id: str) -> Device:
    """Say, as the device, that it has erased itself, and what was lost with it."""
    return wiping.acknowledge_wipe(session(), runtime(), _own(device_id), **body)


def _own(device_id: str) -> Device:
    """Return the calling device, locked, which must be the one that the address names."""
    if device_id != principal().device:
        raise Problem("not-found", detail="no device with this id")
    return service.get_device(session(), device_id, principal(), lock=True)


@blp.route("/sign-in/device", methods=["POST"])
@public
@transactional
@blp.arguments(DeviceSignInBody)
@blp.response(200, DeviceTokenSchema)
def sign_in(body: dict[str, Any]) -> dict[str, Any]:
    """Exchange a signed request for a short-lived token, which may be one for handing in only."""
    rt = runtime()
    signed_in = service.sign_in(session(), rt, service.SignedRequest(**body))
    device, problem = signed_in.device, signed_in.problem
    token = issue_token(rt, HAND_IN if problem else "device", device.id, rt.settings.device_token_s)
    return supported() | {
        "token": token.text,
        "expires_at_ms": token.expires_at_ms,
        "server_ms": rt.now_ms(),
        "purpose": HAND_IN if problem else "sync",
        "problem": problem.as_dict() if problem else None,
        "wipe_ordered_at_ms": to_ms(device.wipe_ordered_at) if device.wipe_ordered_at else None,
        "door_key": public_door_key(rt),
    }
