"""Penalties, coercion and other behaviors on their way, and the people qualified to review them."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.kinds.base import ID
from server.behaviors import listing, proceedings, recording, reviewing
from server.behaviors.lifecycles import LIFECYCLES
from server.behaviors.models import LegalReviewer
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.transaction import runtime, session, transactional

READERS = ("admin", "operator", "auditor")
EDITORS = ("admin", "operator")
REASON = validate.Length(0, proceedings.MAX_REASON_CHARS)
blp = Blueprint(
    "proceedings", __name__, url_prefix="/api/v1/proceedings", description="案件办理 Penalties, coercion and others"
)
reviewers_blp = Blueprint(
    "legal-reviewers", __name__, url_prefix="/api/v1/legal-reviewers", description="法制审核人员 Legal reviewers"
)


class ProceedingQuery(PageQuery):
    """Which proceedings."""

    kind = fields.String(load_default="", validate=validate.OneOf(("", *LIFECYCLES)))
    state = fields.String(load_default="", validate=validate.Length(max=16))
    entity = fields.String(load_default="", validate=validate.Length(max=36))
    inspection_number = fields.String(load_default="", validate=validate.Length(max=64))


class OpeningSchema(Schema):
    """A new proceeding: what follows which inspection."""

    kind = fields.String(required=True, validate=validate.Length(1, 16))
    inspection_number = fields.String(required=True, validate=validate.Length(1, 64))
    content = fields.Dict(keys=fields.String(), load_default=dict)


class EditSchema(Schema):
    """National fields to change; null takes one out."""

    revision = fields.Integer(required=True, strict=True)
    content = fields.Dict(keys=fields.String(), required=True)


class StepSchema(Schema):
    """A step, with the fields that come with it."""

    action = fields.String(required=True, validate=validate.Length(1, 16))
    revision = fields.Integer(required=True, strict=True)
    content = fields.Dict(keys=fields.String(), load_default=dict)
    reason = fields.String(load_default="", validate=REASON)
    opinion = fields.String(load_default="", validate=validate.Length(max=2))


class RecordingSchema(Schema):
    """Which evidence shows a scene."""

    evidence = fields.String(required=True, validate=ID)


class ProceedingSchema(Schema):
    """A proceeding in a list."""

    id = fields.String()
    kind = fields.String()
    state = fields.String()
    revision = fields.Integer()
    region = fields.String()
    department = fields.String()
    entity = fields.String(allow_none=True)
    inspection = fields.String(allow_none=True)
    inspection_number = fields.String()
    rectification = fields.String(allow_none=True)
    author = fields.String()
    created_at = fields.AwareDateTime()
    changed_at = fields.AwareDateTime()


class TakenSchema(Schema):
    """A step that was taken."""

    number = fields.Integer()
    action = fields.String()
    source = fields.String()
    target = fields.String()
    actor = fields.String()
    reason = fields.String()
    at = fields.AwareDateTime()
    version = fields.Integer(allow_none=True)


class ReviewSchema(Schema):
    """A round of legal review."""

    round = fields.Integer()
    criteria = fields.List(fields.String())
    requested_by = fields.String()
    requested_at = fields.AwareDateTime()
    reviewer = fields.String(allow_none=True)
    certificate_number = fields.String(allow_none=True)
    opinion = fields.String(allow_none=True)
    reason = fields.String(allow_none=True)
    decided_at = fields.AwareDateTime(allow_none=True)


class SceneSchema(Schema):
    """A scene that must be on record, and what shows it."""

    scene = fields.String(attribute="recording.scene")
    zh = fields.String(attribute="recording.zh")
    en = fields.String(attribute="recording.en")
    forms = fields.List(fields.String(), attribute="recording.forms")
    evidence = fields.List(fields.String())


class WholeProceedingSchema(ProceedingSchema):
    """A proceeding with its fields, what it lacks, what may be done next, and all that was done."""

    content = fields.Dict()
    legal = fields.List(fields.String())
    missing = fields.List(fields.String())
    criteria = fields.List(fields.Dict(), metadata={"description": "why the decision is major"})
    scenes = fields.List(fields.Nested(SceneSchema))
    steps = fields.List(fields.Nested(TakenSchema))
    reviews = fields.List(fields.Nested(ReviewSchema))


class ProceedingListSchema(Schema):
    """A page of proceedings, newest first."""

    proceedings = fields.List(fields.Nested(ProceedingSchema))


class ReviewerSchema(Schema):
    """Somebody qualified to review decisions."""

    account = fields.String(dump_only=True)
    certificate_number = fields.String(required=True, validate=validate.Length(1, 64))
    valid_until = fields.AwareDateTime(required=True)


class ReviewerListSchema(Schema):
    """All legal reviewers."""

    reviewers = fields.List(fields.Nested(ReviewerSchema))


@blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(ProceedingQuery, location="query")
@blp.response(200, ProceedingListSchema)
def list_all(query: dict[str, Any]) -> dict[str, Any]:
    """List the proceedings of one's scope, newest first."""
    paging = {"after": query.pop("after"), "limit": query.pop("limit")}
    return {"proceedings": listing.list_proceedings(session(), principal(), listing.Wanted(**query), **paging)}


