"""HTTP of telemetry: the sensor registry, stored readings, dead letters and their replay, running totals."""

import base64
from datetime import datetime
from typing import Any

from marshmallow import Schema, fields, validate

from schemas.telemetry import CODES, FACTORS, KIND_NUMBERS, SENSOR_ID, parse_time
from server.errors import Problem
from server.telemetry import service
from server.telemetry.letters import OPEN, REPLAYED, REQUESTED
from server.telemetry.models import DeadLetter, Sensor
from server.telemetry.provisioning_api import TypeChannelSchema
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.principal import require_scope
from server.web.transaction import runtime, session, transactional

blp = Blueprint("telemetry", __name__, url_prefix="/api/v1/telemetry", description="监测数据 Telemetry")

REPLAY_LIMIT = 100
"""Most dead letters in one request for a replay."""
READERS = ("admin", "operator", "auditor")


class ChannelSchema(TypeChannelSchema):
    """A channel; what it leaves out is its factor's usual. Ranges are shown in the factor's unit."""


class SensorSchema(Schema):
    """A registered sensor."""

    id = fields.String(required=True, data_key="sensor", validate=validate.Regexp(rf"^{SENSOR_ID.pattern}\Z"))
    name = fields.String(required=True, validate=validate.Length(1, service.NAME_LIMIT_CHARS))
    entity_id = fields.String(required=True, data_key="entity", validate=validate.Length(1, 36))
    region = fields.String(required=True, validate=validate.Regexp(r"^(\d{6}|\d{9})\Z"))
    department = fields.String(required=True, validate=validate.Length(0, 64))
    lat = fields.Float(required=True, validate=validate.Range(-90, 90))
    lon = fields.Float(required=True, validate=validate.Range(-180, 180))
    datum = fields.String(required=True, validate=validate.OneOf(service.DATUMS))
    channels = fields.Dict(
        keys=fields.String(validate=validate.OneOf(sorted(FACTORS))),
        values=fields.Nested(ChannelSchema),
        load_default=dict,
        validate=validate.Length(0, len(FACTORS)),
    )
    device_type = fields.String(allow_none=True, validate=validate.Length(1, 64))
    mqtt_user = fields.String(validate=validate.Regexp(rf"^{SENSOR_ID.pattern}\Z"))


class SensorListSchema(Schema):
    """A page of sensors."""

    sensors = fields.List(fields.Nested(SensorSchema))


class ReadingsQuery(PageQuery):
    """Which readings of a sensor; `after` is the `next` of the page before."""

    since = fields.AwareDateTime(load_default=None)
    until = fields.AwareDateTime(load_default=None)
    factor = fields.String(load_default=None, validate=validate.OneOf(sorted(FACTORS)))


class StoredReadingSchema(Schema):
    """A stored reading; `reason` says why an invalid one must not count."""

    time = fields.AwareDateTime(attribute="at")
    factor = fields.String()
    kind = fields.String()
    value = fields.Float(allow_none=True)
    unit = fields.String()
    flag = fields.String()
    valid = fields.Boolean()
    reason = fields.String(allow_none=True)
    seq = fields.Integer()
    received_at = fields.AwareDateTime()
    skew_ms = fields.Integer(allow_none=True, metadata={"description": "how far the sensor's clock lay behind"})
    corrected_time = fields.AwareDateTime(attribute="corrected_at")


class ReadingListSchema(Schema):
    """A page of readings; `next` is null on the last one."""

    sensor = fields.String()
    readings = fields.List(fields.Nested(StoredReadingSchema))
    next = fields.String(allow_none=True)


class LettersQuery(PageQuery):
    """Which dead letters."""

    status = fields.String(load_default=None, validate=validate.OneOf([OPEN, REQUESTED, REPLAYED]))
    reason = fields.String(load_default=None, validate=validate.OneOf(sorted(CODES["refusals"])))
    sensor = fields.String(load_default=None, validate=validate.Length(max=64))


def _title(letter: DeadLetter) -> str:
    row = CODES["refusals"].get(letter.reason)
    return f"{row['zh']} / {row['en']}" if row else letter.reason


class LetterSchema(Schema):
    """A dead letter: `payload` is base64 of a whole message (`whole`) or of one reading of it."""

    id = fields.String()
    identity = fields.String()
    received_at = fields.AwareDateTime()
    topic = fields.String()
    sensor_id = fields.String(data_key="sensor")
    seq = fields.Integer(allow_none=True)
    reason = fields.String()
    title = fields.Function(_title)
    detail = fields.String()
    factor = fields.String()
    time = fields.String()
    readings = fields.Integer()
    whole = fields.Boolean()
    payload = fields.Function(lambda letter: base64.b64encode(letter.payload).decode())
    status = fields.String()
    replayed_at = fields.AwareDateTime(allow_none=True)


