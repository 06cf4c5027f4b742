"""Publishing behaviors: the office's list with deadlines, and what anybody may read."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.behavior import SCHEMAS
from server.behaviors import publication
from server.behaviors.lifecycles import PUBLICATION
from server.behaviors.models import Publication
from server.behaviors.publication import PublishedBehavior
from server.web.auth import principal, public, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

blp = Blueprint(
    "publications", __name__, url_prefix="/api/v1/publications", description="行政执法公示 Publication of behaviors"
)
public_blp = Blueprint(
    "public", __name__, url_prefix="/api/v1/public/behaviors", description="公示信息 What is published, for anybody"
)
KIND = validate.OneOf(("", *SCHEMAS))


class PublicationQuery(PageQuery):
    """Which publications."""

    kind = fields.String(load_default="", validate=KIND)
    state = fields.String(load_default="", validate=validate.OneOf(("", *PUBLICATION.states)))
    overdue = fields.Boolean(load_default=None)


class PublicQuery(PageQuery):
    """Which published behaviors; `after` is the number of the last one of the page before."""

    kind = fields.String(load_default="", validate=KIND)
    region = fields.String(load_default="", validate=validate.Regexp(r"\A\d{0,9}\Z"))


class ActionSchema(Schema):
    """What to do, and why."""

    action = fields.String(required=True, validate=validate.Length(1, 16))
    reason = fields.String(load_default="", validate=validate.Length(0, publication.MAX_REASON_CHARS))


class PublicationSchema(Schema):
    """By when a behavior must be published, and whether it is."""

    behavior = fields.String()
    number = fields.String()
    kind = fields.String()
    region = fields.String()
    department = fields.String()
    state = fields.String()
    since = fields.Date()
    due_on = fields.Date()
    provisional = fields.Boolean()
    overdue_at = fields.AwareDateTime(allow_none=True)
    published_at = fields.AwareDateTime(allow_none=True)
    actor = fields.String(allow_none=True)
    reason = fields.String()
    legal = fields.Function(lambda row: list(PUBLICATION.legal(row.state)), metadata={"type": "array"})


class PublicationListSchema(Schema):
    """A page of publications."""

    publications = fields.List(fields.Nested(PublicationSchema))


class PublishedSchema(Schema):
    """What anybody may read of a behavior; codes with their labels, personal data masked."""

    number = fields.String()
    kind = fields.String()
    published_at = fields.AwareDateTime()
    corrected = fields.Boolean()
    fields_ = fields.Dict(data_key="fields", attribute="fields")


class PublishedListSchema(Schema):
    """A page of published behaviors, newest first."""

    behaviors = fields.List(fields.Nested(PublishedSchema))


@blp.route("", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(PublicationQuery, location="query")
@blp.response(200, PublicationListSchema)
def list_all(query: dict[str, Any]) -> dict[str, Any]:
    """List publications of one's scope; `overdue=true` shows those whose deadline has passed."""
    paging = {"after": query.pop("after"), "limit": query.pop("limit")}
    wanted = publication.PublicationFilter(**query)
    return {"publications": publication.list_publications(session(), runtime(), principal(), wanted, **paging)}


@blp.route("/<behavior_id>/actions", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(ActionSchema)
@blp.response(200, PublicationSchema)
def act(body: dict[str, Any], behavior_id: str) -> Publication:
    """Publish a behavior, withhold it by law, or take it down; an illegal action says which are legal."""
    return publication.act_on_publication(
        session(), runtime(), principal(), behavior_id, body["action"], body["reason"]
    )


@public_blp.route("", methods=["GET"])
@public
@transactional(read_only=True)
@public_blp.arguments(PublicQuery, location="query")
@public_blp.response(200, PublishedListSchema)
def published(query: dict[str, Any]) -> dict[str, Any]:
    """List what is published, newest first, for anybody."""
    return {"behaviors": publication.list_published(session(), **query)}


@public_blp.route("/<number>", methods=["GET"])
@public
@transactional(read_only=True)
@public_blp.response(200, PublishedSchema)
def published_one(number: str) -> PublishedBehavior:
    """Show one published behavior by its number, for anybody."""
    return publication.get_published(session(), number)