@blp.route("", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(OpeningSchema)
@blp.response(201, WholeProceedingSchema)
def open_one(body: dict[str, Any]) -> dict[str, Any]:
    """Begin a penalty, coercion or other behavior that follows an inspection."""
    opening = proceedings.Opening(**body)
    row = proceedings.open_proceeding(session(), runtime(), opening, author=principal().subject, caller=principal())
    return listing.whole(session(), row)


@blp.route("/<proceeding_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, WholeProceedingSchema)
def show(proceeding_id: str) -> dict[str, Any]:
    """Show a proceeding: its fields, what it lacks, what may be done next, and all steps taken."""
    return listing.whole(session(), listing.get_proceeding(session(), principal(), proceeding_id))


@blp.route("/<proceeding_id>", methods=["PATCH"])
@require(*EDITORS)
@transactional
@blp.arguments(EditSchema)
@blp.response(200, WholeProceedingSchema)
def edit(body: dict[str, Any], proceeding_id: str) -> dict[str, Any]:
    """Change the fields of a proceeding that is not proposed yet."""
    row = proceedings.edit_proceeding(session(), runtime(), principal(), proceeding_id, **body)
    return listing.whole(session(), row)


@blp.route("/<proceeding_id>/steps", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(StepSchema)
@blp.response(200, WholeProceedingSchema)
def step(body: dict[str, Any], proceeding_id: str) -> dict[str, Any]:
    """Take a step: file, propose, send for review, approve, return, issue, …; an illegal one says which are legal."""
    row = proceedings.take_step(session(), runtime(), principal(), proceeding_id, proceedings.Step(**body))
    return listing.whole(session(), row)


@blp.route("/<proceeding_id>/recordings/<scene>", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(RecordingSchema)
@blp.response(200, WholeProceedingSchema)
def record(body: dict[str, Any], proceeding_id: str, scene: str) -> dict[str, Any]:
    """Name a piece of verified evidence that shows a scene of the whole process."""
    row = listing.get_proceeding(session(), principal(), proceeding_id)
    recording.attach(session(), runtime(), row, scene, body["evidence"], author=principal().subject)
    return listing.whole(session(), row)


@reviewers_blp.route("", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@reviewers_blp.response(200, ReviewerListSchema)
def list_reviewers() -> dict[str, Any]:
    """List everybody who is or was qualified to review decisions."""
    return {"reviewers": reviewing.list_reviewers(session())}


@reviewers_blp.route("/<account>", methods=["PUT"])
@require("admin")
@transactional
@reviewers_blp.arguments(ReviewerSchema)
@reviewers_blp.response(200, ReviewerSchema)
def appoint(body: dict[str, Any], account: str) -> LegalReviewer:
    """Note that an account's holder is qualified to review decisions, and until when."""
    return reviewing.appoint(session(), runtime(), account, author=principal().subject, **body)
