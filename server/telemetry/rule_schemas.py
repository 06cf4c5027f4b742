"""Rules as HTTP says them."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_dump, post_load, validate

from schemas.telemetry import FACTORS
from server.telemetry.rule_book import SETTINGS
from server.telemetry.rule_life import RULE_LIFE
from server.telemetry.rule_models import CODE_CHARS, DETAIL_CHARS
from server.telemetry.rules import CATEGORIES, DAY_MINUTES, HOUR_S, LEVEL, MEASURES, STEPS_S, WINDOW_LIMIT_HOURS
from server.web.paging import PageQuery

HOURS = validate.Range(0, WINDOW_LIMIT_HOURS, min_inclusive=False)
SENSORS_LIMIT = 500


class TimeOfDay(fields.Field[int]):
    """A time of the Chinese day, `HH:MM`, as minutes of the day."""

    def _serialize(self, value: int | None, *_: object, **__: object) -> str | None:
        return None if value is None else f"{value // 60:02}:{value % 60:02}"

    def _deserialize(self, value: object, *_: object, **__: object) -> int:
        hour, _colon, minute = str(value).partition(":")
        if len(hour) == len(minute) == 2 and hour.isdecimal() and minute.isdecimal() and int(minute) < 60:
            minutes = int(hour) * 60 + int(minute)
            if minutes < DAY_MINUTES:
                return minutes
        raise ValidationError("must be a time as 22:30")


class RuleDraftSchema(Schema):
    """A version of a rule as it is written. Durations are in hours, levels in the unit of the measure."""

    code = fields.String(required=True, validate=validate.Length(1, CODE_CHARS))
    measure = fields.String(load_default=LEVEL, validate=validate.OneOf(list(MEASURES)))
    category = fields.String(load_default="breach", validate=validate.OneOf(list(CATEGORIES)))
    factor = fields.String(required=True, validate=validate.OneOf(sorted(FACTORS)))
    unit = fields.String(load_default="", metadata={"description": "of an expression's result; otherwise left out"})
    threshold = fields.Float(required=True)
    clear_level = fields.Float(required=True, metadata={"description": "where an episode ends (hysteresis)"})
    below = fields.Boolean(metadata={"description": "whether beyond the threshold means below it"})
    step_s = fields.Integer(validate=validate.OneOf(STEPS_S), metadata={"description": f"{HOUR_S} if left out"})
    window_hours = fields.Float(required=True, validate=HOURS)
    min_valid_hours = fields.Float(required=True, validate=HOURS)
    share = fields.Float(
        validate=validate.Range(0, 1, min_inclusive=False),
        metadata={"description": "which part of a window's valid values must lie beyond the threshold; 1 if left out"},
    )
    min_distinct = fields.Integer(
        validate=validate.Range(1, 100), metadata={"description": "how many different values a window must hold"}
    )
    max_silence_hours = fields.Float(required=True, validate=validate.Range(0, 10 * WINDOW_LIMIT_HOURS))
    daily_from = TimeOfDay(allow_none=True, metadata={"description": "time of the Chinese day, as 22:00"})
    daily_to = TimeOfDay(allow_none=True)
    expression = fields.String(metadata={"description": "over factors, as SO2 / (21 - O2) * 15"})
    radius_km = fields.Float(metadata={"description": "which sites are neighbours"})
    min_neighbours = fields.Integer(validate=validate.Range(1, 20))
    floor = fields.Float(metadata={"description": "least value that a deviation is taken relative to"})
    region = fields.String(load_default="", validate=validate.Length(max=9))
    department = fields.String(load_default="", validate=validate.Length(max=64))
    entity_id = fields.String(data_key="entity", load_default="", validate=validate.Length(max=36))
    title_zh = fields.String(required=True, validate=validate.Length(1, 200))
    title_en = fields.String(required=True, validate=validate.Length(1, 200))
    basis = fields.String(load_default="", validate=validate.Length(max=500))
    reason = fields.String(required=True, validate=validate.Length(1, DETAIL_CHARS))

    @post_load
    def _gather(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        settings = {name: data.pop(name) for name in SETTINGS if name in data}
        return data | {"settings": settings}


class RuleSchema(RuleDraftSchema):
    """A version of a rule; members that its measure does not need are left out."""

    id = fields.String(data_key="rule", dump_only=True)
    version = fields.Integer(dump_only=True)
    status = fields.String(dump_only=True)
    author = fields.String(dump_only=True)
    created_at = fields.AwareDateTime(dump_only=True)
    effective_from = fields.AwareDateTime(dump_only=True, allow_none=True)
    effective_to = fields.AwareDateTime(dump_only=True, allow_none=True)
    decided_by = fields.String(dump_only=True, allow_none=True)
    decided_at = fields.AwareDateTime(dump_only=True, allow_none=True)
    decision = fields.String(dump_only=True)
    preview = fields.Raw(dump_only=True, allow_none=True, metadata={"description": "the last back-test of the draft"})
    settings = fields.Raw(dump_only=True)

    @post_dump
    def _spread(self, data: dict[str, Any], **_: object) -> dict[str, Any]:
        shown = dict(data.pop("settings", None) or {})
        for name in ("daily_from", "daily_to"):
            if name in shown:
                shown[name] = TimeOfDay()._serialize(shown[name])
        return data | shown


class RuleListSchema(Schema):
    """A page of versions."""

    rules = fields.List(fields.Nested(RuleSchema))


class RulesQuery(PageQuery):
    """Which versions."""

    status = fields.String(load_default=None, validate=validate.OneOf(list(RULE_LIFE.states)))
    code = fields.String(load_default=None)


class BackTestBody(Schema):
    """Over which stored data a rule is tried."""

    since = fields.AwareDateTime(required=True)
    until = fields.AwareDateTime(required=True)
    sensors = fields.List(fields.String(), load_default=(), validate=validate.Length(max=SENSORS_LIMIT))


class FindingSchema(Schema):
    """An episode that the rule would have raised; `known` if one stands there at that time already."""

    sensor_id = fields.String(data_key="sensor")
    sensor_name = fields.String(data_key="name")
    entity_id = fields.String(data_key="entity")
    started_at = fields.AwareDateTime()
    confirmed_at = fields.AwareDateTime()
    last_at = fields.AwareDateTime()
    ended_at = fields.AwareDateTime(allow_none=True)
    peak = fields.Float()
    explanation_zh = fields.String()
    explanation_en = fields.String()
    known = fields.Boolean()


class BackTestSchema(Schema):
    """What a back-test found; `episodes` counts them all, `shown` has the first."""

    since = fields.AwareDateTime()
    until = fields.AwareDateTime()
    sensors = fields.Integer()
    sensors_left_out = fields.Integer()
    sensors_with_data = fields.Integer()
    episodes = fields.Integer()
    shown = fields.List(fields.Nested(FindingSchema))


class RuleActivationBody(Schema):
    """Why a draft is put in force, and from when on: now, or earlier, and then stored data are judged again."""

    reason = fields.String(required=True, validate=validate.Length(1, DETAIL_CHARS))
    effective_from = fields.AwareDateTime(load_default=None, allow_none=True)


class RuleEndBody(Schema):
    """Why a rule is taken out of force, and from when on."""

    reason = fields.String(required=True, validate=validate.Length(1, DETAIL_CHARS))
    effective_to = fields.AwareDateTime(load_default=None, allow_none=True)


class RuleDiscardBody(Schema):
    """Why a draft is given up."""

    reason = fields.String(required=True, validate=validate.Length(1, DETAIL_CHARS))


class JudgeAgainBody(Schema):
    """Which stored data rules are to look at again: of one sensor or of all, by one rule or by every one."""

    since = fields.AwareDateTime(required=True)
    until = fields.AwareDateTime(required=True)
    sensor = fields.String(load_default=None, allow_none=True)
    rule = fields.String(load_default=None, allow_none=True)


class JudgeAgainSchema(Schema):
    """What the worker was asked to do."""

    asked = fields.Boolean()
