"""What the evidence API answers."""

from marshmallow import Schema, fields, validate

MAX_MISSING = 500
"""Records of one list of missing evidence."""
MAX_RECEIPTS = 100
"""Custody receipts asked for in one request."""


class EvidenceQuery(Schema):
    """Query of the evidence list."""

    inspection = fields.String(required=True, validate=validate.Length(1, 64))


class ReasonIn(Schema):
    """Why somebody does something."""

    reason = fields.String(required=True, validate=validate.Length(1, 1_000))


class HoldOut(Schema):
    """A legal hold on a case."""

    id = fields.String()
    inspection = fields.String()
    reason = fields.String()
    placed_by = fields.String()
    placed_at = fields.AwareDateTime(format="iso")
    lifted_by = fields.String()
    lifted_at = fields.AwareDateTime(format="iso")


class TransferIn(Schema):
    """Handing evidence to somebody outside: to whom, on what ground."""

    recipient = fields.String(required=True, validate=validate.Length(1, 200))
    basis = fields.String(required=True, validate=validate.Length(1, 500))


class MissingQuery(Schema):
    """Query of the list of missing evidence."""

    device = fields.String(validate=validate.Length(1, 64))
    officer = fields.String(validate=validate.Length(1, 64))
    older_than_hours = fields.Integer(validate=validate.Range(1, 100_000))
    limit = fields.Integer(load_default=MAX_MISSING, validate=validate.Range(1, MAX_MISSING))


class MissingDeviceOut(Schema):
    """How much of one device is missing."""

    device = fields.String()
    officer = fields.String()
    missing = fields.Integer()
    oldest_declared_at = fields.AwareDateTime(format="iso")


class MissingEvidenceOut(Schema):
    """One record whose bytes are not verified."""

    id = fields.String()
    inspection = fields.String()
    status = fields.String()
    device = fields.String()
    officer = fields.String()
    size_bytes = fields.Integer()
    declared_at = fields.AwareDateTime(format="iso")
    age_s = fields.Integer()


class MissingOut(Schema):
    """What is declared and not verified, longest missing first; the counts cover all of it."""

    total = fields.Integer()
    devices = fields.List(fields.Nested(MissingDeviceOut))
    evidence = fields.List(fields.Nested(MissingEvidenceOut))


class EvidenceOut(Schema):
    """One evidence record as people see it."""

    id = fields.String()
    inspection = fields.String()
    device = fields.String()
    status = fields.String(metadata={"description": "declared, waiting, verified, rejected or erased"})
    sha256 = fields.String()
    sm3 = fields.String()
    size_bytes = fields.Integer()
    media_type = fields.String()
    captured_at = fields.AwareDateTime(format="iso")
    position = fields.Raw()
    file_name = fields.String()
    caption = fields.String()
    declared_at = fields.AwareDateTime(format="iso")
    verified_at = fields.AwareDateTime(format="iso")
    withdrawn_at = fields.AwareDateTime(format="iso")
    examined_at = fields.AwareDateTime(format="iso")
    derived_at = fields.AwareDateTime(format="iso")
    sealed_at = fields.AwareDateTime(format="iso")
    erased_at = fields.AwareDateTime(format="iso")
    flags = fields.List(fields.Raw())
    custody_count = fields.Integer()
    custody_head = fields.String()


class EvidenceListOut(Schema):
    """The evidence of one inspection."""

    evidence = fields.List(fields.Nested(EvidenceOut))
    total = fields.Integer()
    verified = fields.Integer()
    complete = fields.Boolean()


class CustodyEntryOut(Schema):
    """One entry: `body` is the text whose hash is `hash`."""

    seq = fields.Integer()
    body = fields.String()
    hash = fields.String()


class CustodyFaultOut(Schema):
    """What is wrong with a chain, and at which entry."""

    seq = fields.Integer()
    reason = fields.String()


class CustodyOut(Schema):
    """A chain of custody, and whether it is intact."""

    evidence = fields.String()
    entries = fields.List(fields.Nested(CustodyEntryOut))
    intact = fields.Boolean()
    faults = fields.List(fields.Nested(CustodyFaultOut))


class CustodyReceiptOut(Schema):
    """What lets a device delete its copy.

    `statement` is the text of all members; `signature` is Ed25519 over `fieldproof-custody-receipt-v1`, a line feed and
    that text.
    """

    evidence = fields.String()
    device = fields.String()
    act = fields.String()
    sha256 = fields.String()
    sm3 = fields.String()
    size_bytes = fields.Integer()
    verified_at = fields.String()
    custody_count = fields.Integer()
    custody_head = fields.String()
    statement = fields.String()
    signature = fields.String(metadata={"description": "base64url"})
    key = fields.String(metadata={"description": "the verifier key that signed; compare it with the one you trust"})
    rotations = fields.List(
        fields.String(), metadata={"description": "notes by which that key followed others, see the proof log's key"}
    )


class ReceiptOut(Schema):
    """The status of a device's own evidence."""

    evidence = fields.String()
    status = fields.String(metadata={"description": "declared, waiting, verified, rejected, erased or unknown"})
    receipt = fields.Nested(CustodyReceiptOut, allow_none=True)


class ReceiptsIn(Schema):
    """The pieces of evidence whose receipts a device asks for, each once."""

    evidence = fields.List(
        fields.String(validate=validate.Length(1, 64)), required=True, validate=validate.Length(1, MAX_RECEIPTS)
    )


class ReceiptsOut(Schema):
    """How far each piece is, in the order in which they were asked for."""

    receipts = fields.List(fields.Nested(ReceiptOut))
