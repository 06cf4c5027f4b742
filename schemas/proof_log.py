"""Signed tree heads and proofs on the wire. Hashes are lower-case hex, signatures base64url without padding."""

from marshmallow import Schema, fields, validate

MAX_SIZE = (1 << 63) - 1
"""Sizes and indexes fit a signed 64-bit column."""
MAX_PATH_HASHES = 64
"""No proof of a tree of that size is longer, nor twice as long for consistency."""
HASH = r"\A[0-9a-f]{64}\Z"


def hash_field() -> fields.String:
    """A SHA-256 in hex."""
    return fields.String(required=True, validate=validate.Regexp(HASH))


def place_field() -> fields.Integer:
    """A size or an index."""
    return fields.Integer(required=True, strict=True, validate=validate.Range(0, MAX_SIZE))


class HeadSchema(Schema):
    """A signed tree head. What is signed is its text form, as `/checkpoint` shows it."""

    origin = fields.String(required=True, validate=validate.Length(1, 200))
    size = place_field()
    root = hash_field()
    at_ms = fields.Integer(required=True, strict=True, validate=validate.Range(0, 10**16 - 1))
    key_id = fields.String(required=True, validate=validate.Regexp(r"\A[0-9a-f]{8}\Z"))
    signature = fields.String(required=True, validate=validate.Length(86, 86))


class HeadListSchema(Schema):
    """Heads, smallest first."""

    heads = fields.List(fields.Nested(HeadSchema), required=True)


class InclusionSchema(Schema):
    """That a leaf is in the tree of `size` leaves; the sibling of the leaf comes first."""

    index = place_field()
    size = place_field()
    leaf_hash = hash_field()
    path = fields.List(hash_field(), required=True, validate=validate.Length(max=MAX_PATH_HASHES))


class ConsistencySchema(Schema):
    """That the tree of `first` leaves is a prefix of the tree of `second` leaves."""

    first = place_field()
    second = place_field()
    path = fields.List(hash_field(), required=True, validate=validate.Length(max=2 * MAX_PATH_HASHES))


class LeafSchema(Schema):
    """A leaf; the hash is over the UTF-8 bytes of `leaf`."""

    index = place_field()
    kind = fields.String(required=True)
    ref = fields.String(required=True)
    leaf_hash = hash_field()
    leaf = fields.String(required=True)


class KeySchema(Schema):
    """The public key. Trust it only if it also came on another way."""

    name = fields.String(required=True)
    key_id = fields.String(required=True)
    public_key = fields.String(required=True, metadata={"description": "Ed25519, raw, base64url"})
    verifier = fields.String(required=True, metadata={"description": "name+key id+key, as checkpoints know it"})
    rotations = fields.List(
        fields.String(),
        metadata={"description": "notes by which each key of the log followed the one before it, oldest first"},
    )


class TimestampSchema(Schema):
    """That the tree of `size` leaves existed at `stamped_at`, stated by an authority outside."""

    size = place_field()
    stamped_at = fields.AwareDateTime(required=True)
    authority = fields.String(required=True)
    message = fields.String(required=True, metadata={"description": "the checkpoint's body, whose SHA-256 is stamped"})
    answer = fields.String(required=True, metadata={"description": "DER of the TimeStampResp (RFC 3161), base64"})
