"""The central pull on the wire: a page is NDJSON, its head line first, then one line for each behavior version."""

from marshmallow import Schema, fields, validate

from schemas.codes import Code
from schemas.proof_log import MAX_PATH_HASHES, HeadSchema, hash_field, place_field

MAX_PAGE_LINES = 500
"""Most behaviors in one page."""
BATCH_LEAVES = 1_000
"""Leaves of the log in one national batch."""


class PageHeadSchema(Schema):
    """First line of a page: where the next page begins, and the signed head all its proofs lead to."""

    epoch = fields.String(required=True)
    position = place_field()
    cursor = fields.String(required=True)
    more = fields.Boolean(required=True, metadata={"description": "whether the signed head covers more lines"})
    waiting = place_field()
    head = fields.Nested(HeadSchema, required=True, allow_none=True)


class FeedLineSchema(Schema):
    """One version of a behavior.

    `leaf`, `content` and `personal` are strings whose UTF-8 bytes are what was hashed: the leaf names the SHA-256 of
    the content, and of the personal part if the version has one; `personal` is missing once it was erased.
    """

    position = place_field()
    leaf_index = place_field()
    operation = Code("exchange_operation", required=True)
    batch = fields.String(required=True, validate=validate.Regexp(r"\A\d{13}\Z"))
    id = fields.String(required=True, validate=validate.Length(1, 36))
    version = fields.Integer(required=True, strict=True, validate=validate.Range(1))
    at_ms = fields.Integer(required=True, strict=True)
    region = fields.String(required=True)
    department = fields.String(required=True)
    leaf = fields.String(required=True)
    content = fields.String(required=True)
    personal = fields.String(load_default=None, allow_none=True)
    proof = fields.List(hash_field(), validate=validate.Length(max=MAX_PATH_HASHES))


class FeedDigestSchema(Schema):
    """Digest of the set of (id:version, leaf hash) up to a position; see `sync.digest`."""

    through = place_field()
    count = place_field()
    digest = hash_field()
