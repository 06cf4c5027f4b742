"""The supervision behavior as it is submitted nationally: inspection, penalty, coercion, other; with its rules.

Fields and which of them are required: the national field lists summarised in the project's domain notes. Code tables
are data (`schemas/codes`). A behavior's content is the JSON that :func:`behavior_schema` accepts, stored as bytes.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import date, timedelta, timezone
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from schemas.codes import Code, of_their_days
from schemas.identifiers import check_checklist_code, check_item_code, check_region, check_resident_number, check_uscc
from schemas.kinds.base import MAX_LABEL_CHARS, MAX_TEXT_CHARS, Instant

MIN_OFFICERS = 2
MAX_OFFICERS = 8
MAX_NUMBER_CHARS = 64
UNIFIED_CODE = "001"
"""Certificate type of the unified social credit code."""
RESIDENT_CARD = "111"
"""Certificate type of the resident identity card."""
YES_NO = ("0", "1")

CITIZEN = "1"
"""Nature of a counterpart that is a natural person; what identifies one is personal data."""
PERSONAL_OF_CITIZENS = ("object", "counterpart_name", "certificate_number", "registered_address", "operating_address")

CHINA = timezone(timedelta(hours=8))
_CERTIFICATE_CHECKS = {UNIFIED_CODE: check_uscc, RESIDENT_CARD: check_resident_number}


def _label(*, required: bool = False) -> fields.String:
    return fields.String(required=required, validate=validate.Length(1 if required else 0, MAX_LABEL_CHARS))


def _text(*, required: bool = False) -> fields.String:
    return fields.String(required=required, validate=validate.Length(1 if required else 0, MAX_TEXT_CHARS))


def _flag(*, required: bool = False) -> fields.String:
    return fields.String(required=required, validate=validate.OneOf(YES_NO))


def _money(*, required: bool = False) -> fields.Decimal:
    return fields.Decimal(required=required, places=2, allow_nan=False, validate=validate.Range(0, 10**12))


def _checked(check: Callable[[str], str | None]) -> Callable[[str], None]:
    def verify(text: str) -> None:
        if reason := check(text):
            raise ValidationError(reason)

    return verify


class ActingOfficerSchema(Schema):
    """An officer who took part, with the number of the certificate shown."""

    name = _label(required=True)
    certificate_number = _label(required=True)


class InspectionBehaviorSchema(Schema):
    """行政检查: the fields that every behavior has."""

    record_id = _label(required=True)
    behavior_kind = Code("behavior_kind")
    plan_id = _label()
    item_code = fields.String(required=True, validate=_checked(check_item_code))
    checklist_code = fields.String(required=True, validate=_checked(check_checklist_code))
    name = _label(required=True)
    number = fields.String(required=True, validate=validate.Length(1, MAX_NUMBER_CHARS))
    implementing_body = _label(required=True)
    implementing_body_code = fields.String(required=True, validate=_checked(check_uscc))
    entrusted_body = _label()
    entrusted_body_code = fields.String(validate=_checked(check_uscc))
    object = _label(required=True)
    counterpart_name = _label(required=True)
    counterpart_nature = Code("counterpart_nature", required=True)
    certificate_type = Code("certificate_type", required=True)
    certificate_number = _label(required=True)
    registered_address = _label()
    operating_address = _label()
    region = fields.String(required=True, validate=_checked(check_region))
    form = Code("inspection_form", required=True)
    category = Code("inspection_category", required=True)
    method = Code("inspection_method")
    result = Code("inspection_result", required=True)
    double_random_result = Code("double_random_result")
    visit_reason = Code("visit_reason")
    visit_filed_at = Instant()
    door_scanned_at = Instant()
    scan_exemption = Code("scan_exemption")
    inspected_at = Instant(required=True)
    officers = fields.List(
        fields.Nested(ActingOfficerSchema), required=True, validate=validate.Length(MIN_OFFICERS, MAX_OFFICERS)
    )
    reported_at = Instant(required=True)
    reported_by = _label(required=True)

    @validates_schema
    def _rules(self, data: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow passes more
        """Two different certificates; never reported before the inspection; the counterpart's number is a valid one."""
        numbers = {officer["certificate_number"] for officer in data["officers"]}
        if len(numbers) < MIN_OFFICERS:
            raise ValidationError("需至少两名不同的执法人员 / two different officers are needed", "officers")
        if _at(data["reported_at"]) < _at(data["inspected_at"]):
            raise ValidationError("上报时间早于检查时间 / reported before the inspection", "reported_at")
        check = _CERTIFICATE_CHECKS.get(data["certificate_type"])
        if check is not None and (reason := check(data["certificate_number"])):
            raise ValidationError(reason, "certificate_number")


