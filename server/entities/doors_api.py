"""The code that a firm shows at its door: issued, shown, and drawn as QR for printing."""

import io

import segno
from flask import Response
from marshmallow import Schema, fields

from schemas.visit_rules import DoorCode
from server.entities import door_codes, service
from server.entities.models import Entity
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.principal import require_scope
from server.web.transaction import runtime, session, transactional

READERS = ("admin", "operator", "auditor")
blp = Blueprint("doors", __name__, url_prefix="/api/v1/entities", description="入企码 Codes at doors")


class DoorCodeSchema(Schema):
    """A code at a door: `text` is what the QR holds."""

    entity = fields.String()
    serial = fields.Integer()
    text = fields.String()


def _mine(entity_id: str) -> Entity:
    entity = service.get_entity(session(), entity_id)
    require_scope(principal(), entity.region, principal().department)
    return entity


@blp.route("/<entity_id>/door-code", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(201, DoorCodeSchema)
def issue(entity_id: str) -> DoorCode:
    """Issue a code, or a new one in place of the former, which stops counting."""
    return door_codes.issue_door_code(session(), runtime(), _mine(entity_id), author=principal().subject)


@blp.route("/<entity_id>/door-code", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, DoorCodeSchema)
def show(entity_id: str) -> DoorCode:
    """Show the code that counts."""
    return door_codes.door_code(session(), runtime(), _mine(entity_id))


@blp.route("/<entity_id>/door-code.svg", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200)
def picture(entity_id: str) -> Response:
    """Draw the code that counts as QR (SVG), for printing."""
    out = io.BytesIO()
    code = door_codes.door_code(session(), runtime(), _mine(entity_id))
    segno.make_qr(code.text, error="m").save(out, kind="svg", scale=6, border=4)
    return Response(out.getvalue(), mimetype="image/svg+xml")
