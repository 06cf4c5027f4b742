"""HTTP of provisioning: device types, periods, credentials, brokers' files, gaps and commands of sensors."""

import re
from typing import Any

from marshmallow import Schema, fields, validate

from schemas.telemetry import FACTORS, UNITS
from server.audit.service import record_event
from server.errors import Problem
from server.telemetry import commands, credentials, provisioning, service, tokens
from server.telemetry.gaps import list_gaps
from server.telemetry.models import DeviceType, Sensor, SensorPeriod
from server.telemetry.registry import PERIODS
from server.telemetry.signals import presence_of
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.principal import require_scope
from server.web.transaction import runtime, session, transactional

blp = Blueprint("provisioning", __name__, url_prefix="/api/v1/telemetry", description="监测设备管理 Provisioning")

GAPS_LIMIT = 1_000
CODE = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,63}")
TITLE = validate.Length(1, 200)


class TypeChannelSchema(Schema):
    """A channel of a device type; range and unit default to the factor's own."""

    low = fields.Float(metadata={"description": "in the channel's unit"})
    high = fields.Float(metadata={"description": "in the channel's unit"})
    unit = fields.String(validate=validate.OneOf(UNITS))
    precision = fields.Float(validate=validate.Range(0, min_inclusive=False))
    interval_s = fields.Integer(strict=True, validate=validate.Range(1, 86_400))


class DeviceTypeSchema(Schema):
    """A type of sensor."""

    code = fields.String(dump_only=True)
    title_zh = fields.String(required=True, validate=TITLE)
    title_en = fields.String(required=True, validate=TITLE)
    channels = fields.Dict(
        keys=fields.String(validate=validate.OneOf(sorted(FACTORS))),
        values=fields.Nested(TypeChannelSchema),
        required=True,
        validate=validate.Length(1, len(FACTORS)),
    )


class DeviceTypeListSchema(Schema):
    """All device types."""

    types = fields.List(fields.Nested(DeviceTypeSchema))


class PeriodSchema(Schema):
    """A period in which nothing a sensor says counts."""

    id = fields.String(dump_only=True)
    kind = fields.String(required=True, validate=validate.OneOf(list(PERIODS)))
    starts_at = fields.AwareDateTime(required=True)
    ends_at = fields.AwareDateTime(load_default=None, allow_none=True)
    note = fields.String(load_default="", validate=validate.Length(max=500))


class PeriodListSchema(Schema):
    """A sensor's periods."""

    periods = fields.List(fields.Nested(PeriodSchema))


class PeriodEnd(Schema):
    """When a period ended."""

    ends_at = fields.AwareDateTime(required=True)


class CredentialBody(Schema):
    """What to grant: a token (made here, or the password a station was set to), or the use of a certificate."""

    kind = fields.String(required=True, validate=validate.OneOf([tokens.TOKEN, credentials.CERTIFICATE]))
    password = fields.String(load_default="", load_only=True)
    certificate = fields.String(load_default="", validate=validate.Length(max=credentials.CERTIFICATE_LIMIT_CHARS))


class GrantedSchema(Schema):
    """A new credential; `token` is shown this once."""

    id = fields.String()
    kind = fields.String()
    token = fields.String()


class CredentialSchema(Schema):
    """A credential in force."""

    id = fields.String()
    kind = fields.String()
    created_at = fields.AwareDateTime()


class CredentialListSchema(Schema):
    """A sensor's credentials in force."""

    credentials = fields.List(fields.Nested(CredentialSchema))


class BrokerFileSchema(Schema):
    """A file for a broker."""

    name = fields.String()
    text = fields.String()


class PresenceSchema(Schema):
    """Whether a sensor is connected; both are null while it has never said so."""

    online = fields.Boolean(allow_none=True)
    since_at = fields.AwareDateTime(allow_none=True)


class AskedSchema(Schema):
    """A command's id."""

    id = fields.String()


class GapSchema(Schema):
    """Missing numbers."""

    first_seq = fields.Integer()
    last_seq = fields.Integer()
    given_up_at = fields.AwareDateTime()


class GapListSchema(Schema):
    """A sensor's missing numbers."""

    gaps = fields.List(fields.Nested(GapSchema))


class CommandBody(Schema):
    """What to ask of a sensor."""

    name = fields.String(required=True, validate=validate.OneOf([commands.SET_INTERVAL, commands.HISTORY]))
    parameters = fields.Dict(keys=fields.String(), required=True)


class CommandSchema(CommandBody):
    """A command and what became of it."""

    id = fields.String()
    status = fields.String()
    asked_by = fields.String()
    asked_at = fields.AwareDateTime()
    sent_at = fields.AwareDateTime(allow_none=True)
    expires_at = fields.AwareDateTime()
    answered_at = fields.AwareDateTime(allow_none=True)
    answer = fields.String()


class CommandListSchema(Schema):
    """A page of commands."""

    commands = fields.List(fields.Nested(CommandSchema))


def _mine(sensor_id: str) -> Sensor:
    found = service.get_sensor(session(), sensor_id)
    require_scope(principal(), found.region, found.department)
    return found


@blp.route("/device-types", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, DeviceTypeListSchema)
def device_types() -> dict[str, Any]:
    """List the device types."""
    return {"types": provisioning.list_device_types(session())}