class LetterListSchema(Schema):
    """A page of dead letters."""

    letters = fields.List(fields.Nested(LetterSchema))


class ReplayBody(Schema):
    """Dead letters to take in again."""

    letters = fields.List(
        fields.String(validate=validate.Length(1, 36)), required=True, validate=validate.Length(1, REPLAY_LIMIT)
    )


class ReplaySchema(Schema):
    """How many will be taken in again; letters replayed or asked for before are left out."""

    requested = fields.Integer()


class CountersSchema(Schema):
    """Running totals of the ingesters, and the stored readings counted anew."""

    counters = fields.Dict(keys=fields.String(), values=fields.Integer())
    readings = fields.Dict(keys=fields.String(), values=fields.Integer())
    dead_letters = fields.Dict(keys=fields.String(), values=fields.Integer())


@blp.route("/sensors", methods=["GET"])
@require(*READERS, "officer")
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, SensorListSchema)
def sensors(query: dict[str, Any]) -> dict[str, Any]:
    """List the sensors of one's scope."""
    caller = principal()
    return {"sensors": service.list_sensors(session(), region=caller.region, department=caller.department, **query)}


@blp.route("/sensors", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(SensorSchema)
@blp.response(201, SensorSchema)
def register(body: dict[str, Any]) -> Sensor:
    """Register a sensor, or change what is registered under its id."""
    caller = principal()
    require_scope(caller, body["region"], body["department"])
    known = session().get(Sensor, body["id"])
    if known is not None:
        require_scope(caller, known.region, known.department)
    sensor_id = service.register_sensor(session(), runtime(), service.SensorDraft(**body))
    return service.get_sensor(session(), sensor_id)


@blp.route("/sensors/<sensor_id>", methods=["GET"])
@require(*READERS, "officer")
@transactional(read_only=True)
@blp.response(200, SensorSchema)
def sensor(sensor_id: str) -> Sensor:
    """Show one sensor."""
    found = service.get_sensor(session(), sensor_id)
    require_scope(principal(), found.region, found.department)
    return found


@blp.route("/sensors/<sensor_id>/readings", methods=["GET"])
@require(*READERS, "officer")
@transactional(read_only=True)
@blp.arguments(ReadingsQuery, location="query")
@blp.response(200, ReadingListSchema)
def readings(query: dict[str, Any], sensor_id: str) -> dict[str, Any]:
    """List a sensor's readings by data time, valid or not."""
    found = service.get_sensor(session(), sensor_id)
    require_scope(principal(), found.region, found.department)
    after = _after(query.pop("after"))
    rows = service.list_readings(session(), sensor_id, after=after, **query)
    full = len(rows) == query["limit"]
    following = f"{rows[-1].at.isoformat()}~{rows[-1].factor}~{rows[-1].kind}" if full else None
    return {"sensor": sensor_id, "readings": rows, "next": following}


def _after(text: str) -> tuple[datetime, str, str] | None:
    if not text:
        return None
    time, _, rest = text.partition("~")
    factor, _, kind = rest.partition("~")
    instant = parse_time(time)
    if instant is None or factor not in FACTORS or kind not in KIND_NUMBERS:
        raise Problem("invalid-field", field="after", detail="must be the `next` of an earlier page")
    return instant, factor, kind


@blp.route("/dead-letters", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(LettersQuery, location="query")
@blp.response(200, LetterListSchema)
def letters(query: dict[str, Any]) -> dict[str, Any]:
    """List what was received but is no stored reading, with its reason."""
    caller = principal()
    query["sensor_id"] = query.pop("sensor")
    found = service.list_letters(session(), region=caller.region, department=caller.department, **query)
    return {"letters": found}


@blp.route("/dead-letters/replay", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(ReplayBody)
@blp.response(202, ReplaySchema)
def replay(body: dict[str, Any]) -> dict[str, Any]:
    """Have the ingester take dead letters in again, after what refused them was mended."""
    caller = principal()
    scope = {"region": caller.region, "department": caller.department}
    return {"requested": service.request_replay(session(), body["letters"], **scope)}


@blp.route("/counters", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.response(200, CountersSchema)
def totals() -> dict[str, Any]:
    """Show the ingesters' running totals beside a fresh count."""
    return {
        "counters": service.counters(session()),
        "readings": service.count_readings(session()),
        "dead_letters": service.count_letters(session()),
    }
