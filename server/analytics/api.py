"""Figures for operators and auditors."""

from typing import Any

from marshmallow import Schema, fields

from server.analytics import service
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import session, transactional

blp = Blueprint("analytics", __name__, url_prefix="/api/v1/analytics", description="分析 Figures")
COUNTS = fields.Dict(keys=fields.String(), values=fields.Integer())


class FiguresSchema(Schema):
    """For each table, rows by status."""

    acts = COUNTS
    behaviors = COUNTS
    conflicts = COUNTS
    devices = COUNTS
    evidence = COUNTS
    inspections = COUNTS
    leads = COUNTS
    tasks = COUNTS


class JournalSchema(Schema):
    """A device's journal as the server has it."""

    journal = fields.String()
    device = fields.String()
    head_seq = fields.Integer()
    head = fields.String()
    acts = fields.Integer()


class JournalListSchema(Schema):
    """A page of journals."""

    journals = fields.List(fields.Nested(JournalSchema))


@blp.route("/figures", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, FiguresSchema)
def figures() -> dict[str, Any]:
    """Count everything in one's scope by status."""
    return service.figures(session(), principal())


@blp.route("/journals", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, JournalListSchema)
def journals(query: dict[str, Any]) -> dict[str, Any]:
    """List the devices' journals with their heads, to be compared with what the devices have."""
    return {"journals": service.journals(session(), principal(), **query)}
