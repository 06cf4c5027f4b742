"""Batches of a plan over HTTP: announced, drawn, given out, published; officers drawn again; everything explained."""

from collections.abc import Iterator
from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from schemas.kinds.base import ID
from server.plans import batches, explaining, file_parts, service, substituting, visits
from server.plans.api import EDITORS, READERS, REASON
from server.plans.lifecycles import BATCH, DISPATCH, DRAW, PUBLISH, VISIT, WITHDRAW
from server.plans.models import DrawBatch, DrawnVisit
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import DEFAULT_PAGE, MAX_PAGE
from server.web.transaction import runtime, session, transactional

BATCH_ACTIONS = (DRAW, DISPATCH, PUBLISH, WITHDRAW)
blp = Blueprint(
    "draw-batches",
    __name__,
    url_prefix="/api/v1/draw-batches",
    description="抽查批次 Batches of plans",
)
of_plan = Blueprint("draw-plan-batches", __name__, url_prefix="/api/v1/draw-plans", description="抽查批次 Batches")


class BeaconSchema(Schema):
    """A public random value that comes out later."""

    source = fields.String(required=True, validate=validate.Length(1, 200))
    round = fields.String(required=True, validate=validate.Length(1, 64))


class BatchBody(Schema):
    """When a batch is drawn, and when its visits are made."""

    visits_from = fields.Date(required=True)
    visits_until = fields.Date(required=True)
    draw_not_before = fields.AwareDateTime(required=True)
    beacon = fields.Nested(BeaconSchema, load_default=None, allow_none=True)


class BatchSchema(Schema):
    """A batch, without its secret."""

    id = fields.String()
    plan = fields.String()
    number = fields.Integer()
    region = fields.String()
    department = fields.String()
    state = fields.String()
    visits_from = fields.Date()
    visits_until = fields.Date()
    announcement = fields.Dict()
    announcement_sha256 = fields.String()
    announced_at = fields.AwareDateTime()
    draw_not_before = fields.AwareDateTime()
    drawn_at = fields.AwareDateTime(allow_none=True)
    summary = fields.Dict(allow_none=True)
    file_sha256 = fields.String(allow_none=True)
    published_at = fields.AwareDateTime(allow_none=True)
    reason = fields.String()
    legal = fields.Function(lambda row: list(BATCH.legal(row.state)), metadata={"type": "array"})


class BatchListSchema(Schema):
    """The batches of a plan."""

    batches = fields.List(fields.Nested(BatchSchema))


class BatchActionBody(Schema):
    """What to do with a batch; `beacon_value` for a draw whose announcement names a beacon."""

    action = fields.String(required=True, validate=validate.OneOf(BATCH_ACTIONS))
    beacon_value = fields.String(load_default="", validate=validate.Length(0, batches.MAX_BEACON_CHARS))
    reason = fields.String(load_default="", validate=REASON)


class VisitQuery(Schema):
    """Which page of visits: those behind a place in the draw."""

    after = fields.Integer(load_default=-1, validate=validate.Range(-1, 10_000_000))
    limit = fields.Integer(load_default=DEFAULT_PAGE, validate=validate.Range(1, MAX_PAGE))


class VisitSchema(Schema):
    """A drawn visit."""

    place = fields.Integer()
    entity = fields.String()
    stratum = fields.String()
    officers = fields.List(fields.String())
    unable = fields.Dict()
    state = fields.String()
    fault = fields.String(allow_none=True)
    task = fields.String(allow_none=True)
    inspection = fields.String(allow_none=True)
    result = fields.String(allow_none=True)
    reason = fields.String()
    settled_at = fields.AwareDateTime(allow_none=True)
    due_on = fields.Date(allow_none=True)
    provisional = fields.Boolean()
    overdue_at = fields.AwareDateTime(allow_none=True)
    published_at = fields.AwareDateTime(allow_none=True)
    legal = fields.Function(lambda row: list(VISIT.legal(row.state)), metadata={"type": "array"})


class VisitListSchema(Schema):
    """A page of drawn visits."""

    visits = fields.List(fields.Nested(VisitSchema))


class SubstituteBody(Schema):
    """Who cannot go, and why."""

    officer = fields.String(required=True, validate=ID)
    reason = fields.String(required=True, validate=REASON)


class ResultBody(Schema):
    """A result without a visit, and why."""

    result = fields.String(required=True, validate=validate.Length(1, 4))
    reason = fields.String(required=True, validate=REASON)


class OfficerWordsSchema(Schema):
    """Why an officer goes, or does not."""

    officer = fields.String()
    goes = fields.Boolean()
    why = fields.String()


