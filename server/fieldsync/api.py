"""Push and pull of handhelds."""

from typing import Any

from flask import Response, request
from marshmallow import Schema, fields, validate

from server.errors import Problem
from server.fieldsync import feed, times
from server.fieldsync.announced import announced_exchange, announced_pending
from server.fieldsync.arrivals import Arrival, take_in
from server.fieldsync.feed_api import NDJSON, joined, ndjson
from server.web.auth import HAND_IN, principal, require
from server.web.blueprint import Blueprint
from server.web.paging import DEFAULT_PAGE, MAX_PAGE
from server.web.transaction import runtime, session, transactional
from sync.dots import MAX_SEQUENCE
from sync.journal import MAX_SEGMENT_BYTES, SEGMENT_TYPE

blp = Blueprint("fieldsync", __name__, url_prefix="/api/v1", description="现场同步 Field sync")


class StatusQuery(Schema):
    """Which journal, and the feed position up to which the device knows its acts' statuses."""

    journal = fields.String(required=True, validate=validate.Length(equal=36))
    after = fields.Integer(load_default=0, strict=False, validate=validate.Range(0, 1 << 53))
    limit = fields.Integer(load_default=feed.DEFAULT_LINES, validate=validate.Range(1, feed.MAX_LINES))


class TimesQuery(Schema):
    """Which acts: those after a number."""

    after = fields.Integer(load_default=0, validate=validate.Range(0, MAX_SEQUENCE))
    limit = fields.Integer(load_default=DEFAULT_PAGE, validate=validate.Range(1, MAX_PAGE))


class ActTimeSchema(Schema):
    """When an act was written: as the device's clocks stood, corrected, and how far off that may be."""

    seq = fields.Integer()
    officer = fields.String()
    kind = fields.String()
    record = fields.String()
    boot = fields.Raw(allow_none=True)
    wall_ms = fields.Raw(allow_none=True)
    mono_ms = fields.Raw(allow_none=True)
    at_ms = fields.Integer()
    error_ms = fields.Integer()
    basis = fields.String()
    received_at = fields.AwareDateTime()


class TimesSchema(Schema):
    """A page of a journal's times."""

    device = fields.String()
    acts = fields.List(fields.Nested(ActTimeSchema))


@blp.route("/journals/<journal_id>/times", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(TimesQuery, location="query")
@blp.response(200, TimesSchema)
def journal_times(query: dict[str, Any], journal_id: str) -> dict[str, Any]:
    """Show the raw and the corrected time of each act of a journal, with its error bound."""
    return times.times_of(session(), principal(), journal_id, **query)


@blp.route("/sync/push", methods=["POST"])
@require("device", HAND_IN)
@blp.response(200, content_type=NDJSON, description="The journal's head, then one receipt per act.")
def push() -> Response:
    """Take in a signed segment of a journal; the whole segment commits, or nothing does.

    The body is read before anything is locked: a slow link or a large body holds up nobody.
    """
    if request.mimetype != SEGMENT_TYPE:
        raise Problem("unsupported-media-type", detail=f"the body must be {SEGMENT_TYPE}")
    request.max_content_length = MAX_SEGMENT_BYTES
    data, exchange = request.get_data(cache=False), announced_exchange(request.headers)
    arrival = Arrival(principal(), data, exchange, announced_pending(request.headers))
    lines = take_in(runtime(), arrival)
    return Response(b"\n".join(lines) + b"\n", mimetype=NDJSON)


@blp.route("/sync/status", methods=["GET"])
@require("device", HAND_IN)
@transactional(read_only=True)
@blp.arguments(StatusQuery, location="query")
@blp.response(200, content_type=NDJSON, description="Head line, then one line per act whose status changed.")
def status(query: dict[str, Any]) -> Response:
    """Return the acts of one's own journal whose status changed beyond a feed position."""
    page = feed.statuses(session(), principal(), query["journal"], query["after"], query["limit"])
    return ndjson([joined(page)])
