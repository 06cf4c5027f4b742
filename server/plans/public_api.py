"""Draws for anybody: announcements, what was withdrawn, published results, and the file that shows how it was drawn."""

from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from server.plans import public
from server.plans.batches_api import VisitQuery, file_of
from server.web import auth
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint("public-draws", __name__, url_prefix="/api/v1/public/draws", description="抽查公示 Draws, for anybody")


class PublicDrawSchema(Schema):
    """A draw, for anybody."""

    id = fields.String()
    title = fields.String()
    state = fields.String()
    announced_at = fields.AwareDateTime()
    draw_not_before = fields.AwareDateTime()
    announcement = fields.Dict()
    announcement_sha256 = fields.String()
    drawn_at = fields.AwareDateTime(allow_none=True)
    file_sha256 = fields.String(allow_none=True)
    file_open = fields.Boolean()
    secret = fields.String()
    published_at = fields.AwareDateTime(allow_none=True)
    reason = fields.String()
    figures = fields.Dict()


class PublicDrawListSchema(Schema):
    """A page of draws, newest first."""

    draws = fields.List(fields.Nested(PublicDrawSchema))


class PublicQuery(PageQuery):
    """Which draws."""

    region = fields.String(load_default="", validate=validate.Regexp(r"\A\d{0,9}\Z"))


class PublicResultSchema(Schema):
    """A published result."""

    entity = fields.String()
    name = fields.String()
    uscc = fields.String()
    result = fields.String()
    settled_on = fields.Date()
    place = fields.Integer()


class PublicResultListSchema(Schema):
    """A page of published results."""

    results = fields.List(fields.Nested(PublicResultSchema))


@blp.route("", methods=["GET"])
@auth.public
@transactional(read_only=True)
@blp.arguments(PublicQuery, location="query")
@blp.response(200, PublicDrawListSchema)
def public_draws(query: dict[str, Any]) -> dict[str, Any]:
    """List draws, newest first, for anybody: what was announced, drawn, withdrawn and published."""
    return {"draws": public.list_draws(session(), **query)}


@blp.route("/<batch_id>", methods=["GET"])
@auth.public
@transactional(read_only=True)
@blp.response(200, PublicDrawSchema)
def public_draw(batch_id: str) -> public.PublicDraw:
    """Show one draw, for anybody."""
    return public.get_draw(session(), batch_id)


@blp.route("/<batch_id>/results", methods=["GET"])
@auth.public
@transactional(read_only=True)
@blp.arguments(VisitQuery, location="query")
@blp.response(200, PublicResultListSchema)
def public_results(query: dict[str, Any], batch_id: str) -> dict[str, Any]:
    """List the published results of a draw, for anybody."""
    return {"results": public.results_of(session(), public.get_draw(session(), batch_id).id, **query)}


@blp.route("/<batch_id>/file", methods=["GET"])
@auth.public
@blp.response(200)
def public_file(batch_id: str) -> Response:
    """Download the file of a published or withdrawn draw, for anybody."""
    with runtime().db.read() as opened:
        public.check_file_open(opened, batch_id)
    return file_of(batch_id)
