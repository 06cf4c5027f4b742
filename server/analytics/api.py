"""Figures for operators and auditors."""

from typing import Any

from marshmallow import Schema, fields

from server.analytics import service, themes
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


class ThemeSchema(Schema):
    """One register by sector: total = sum of the sectors + unclassified - overlap."""

    register = fields.String()
    total = fields.Integer()
    sectors = COUNTS
    unclassified = fields.Integer()
    overlap = fields.Integer()
    reconciled = fields.Boolean()


class ThemeListSchema(Schema):
    """The theme views of all registers."""

    themes = fields.List(fields.Nested(ThemeSchema))


class SectorSchema(Schema):
    """What a sector has in one register, in all and by city (four digits of its code; empty for what lies in none)."""

    register = fields.String()
    count = fields.Integer()
    cities = COUNTS


class SectorViewSchema(Schema):
    """What a sector has in every register."""

    sector = fields.String()
    registers = fields.List(fields.Nested(SectorSchema))


@blp.route("/themes", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, ThemeListSchema)
def theme_views() -> dict[str, Any]:
    """Count every register by the nine sectors; the sums come out exactly at the base, and say so."""
    return {"themes": themes.themes(session(), principal())}


@blp.route("/themes/<sector>", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, SectorViewSchema)
def theme_view(sector: str) -> dict[str, Any]:
    """Show what one sector, or `unclassified`, has in every register and city."""
    return {"sector": sector, "registers": themes.theme(session(), principal(), sector)}


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
