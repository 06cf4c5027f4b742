"""The central pull over HTTP, for the central system's own account only."""

from collections.abc import Iterator
from typing import Any

from flask import Response
from marshmallow import Schema, fields, validate

from schemas.exchange import MAX_PAGE_LINES, FeedDigestSchema
from schemas.proof_log import MAX_SIZE
from server.exchange import feed
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.transaction import runtime, session, transactional
from sync.cursors import MAX_CURSOR_CHARS

NDJSON = "application/x-ndjson"
blp = Blueprint("exchange", __name__, url_prefix="/api/v1/central", description="国家平台拉取 Central pull")


class PullQuery(Schema):
    """Where to continue, how much to send, and whether with proofs."""

    cursor = fields.String(load_default="", validate=validate.Length(max=MAX_CURSOR_CHARS))
    limit = fields.Integer(load_default=feed.DEFAULT_LINES, validate=validate.Range(1, MAX_PAGE_LINES))
    proofs = fields.Boolean(load_default=False)


class DigestQuery(Schema):
    """Up to which position; the newest signed head by default."""

    through = fields.Integer(load_default=None, validate=validate.Range(0, MAX_SIZE))


@blp.route("/behaviors", methods=["GET"])
@require("central")
@transactional(read_only=True)
@blp.arguments(PullQuery, location="query")
@blp.response(200, content_type=NDJSON, description="Head line with the next cursor, then one line per behavior.")
def behaviors(query: dict[str, Any]) -> Response:
    """Return the next page of behaviors; it ends at the newest signed head."""
    page = feed.pull(session(), runtime(), principal(), query["cursor"], query["limit"], proofs=query["proofs"])
    return Response(_lines(page), mimetype=NDJSON)


@blp.route("/digest", methods=["GET"])
@require("central")
@transactional(read_only=True)
@blp.arguments(DigestQuery, location="query")
@blp.response(200, FeedDigestSchema)
def digest(query: dict[str, Any]) -> dict[str, Any]:
    """Return count and digest of everything up to a position."""
    found = feed.digest_through(session(), principal(), query["through"])
    return {"through": found.through, "count": found.digest.count, "digest": found.digest.hex()}


def _lines(page: list[bytes]) -> Iterator[bytes]:
    for line in page:
        yield line + b"\n"