class FollowingBehaviorSchema(InspectionBehaviorSchema):
    """What follows an inspection always names it by its number."""

    inspection_number = _label(required=True)


class PenaltyBehaviorSchema(FollowingBehaviorSchema):
    """行政处罚."""

    case_source = Code("case_source", required=True)
    facts = _text(required=True)
    basis = _text(required=True)
    procedure = Code("penalty_procedure", required=True)
    hearing = _flag(required=True)
    filed_at = Instant()
    criminal_referral = _flag(required=True)
    major_case = _flag()
    legal_review = _flag()
    legal_review_at = Instant()
    legal_review_opinion = Code("review_opinion")
    collective_discussion = _flag()
    decision_number = _label(required=True)
    decided_at = Instant(required=True)
    kinds = fields.List(Code("penalty_kind"), required=True, validate=validate.Length(1, 13))
    fine_yuan = _money()
    outcome = Code("penalty_outcome", required=True)
    reconsideration = Code("remedy", required=True)
    litigation = Code("remedy", required=True)
    execution = Code("execution")
    paid_yuan = _money()
    no_penalty = _flag(required=True)
    closed_at = Instant()

    @validates_schema
    def _penalty_rules(self, data: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow passes more
        """Closed after filed; a major case has an approved legal review."""
        if "closed_at" in data and "filed_at" in data and _at(data["closed_at"]) < _at(data["filed_at"]):
            raise ValidationError("结案时间早于立案时间 / closed before filed", "closed_at")
        if data.get("major_case") == "1" and data.get("legal_review_opinion") != "1":
            raise ValidationError(
                "重大案件须经法制审核通过 / a major case needs an approved review", "legal_review_opinion"
            )


class CoercionBehaviorSchema(FollowingBehaviorSchema):
    """行政强制."""

    facts = _text(required=True)
    basis = _text(required=True)
    decision_number = _label(required=True)
    kind = Code("coercion_kind", required=True)
    measure = _text()
    execution = Code("execution")
    outcome = _text()
    started_at = Instant()
    extended_until = Instant()
    ended_at = Instant()

    @validates_schema
    def _coercion_rules(self, data: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow passes more
        """Ended, and extended, after started."""
        _in_order(data, "started_at", "extended_until")
        _in_order(data, "started_at", "ended_at")


class OtherBehaviorSchema(FollowingBehaviorSchema):
    """其他行为."""

    source = Code("case_source")
    measures = _text()
    closing_state = Code("closing_state")
    started_at = Instant()
    ended_at = Instant()

    @validates_schema
    def _other_rules(self, data: Mapping[str, Any], **_: Any) -> None:  # noqa: ANN401 - marshmallow passes more
        """Ended after started."""
        _in_order(data, "started_at", "ended_at")


SCHEMAS: dict[str, type[InspectionBehaviorSchema]] = {
    "inspection": InspectionBehaviorSchema,
    "penalty": PenaltyBehaviorSchema,
    "coercion": CoercionBehaviorSchema,
    "other": OtherBehaviorSchema,
}


def days_of(content: Mapping[str, Any]) -> list[date]:
    """Return the days of a behavior in China: when it was decided, if it says so, and when the inspection was made."""
    said = (content.get(name) for name in ("decided_at", "inspected_at"))
    return [_at(text).astimezone(CHINA).date() for text in said if text]


def personal_content(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a behavior's content that are personal data: none where the counterpart is a firm."""
    if content.get("counterpart_nature") != CITIZEN:
        return {}
    return {name: content[name] for name in PERSONAL_OF_CITIZENS if name in content}


def behavior_schema(kind: str, days: Collection[date] = ()) -> InspectionBehaviorSchema:
    """Return the schema of a kind of behavior (a code of the table `behavior_kind`).

    Args:
        kind: which.
        days: of what it says already: the codes of those days count as well.

    Raises:
        KeyError: there is no such kind.
    """
    schema = SCHEMAS[kind]()
    return of_their_days(schema, days) if days else schema


def _in_order(data: Mapping[str, Any], first: str, then: str) -> None:
    """Refuse an end before its beginning, where both are given."""
    if first in data and then in data and _at(data[then]) < _at(data[first]):
        raise ValidationError("早于开始时间 / before it started", then)


def _at(text: str) -> Any:  # noqa: ANN401 - a datetime; marshmallow's field is untyped
    return fields.AwareDateTime(format="iso").deserialize(text)