@blp.route("/device-types/<code>", methods=["PUT"])
@require("admin")
@transactional
@blp.arguments(DeviceTypeSchema)
@blp.response(200, DeviceTypeSchema)
def put_device_type(body: dict[str, Any], code: str) -> DeviceType:
    """Add or change a device type."""
    if not CODE.fullmatch(code):
        raise Problem("invalid-field", field="code", detail="must be a plain word")
    return provisioning.put_device_type(session(), code, **body)


@blp.route("/sensors/<sensor_id>/periods", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, PeriodListSchema)
def periods(sensor_id: str) -> dict[str, Any]:
    """List a sensor's periods of calibration, of maintenance and out of service."""
    return {"periods": provisioning.list_periods(session(), _mine(sensor_id).id)}


@blp.route("/sensors/<sensor_id>/periods", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(PeriodSchema)
@blp.response(201, PeriodSchema)
def add_period(body: dict[str, Any], sensor_id: str) -> SensorPeriod:
    """Add a period in which nothing the sensor says counts."""
    row = provisioning.add_period(session(), runtime(), _mine(sensor_id).id, **body)
    _note("sensor.period", sensor_id, {"kind": row.kind, "period": row.id})
    return row


@blp.route("/sensors/<sensor_id>/periods/<period_id>/end", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(PeriodEnd)
@blp.response(200, PeriodSchema)
def end_period(body: dict[str, Any], sensor_id: str, period_id: str) -> SensorPeriod:
    """End a period that lasts."""
    row = provisioning.end_period(session(), _mine(sensor_id).id, period_id, body["ends_at"])
    _note("sensor.period-end", sensor_id, {"period": row.id})
    return row


@blp.route("/sensors/<sensor_id>/credentials", methods=["GET"])
@require("admin", "operator")
@transactional(read_only=True)
@blp.response(200, CredentialListSchema)
def list_credentials(sensor_id: str) -> dict[str, Any]:
    """List a sensor's credentials in force."""
    return {"credentials": tokens.in_force(session(), _mine(sensor_id).id)}


@blp.route("/sensors/<sensor_id>/credentials", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(CredentialBody)
@blp.response(201, GrantedSchema)
def grant(body: dict[str, Any], sensor_id: str) -> credentials.Granted:
    """Grant a credential; a token is shown this once. Brokers know it when their files are written again."""
    found = _mine(sensor_id)
    if body["kind"] == tokens.TOKEN:
        granted = credentials.add_token(session(), runtime(), found, body["password"])
    else:
        granted = credentials.add_certificate(session(), runtime(), found, body["certificate"])
    _note("sensor.grant", sensor_id, {"credential": granted.id, "kind": granted.kind})
    return granted


@blp.route("/sensors/<sensor_id>/credentials/<credential_id>/revoke", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.response(204)
def revoke(sensor_id: str, credential_id: str) -> None:
    """Revoke a credential."""
    credentials.revoke(session(), runtime(), _mine(sensor_id).id, credential_id)
    _note("sensor.revoke", sensor_id, {"credential": credential_id})


@blp.route("/broker-files/<name>", methods=["GET"])
@require("admin")
@transactional(read_only=True)
@blp.response(200, BrokerFileSchema)
def broker_file(name: str) -> dict[str, str]:
    """Write a broker's file of users or permissions, from the credentials in force."""
    make = credentials.FILES.get(name)
    if make is None:
        raise Problem("not-found", detail=f"there are {', '.join(credentials.FILES)}")
    return {"name": name, "text": make(credentials.broker_clients(session()))}


@blp.route("/sensors/<sensor_id>/presence", methods=["GET"])
@require("admin", "operator", "auditor", "officer")
@transactional(read_only=True)
@blp.response(200, PresenceSchema)
def presence(sensor_id: str) -> dict[str, Any]:
    """Show whether a sensor is connected to its broker."""
    row = presence_of(session(), [_mine(sensor_id).id]).get(sensor_id)
    return {"online": row.online if row else None, "since_at": row.since_at if row else None}


@blp.route("/sensors/<sensor_id>/gaps", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.response(200, GapListSchema)
def gaps(sensor_id: str) -> dict[str, Any]:
    """List the numbers of a sensor that were given up and never came."""
    return {"gaps": list_gaps(session(), _mine(sensor_id).id, limit=GAPS_LIMIT)}


@blp.route("/sensors/<sensor_id>/commands", methods=["GET"])
@require("admin", "operator", "auditor")
@transactional(read_only=True)
@blp.arguments(PageQuery, location="query")
@blp.response(200, CommandListSchema)
def list_commands(query: dict[str, Any], sensor_id: str) -> dict[str, Any]:
    """List what was asked of a sensor, and what it answered."""
    return {"commands": commands.list_commands(session(), _mine(sensor_id).id, **query)}


@blp.route("/sensors/<sensor_id>/commands", methods=["POST"])
@require("admin", "operator")
@transactional
@blp.arguments(CommandBody)
@blp.response(202, AskedSchema)
def ask(body: dict[str, Any], sensor_id: str) -> dict[str, Any]:
    """Ask a sensor to change its sampling interval, or for its history; the ingester sends it."""
    found = _mine(sensor_id)
    who = principal().subject
    return {"id": commands.ask(session(), runtime(), found, body["name"], body["parameters"], who)}


def _note(action: str, sensor_id: str, detail: dict[str, str]) -> None:
    record_event(session(), runtime(), principal().subject, action, "sensor", sensor_id, detail)
