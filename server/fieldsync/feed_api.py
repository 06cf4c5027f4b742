"""What handhelds read: the feed, the snapshot for a first sync, and digests to find out whether all of it arrived."""

from collections.abc import Iterable
from typing import Any

from flask import Response, request, send_file
from marshmallow import Schema, fields, validate

from schemas.kinds.base import ID
from server.fieldsync import feed, reconcile
from server.fieldsync.compression import compressed, negotiated
from server.fieldsync.snapshots import snapshot_for
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.transaction import runtime
from sync.acts import MAX_NAME_CHARS
from sync.cursors import MAX_CURSOR_CHARS
from sync.digest import MAX_PREFIX_DIGITS

NDJSON = "application/x-ndjson"
blp = Blueprint("feed", __name__, url_prefix="/api/v1/sync", description="现场同步 Field sync")


class PullQuery(Schema):
    """Where to continue, and how much to send: with a limit one page, without one a stream of everything."""

    cursor = fields.String(load_default="", validate=validate.Length(max=MAX_CURSOR_CHARS))
    limit = fields.Integer(load_default=None, validate=validate.Range(1, feed.MAX_LINES))


class DigestQuery(Schema):
    """Up to where the device has its feed, and which range of ids to look into."""

    cursor = fields.String(load_default="", validate=validate.Length(max=MAX_CURSOR_CHARS))
    range = fields.String(
        load_default=None, validate=validate.Regexp(rf"^[0-9a-f]{{0,{MAX_PREFIX_DIGITS}}}\Z", error="no range of ids")
    )


class RangeSchema(Schema):
    """How many records a range holds, and their digest."""

    count = fields.Integer()
    digest = fields.String()


class DigestSchema(RangeSchema):
    """The digest of the device's scope, or the ranges or pairs below the range that was asked for."""

    epoch = fields.String()
    position = fields.Integer()
    cursor = fields.String()
    behind = fields.Boolean()
    ranges = fields.Dict(fields.String(), fields.Nested(RangeSchema))
    pairs = fields.List(fields.List(fields.String()))


class RecordKey(Schema):
    """A record by kind and id."""

    kind = fields.String(required=True, validate=validate.Length(1, MAX_NAME_CHARS))
    id = fields.String(required=True, validate=ID)


class LinesBody(Schema):
    """The records in which a device differs."""

    records = fields.List(fields.Nested(RecordKey), required=True, validate=validate.Length(1, reconcile.MAX_RECORDS))


@blp.route("/pull", methods=["GET"])
@require("device")
@blp.arguments(PullQuery, location="query")
@blp.response(200, content_type=NDJSON, description="Head line, then records, leaves and cursors, one a line.")
def pull(query: dict[str, Any]) -> Response:
    """Return the device's feed from a cursor on: one page, or a stream that no transaction stays open for."""
    rt, caller = runtime(), principal()
    with rt.db.read() as reading:
        if query["limit"] is not None:
            page = feed.pull(reading, rt, caller, query["cursor"], query["limit"])
            return ndjson([joined(page)])
        place = feed.open_place(reading, rt, caller, query["cursor"])
    return ndjson(feed.stream(rt, caller, place))


@blp.route("/snapshot", methods=["GET"])
@require("device")
@blp.response(200, content_type="application/gzip", description="A SQLite file, gzip; 204 where the feed is as quick.")
def snapshot() -> Response:
    """Return the shared part of the device's scope as a file, for its first sync; ranges continue after a cut."""
    wanted = request.if_range.etag or "" if "Range" in request.headers else ""
    found = snapshot_for(runtime(), principal(), wanted)
    if found is None:
        return Response(status=204)
    reply = send_file(found.path, mimetype="application/gzip", conditional=True, etag=found.tag)
    reply.cache_control.private = True
    return reply


@blp.route("/digest", methods=["GET"])
@require("device")
@blp.arguments(DigestQuery, location="query")
@blp.response(200, DigestSchema)
def digest(query: dict[str, Any]) -> dict[str, Any]:
    """Return the digest of everything the device should hold, or of the ranges below one."""
    return reconcile.compare(runtime(), principal(), query["cursor"], query["range"])


@blp.route("/lines", methods=["POST"])
@require("device")
@blp.arguments(LinesBody)
@blp.response(
    200, content_type=NDJSON, description="The records by their lines; what is not in the scope, as having left."
)
def lines(body: dict[str, Any]) -> Response:
    """Return records in which the device found a difference, each compared with its acts first."""
    keys = [(one["kind"], one["id"]) for one in body["records"]]
    return ndjson([joined(reconcile.lines_of(runtime(), principal(), keys))])


def joined(lines: Iterable[bytes]) -> bytes:
    """Return lines as one piece, each with its line feed."""
    return b"\n".join((*lines, b""))


def ndjson(pieces: Iterable[bytes]) -> Response:
    """Return a reply of JSON lines, compressed as the request accepts it."""
    coding = negotiated(request.accept_encodings)
    reply = Response(compressed(pieces, coding), mimetype=NDJSON)
    reply.vary.add("Accept-Encoding")
    if coding != "identity":
        reply.content_encoding = coding
    return reply
