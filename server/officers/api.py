"""Officers over HTTP: the register, and whom they must keep away from."""

from typing import Any

from flask import request
from marshmallow import Schema, fields, validate

from server.officers import avoidances
from server.officers.models import Officer
from server.officers.register import KEEPER, OFFICERS
from server.officers.service import add_avoidance
from server.registers import service
from server.registers.blueprint import EDITORS, READERS, register_blueprint, uploaded
from server.registers.report import ImportReport
from server.registers.schemas import REASON, ImportQuery, ImportView, RegisterReasonBody
from server.registers.tables import read_rows
from server.web.auth import principal, require
from server.web.transaction import runtime, session, transactional

blp = register_blueprint(KEEPER)


class AvoidanceBody(Schema):
    """Whom an officer keeps away from (code of an entity, certificate number or id), and why."""

    other = fields.String(required=True, validate=validate.Length(1, 64))
    reason = fields.String(required=True, validate=REASON)


class AvoidanceView(Schema):
    """Whom an officer keeps away from, who said so, and why."""

    other = fields.String()
    kind = fields.String()
    code = fields.String()
    name = fields.String()
    reason = fields.String()
    author = fields.String()
    at = fields.AwareDateTime()


class AvoidanceList(Schema):
    """All of an officer's avoidance relations."""

    avoidances = fields.List(fields.Nested(AvoidanceView))


def _mine(record: str) -> Officer:
    officer: Officer = service.get(session(), OFFICERS, principal(), record)
    return officer


def _listed(officer: Officer) -> dict[str, Any]:
    return {"avoidances": avoidances.list_avoidances(session(), officer)}


@blp.route("/<record>/avoidances", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, AvoidanceList)
def list_avoidances(record: str) -> dict[str, Any]:
    """Show whom an officer must keep away from."""
    return _listed(_mine(record))


@blp.route("/<record>/avoidances", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(AvoidanceBody)
@blp.response(201, AvoidanceList)
def avoid(body: dict[str, str], record: str) -> dict[str, Any]:
    """Note that an officer must keep away from an entity or another officer."""
    officer = _mine(record)
    other = avoidances.find_other(session(), body["other"])
    add_avoidance(session(), runtime(), officer.id, other, author=principal().subject, reason=body["reason"])
    return _listed(officer)


@blp.route("/<record>/avoidances/<other>/end", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(RegisterReasonBody)
@blp.response(200, AvoidanceList)
def meet(body: dict[str, str], record: str, other: str) -> dict[str, Any]:
    """End an avoidance relation; the trail keeps it."""
    officer, author = _mine(record), principal().subject
    avoidances.end_avoidance(session(), runtime(), officer, other, author=author, reason=body["reason"])
    session().flush()
    return _listed(officer)


@blp.route("/avoidances/import", methods=["POST"])
@require(*EDITORS)
@blp.arguments(ImportQuery, location="query")
@blp.response(200, ImportView)
def import_avoidances(query: dict[str, Any]) -> ImportReport:
    """Import avoidance relations: certificate number, code or certificate number of the other, and reason."""
    rows = read_rows(uploaded(), request.mimetype, avoidances.COLUMNS)
    opened = runtime().db.read if query["dry_run"] else runtime().db.write
    return avoidances.import_avoidances(runtime(), opened, rows, caller=principal(), dry_run=query["dry_run"])
