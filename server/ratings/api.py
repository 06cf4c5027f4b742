"""Ratings over HTTP, for anybody: giving one with a token from a visit's notice, and reading the counts."""

from typing import Any

from flask import request
from marshmallow import Schema, fields, validate

from schemas.codes import Code
from server.ratings import service
from server.ratings.tokens import MAX_TOKEN_CHARS
from server.web.auth import public
from server.web.blueprint import Blueprint
from server.web.transaction import runtime, session, transactional

blp = Blueprint("ratings", __name__, url_prefix="/api/v1/public/ratings", description="企业评价 Ratings by firms")


class RatingBody(Schema):
    """A rating: one to five stars, and what was wrong, by codes; no free text, which could tell who wrote it."""

    token = fields.String(required=True, validate=validate.Length(1, MAX_TOKEN_CHARS))
    stars = fields.Integer(required=True, strict=True, validate=validate.Range(service.MIN_STARS, service.MAX_STARS))
    issues = fields.List(Code("rating_issue"), load_default=list, validate=validate.Length(0, service.MAX_ISSUES))


class DepartmentRatingSchema(Schema):
    """What was said of a department."""

    department = fields.String()
    ratings = fields.Integer()
    mean = fields.Float()
    issues = fields.Dict(keys=fields.String(), values=fields.Integer())


class RatingListSchema(Schema):
    """The ratings by department."""

    departments = fields.List(fields.Nested(DepartmentRatingSchema))


@blp.route("", methods=["POST"])
@public
@transactional
@blp.arguments(RatingBody)
@blp.response(204)
def rate(body: dict[str, Any]) -> None:
    """Rate a visit with the token from its notice, once; nothing is kept but counts by department and month."""
    take_turn()
    service.rate(session(), runtime(), **body)


def take_turn() -> None:
    """Count a request of the caller's address against its rate; the address is kept in memory only.

    Raises:
        Problem: `rate-limited`.
    """
    rt = runtime()
    rt.rates.take(f"rating:{request.remote_addr}", rt.now_ms(), service.REQUESTS_PER_S)


@blp.route("", methods=["GET"])
@public
@transactional(read_only=True)
@blp.response(200, RatingListSchema)
def ratings() -> dict[str, Any]:
    """Show the ratings by department, where there are enough to hide who gave them."""
    return {"departments": service.ratings(session())}
