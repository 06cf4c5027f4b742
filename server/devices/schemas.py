"""What the API of handhelds takes and answers."""

from marshmallow import Schema, fields, validate

from schemas.kinds.base import HASH, ID
from server.devices import keys, wiping
from sync.dots import MAX_SEQUENCE
from sync.journal import SIGNATURE

MAX_REASON_CHARS = 2_000
MAX_CLIENT_CHARS = 64
MAX_CLIENT_KINDS = 64
SIGNED = validate.Regexp(SIGNATURE.pattern + r"\Z")


class EnrolBody(Schema):
    """A device's key and the proof that it holds it."""

    public_key = fields.String(required=True, validate=validate.Length(43, 44))
    proof = fields.String(required=True, validate=validate.Length(1, 128))
    name = fields.String(required=True, validate=validate.Length(1, 64))


class JournalHeadSchema(Schema):
    """The last act of a journal."""

    journal = fields.String(required=True, validate=ID)
    seq = fields.Integer(required=True, strict=True, validate=validate.Range(1, MAX_SEQUENCE))
    hash = fields.String(required=True, validate=HASH)


class KeyBody(Schema):
    """A new key, the acts that the present one still vouches for, and the statement signed by both."""

    public_key = fields.String(required=True, validate=validate.Length(equal=43))
    heads = fields.List(
        fields.Nested(JournalHeadSchema), required=True, validate=validate.Length(max=keys.MAX_KEY_HEADS)
    )  # fmt: skip
    signature = fields.String(required=True, validate=SIGNED)
    proof = fields.String(required=True, validate=SIGNED)


class FormerKeySchema(Schema):
    """A key that was replaced, with the statement that replaced it."""

    number = fields.Integer()
    public_key = fields.String()
    replaced_at = fields.AwareDateTime()
    heads = fields.List(fields.Nested(JournalHeadSchema))
    statement = fields.String()
    signature = fields.String()
    proof = fields.String()


class KeyListSchema(Schema):
    """All keys of a device: the present one, and the former ones, latest first."""

    number = fields.Integer()
    public_key = fields.String()
    former = fields.List(fields.Nested(FormerKeySchema))


class ShareBody(Schema):
    """The device's signature that another officer may work on it."""

    proof = fields.String(required=True, validate=SIGNED)


class WipeOrderBody(Schema):
    """Why a device is to be wiped."""

    reason = fields.String(required=True, validate=validate.Length(1, MAX_REASON_CHARS))


class WipedBody(Schema):
    """What could not be handed in before the device erased itself, signed."""

    acts_lost = fields.Integer(required=True, strict=True, validate=validate.Range(0, wiping.MAX_LOST))
    files_lost = fields.Integer(required=True, strict=True, validate=validate.Range(0, wiping.MAX_LOST))
    signature = fields.String(required=True, validate=SIGNED)


class HandheldClientSchema(Schema):
    """The program on a device, and the versions that it speaks."""

    name = fields.String(required=True, validate=validate.Length(1, MAX_CLIENT_CHARS))
    version = fields.String(required=True, validate=validate.Length(1, MAX_CLIENT_CHARS))
    protocol = fields.Integer(required=True, strict=True, validate=validate.Range(0, 1_000_000))
    kinds = fields.Dict(
        keys=fields.String(validate=validate.Length(1, MAX_CLIENT_CHARS)),
        values=fields.Integer(strict=True, validate=validate.Range(0, 1_000_000)),
        load_default=dict, validate=validate.Length(max=MAX_CLIENT_KINDS),
    )  # fmt: skip


class DeviceSchema(Schema):
    """A device as people see it."""

    id = fields.String(data_key="device")
    name = fields.String()
    officer = fields.String()
    officers = fields.List(fields.String())
    region = fields.String()
    department = fields.String()
    status = fields.String()
    key_number = fields.Integer()
    enrolled_at = fields.AwareDateTime()
    last_seen_at = fields.AwareDateTime(allow_none=True)
    last_sync_at = fields.AwareDateTime(allow_none=True)
    pending_acts = fields.Integer()
    pending_files = fields.Integer()
    sealed_acts = fields.Integer()
    client = fields.Nested(HandheldClientSchema, allow_none=True)
    revoked_at = fields.AwareDateTime(allow_none=True)
    wipe_ordered_at = fields.AwareDateTime(allow_none=True)
    wiped_at = fields.AwareDateTime(allow_none=True)
    wipe_report = fields.Dict(allow_none=True)


class DeviceListSchema(Schema):
    """A page of devices."""

    devices = fields.List(fields.Nested(DeviceSchema))


class BootSchema(Schema):
    """One start of a device, as far as its clocks go."""

    boot = fields.String()
    first_heard_at = fields.AwareDateTime()
    sent_mono_ms = fields.Integer(allow_none=True)
    server_ms = fields.Integer(allow_none=True)
    received_mono_ms = fields.Integer(allow_none=True)
    wall_off_ms = fields.Integer()
    steps = fields.Integer()
    largest_step_ms = fields.Integer()


class BootListSchema(Schema):
    """A page of a device's boots."""

    boots = fields.List(fields.Nested(BootSchema))


class DeviceSignInBody(Schema):
    """A signed request for a token, and what the device announces."""

    device = fields.String(required=True, validate=ID)
    at_ms = fields.Integer(required=True, strict=True, validate=validate.Range(0, 1 << 53))
    nonce = fields.String(required=True, validate=validate.Length(16, 64))
    signature = fields.String(required=True, validate=validate.Length(1, 128))
    client = fields.Nested(HandheldClientSchema, load_default=None)
    pending_acts = fields.Integer(strict=True, load_default=None, validate=validate.Range(0, 2**31 - 1))
    pending_files = fields.Integer(strict=True, load_default=None, validate=validate.Range(0, 2**31 - 1))


class VersionsSchema(Schema):
    """Versions from oldest to newest."""

    oldest = fields.Integer()
    newest = fields.Integer()


class DeviceTokenSchema(Schema):
    """A device's token, what it is good for, the server's time and the versions it speaks."""

    token = fields.String()
    expires_at_ms = fields.Integer()
    server_ms = fields.Integer()
    purpose = fields.String(metadata={"description": "sync, or hand-in"})
    problem = fields.Dict(allow_none=True, metadata={"description": "why the device may only hand in"})
    wipe_ordered_at_ms = fields.Integer(allow_none=True)
    door_key = fields.String()
    protocol = fields.Nested(VersionsSchema)
    kinds = fields.Dict(keys=fields.String(), values=fields.Integer())
