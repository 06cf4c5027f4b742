"""HTTP of series: minutes, hours and days of a channel, and charts of it."""

from typing import Any

from marshmallow import Schema, fields, validate

from schemas.telemetry import FACTORS, HOUR, KIND_NUMBERS, TIER_NUMBERS, parse_time
from server.errors import Problem
from server.telemetry import service
from server.telemetry.series import RAW, Selection, chart, list_aggregates
from server.web.auth import principal, require
from server.web.blueprint import Blueprint
from server.web.paging import PageQuery
from server.web.principal import require_scope
from server.web.transaction import session, transactional

blp = Blueprint("series", __name__, url_prefix="/api/v1/telemetry", description="监测数据序列 Series")

READERS = ("admin", "operator", "auditor", "officer")
POINTS_LIMIT = 5_000


class AggregatesQuery(PageQuery):
    """Which aggregates of a sensor; `after` is the `next` of the page before."""

    factor = fields.String(required=True, validate=validate.OneOf(sorted(FACTORS)))
    tier = fields.String(required=True, validate=validate.OneOf(sorted(TIER_NUMBERS.keys() - {RAW})))
    since = fields.AwareDateTime(required=True)
    until = fields.AwareDateTime(required=True)


class ChartQuery(Schema):
    """Which channel to draw, and in how many points; `kind` is the kind of readings in the tier `raw`."""

    factor = fields.String(required=True, validate=validate.OneOf(sorted(FACTORS)))
    tier = fields.String(required=True, validate=validate.OneOf(sorted(TIER_NUMBERS)))
    kind = fields.String(load_default=HOUR, validate=validate.OneOf(sorted(KIND_NUMBERS)))
    since = fields.AwareDateTime(required=True)
    until = fields.AwareDateTime(required=True)
    points = fields.Integer(load_default=500, validate=validate.Range(3, POINTS_LIMIT))


class PeriodAggregateSchema(Schema):
    """A minute, an hour or a day; `share` is the part of it that valid data stand for."""

    time = fields.AwareDateTime(attribute="at")
    mean = fields.Float(allow_none=True)
    low = fields.Float(allow_none=True)
    high = fields.Float(allow_none=True)
    share = fields.Float()
    valid = fields.Boolean()


class AggregateListSchema(Schema):
    """A page of aggregates, in the factor's unit; `next` is null on the last one."""

    sensor = fields.String()
    factor = fields.String()
    unit = fields.String()
    aggregates = fields.List(fields.Nested(PeriodAggregateSchema))
    next = fields.String(allow_none=True)


class SeriesChartSchema(Schema):
    """Points that look like all `of` valid values in the range."""

    sensor = fields.String()
    factor = fields.String()
    unit = fields.String()
    points = fields.List(fields.Tuple((fields.AwareDateTime(), fields.Float())))
    of = fields.Integer()


@blp.route("/sensors/<sensor_id>/aggregates", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(AggregatesQuery, location="query")
@blp.response(200, AggregateListSchema)
def aggregates(query: dict[str, Any], sensor_id: str) -> dict[str, Any]:
    """List the minutes, hours or days of a channel."""
    limit, text = query.pop("limit"), query.pop("after")
    after = parse_time(text) if text else None
    if text and after is None:
        raise Problem("invalid-field", field="after", detail="must be the `next` of an earlier page")
    rows = list_aggregates(session(), _selection(sensor_id, query), after=after, limit=limit)
    following = rows[-1].at.isoformat() if len(rows) == limit else None
    return _named(sensor_id, query["factor"]) | {"aggregates": rows, "next": following}


@blp.route("/sensors/<sensor_id>/chart", methods=["GET"])
@require(*READERS)
@transactional(read_only=True)
@blp.arguments(ChartQuery, location="query")
@blp.response(200, SeriesChartSchema)
def draw(query: dict[str, Any], sensor_id: str) -> dict[str, Any]:
    """Draw a channel in few points, without losing what stands out."""
    points = query.pop("points")
    drawn, of = chart(session(), _selection(sensor_id, query), points)
    return _named(sensor_id, query["factor"]) | {"points": drawn, "of": of}


def _selection(sensor_id: str, query: dict[str, Any]) -> Selection:
    """Return what is asked for, if the sensor is in the caller's scope."""
    found = service.get_sensor(session(), sensor_id)
    require_scope(principal(), found.region, found.department)
    return Selection(sensor_id, **query)


def _named(sensor_id: str, factor: str) -> dict[str, Any]:
    return {"sensor": sensor_id, "factor": factor, "unit": FACTORS[factor].unit}