class ExplanationSchema(Schema):
    """What became of an entity of the roster, in words."""

    entity = fields.String()
    outcome = fields.String()
    where = fields.String()
    why = fields.String()
    officers = fields.List(fields.Nested(OfficerWordsSchema))


@of_plan.route("/<plan_id>/batches", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@of_plan.response(200, BatchListSchema)
def list_batches(plan_id: str) -> dict[str, Any]:
    """List the batches of a plan."""
    return {"batches": batches.batches_of(session(), service.get_plan(session(), principal(), plan_id).id)}


@of_plan.route("/<plan_id>/batches", methods=["POST"])
@require(*EDITORS)
@of_plan.arguments(BatchBody)
@of_plan.response(201, BatchSchema)
def announce(body: dict[str, Any], plan_id: str) -> DrawBatch:
    """Announce a batch: rules, hashes of both rosters and the commitment become public, before any seed is known."""
    return _shown(batches.announce_batch(runtime(), principal(), plan_id, batches.BatchOrder(**body)))


def _shown(batch: str) -> DrawBatch:
    with runtime().db.read() as opened:
        return batches.get_batch(opened, principal(), batch)


@blp.route("/<batch_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, BatchSchema)
def batch(batch_id: str) -> DrawBatch:
    """Show a batch."""
    return batches.get_batch(session(), principal(), batch_id)


@blp.route("/<batch_id>/actions", methods=["POST"])
@require(*EDITORS)
@blp.arguments(BatchActionBody)
@blp.response(200, BatchSchema)
def act_on_batch(body: dict[str, Any], batch_id: str) -> DrawBatch:
    """Draw, give out as tasks, publish results, or withdraw with a reason."""
    return act(batch_id, body["action"], body["beacon_value"], body["reason"])


def act(batch_id: str, action: str, beacon_value: str, reason: str) -> DrawBatch:
    """Take an action of a batch for the running request's caller; each opens its own transactions."""
    rt, caller = runtime(), principal()
    if action == DRAW:
        return _shown(batches.draw_batch(rt, caller, batch_id, beacon_value))
    with rt.db.write() as opened:
        if action == DISPATCH:
            visits.give_out(opened, rt, caller, batch_id)
        elif action == PUBLISH:
            visits.publish(opened, rt, caller, batch_id)
        else:
            batches.withdraw_batch(opened, rt, caller, batch_id, reason)
    return _shown(batch_id)


@blp.route("/<batch_id>/file", methods=["GET"])
@require(*READERS)
@blp.response(200)
def file(batch_id: str) -> Response:
    """Download the file of a draw, as far as there is one; `fieldproof draw verify` reproduces it."""
    with runtime().db.read() as opened:
        batches.get_batch(opened, principal(), batch_id)
    return file_of(batch_id)


def file_of(batch_id: str) -> Response:
    """Stream the file of a draw."""
    database = runtime().db

    def stream() -> Iterator[bytes]:
        with database.read() as opened:
            yield from file_parts.whole(opened, batch_id)

    name = f'attachment; filename="draw-{batch_id}.txt"'
    return Response(stream(), mimetype="text/plain", headers={"Content-Disposition": name})


@blp.route("/<batch_id>/visits", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(VisitQuery, location="query")
@blp.response(200, VisitListSchema)
def list_visits(query: dict[str, Any], batch_id: str) -> dict[str, Any]:
    """List the drawn visits of a batch in the order of the draw."""
    return {"visits": visits.list_visits(session(), batches.get_batch(session(), principal(), batch_id).id, **query)}


@blp.route("/<batch_id>/entities/<entity_id>", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, ExplanationSchema)
def explain(batch_id: str, entity_id: str) -> explaining.Explanation:
    """Say in words why an entity was drawn, passed over or left out, and why each officer goes or not."""
    return explaining.explain(session(), batches.get_batch(session(), principal(), batch_id), entity_id)


@blp.route("/<batch_id>/visits/<int:place>/substitute", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(SubstituteBody)
@blp.response(200, VisitSchema)
def substitute(body: dict[str, Any], batch_id: str, place: int) -> DrawnVisit:
    """Draw again for an officer who became unable, with a reason; the task goes to the new team."""
    return substituting.substitute(session(), runtime(), principal(), batch_id, place, body["officer"], body["reason"])


@blp.route("/<batch_id>/visits/<int:place>/result", methods=["POST"])
@require(*EDITORS)
@transactional
@blp.arguments(ResultBody)
@blp.response(200, VisitSchema)
def result(body: dict[str, Any], batch_id: str, place: int) -> DrawnVisit:
    """Enter the result of an entity that cannot be visited, with a reason."""
    return visits.settle_without_visit(
        session(), runtime(), principal(), batch_id, place, body["result"], body["reason"]
    )
