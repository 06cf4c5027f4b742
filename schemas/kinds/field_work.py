"""The kinds that officers write in the field: task, inspection, checklist answer, evidence, rectification order."""

from marshmallow import Schema, ValidationError, fields, validate

from schemas.kinds.base import (
    DOT,
    HASH,
    ID,
    MAX_LABEL_CHARS,
    MAX_TEXT_CHARS,
    Instant,
    KindSchema,
    SetChange,
    StrictFloat,
    StrictInteger,
    Text,
    Whole,
    merged,
)
from schemas.visit_rules import MAX_CODE_CHARS

TASK_STATES = ("assigned", "signed_for", "in_progress", "done")
INSPECTION_STATES = ("open", "submitted", "closed")
RECTIFICATION_STATES = ("ordered", "reported", "rechecked", "closed")
OUTCOMES = ("pass", "fail", "not_checked", "not_applicable")
"""Checklist item results: 合格, 不合格, 未检查, 合理缺项."""
SEVERITIES = ("critical", "major", "minor")
TASK_ORIGINS = ("lead", "plan", "recheck", "draw")
LEAD_OUTCOMES = ("confirmed", "refuted", "partly")
"""What officers find of the lead that sent them: 属实, 不实, 部分属实."""
RECHECK_OUTCOMES = ("corrected", "not_corrected")
"""What a re-check finds of an order: 已改正, 未改正."""
DISPOSALS = ("corrected", "penalty")
"""How the office ends an order: 已改正, 转行政处罚."""
UNSIGNED_FIELDS = ("signatures", "status", "notes")
"""Fields of an inspection that an officer's signature leaves out (see sync/signing.py)."""
MAX_EVIDENCE_BYTES = 200 * 1024 * 1024
MAX_SIGNED_DOTS = 512

RANK = validate.Regexp(r"\A[0-9A-Za-z]{0,63}[1-9A-Za-z]\Z", error="not a rank")
LABEL = validate.Length(max=MAX_LABEL_CHARS)
CODE = validate.Length(1, 20)
TEXT = validate.Length(max=MAX_TEXT_CHARS)


class PositionSchema(Schema):
    """A position with its datum; without one it is refused, since GCJ-02 lies some 590 m off in Wuhan."""

    lat = StrictFloat(required=True, validate=validate.Range(-90, 90))
    lon = StrictFloat(required=True, validate=validate.Range(-180, 180))
    datum = Text(required=True, validate=validate.OneOf(("WGS-84", "CGCS2000")))
    accuracy_m = StrictFloat(validate=validate.Range(0, 100_000))


class SignatureSchema(Schema):
    """Who signed, in which role, over which dots, and the digest of what they set (sync/signing.py)."""

    officer = Text(required=True, validate=ID)
    role = Text(required=True, validate=validate.OneOf(("lead", "second", "party")))
    dots = fields.List(DOT, required=True, validate=validate.Length(1, MAX_SIGNED_DOTS))
    digest = Text(required=True, validate=HASH)


class StepSchema(Schema):
    """One step of the visit (执法过程), and where it stands among the others (sync/ranks.py)."""

    rank = Text(required=True, validate=RANK)
    value = Text(required=True, validate=validate.Length(1, MAX_LABEL_CHARS))


def _id(policy: str) -> fields.String:
    return Text(validate=ID, metadata=merged(policy))


def _officers(policy: str) -> fields.List[str]:
    return fields.List(Text(validate=ID), validate=(validate.Length(2, 8), _distinct), metadata=merged(policy))


def _distinct(officers: list[str]) -> None:
    if len(set(officers)) != len(officers):
        raise ValidationError("an officer is named twice")


class TaskSchema(KindSchema):
    """Work for two officers, from a lead, a plan, an order's deadline or a draw; it names the inspection opened for it.

    `recheck_of` is the inspection whose rectification orders are to be re-checked; `extract` the evidence with the
    sensor readings that a lead rests on, made and sealed by the office.
    """

    title = Text(validate=LABEL, metadata=merged("latest"))
    origin = Text(validate=validate.OneOf(TASK_ORIGINS), metadata=merged("first"))
    lead = _id("first")
    extract = _id("first")
    recheck_of = _id("first")
    plan = Text(validate=LABEL, metadata=merged("first"))
    entity = _id("first")
    item = _id("first")
    checklist = _id("first")
    checklist_version = StrictInteger(validate=validate.Range(1, 10_000), metadata=merged("first"))
    officers = _officers("latest")
    inspection = _id("first")
    due_at = Instant(metadata=merged("latest"))
    visit_reason = Text(validate=CODE, metadata=merged("latest"))
    explanation = Text(validate=TEXT, metadata=merged("latest"))
    status = Text(validate=validate.OneOf(TASK_STATES), metadata=merged("monotone", order=TASK_STATES))


class InspectionSchema(KindSchema):
    """One visit. Result and conclusion are legal content: no machine ever chooses between two.

    `lead_outcome` is what it found of the lead that its task came from, whatever else it found.
    A visit without a task is filed by sending `visit_from` and `visit_until` before it begins.
    """

    task = _id("first")
    recheck_of = _id("first")
    plan = Text(validate=LABEL, metadata=merged("first"))
    entity = _id("first")
    item = _id("first")
    checklist = _id("first")
    checklist_version = StrictInteger(validate=validate.Range(1, 10_000), metadata=merged("first"))
    officers = _officers("latest")
    form = Text(validate=validate.OneOf(("01", "02")), metadata=merged("latest"))
    category = Text(validate=LABEL, metadata=merged("latest"))
    method = Text(validate=LABEL, metadata=merged("latest"))
    started_at = Instant(metadata=merged("first"))
    ended_at = Instant(metadata=merged("latest"))
    inspected_at = Instant(metadata=merged("latest"))
    position = Whole(PositionSchema, metadata=merged("latest"))
    scene = Text(validate=TEXT, metadata=merged("latest"))
    statement = Text(validate=TEXT, metadata=merged("latest", personal=True))
    party_opinion = Text(validate=TEXT, metadata=merged("latest", personal=True))
    contact = Text(validate=LABEL, metadata=merged("latest", personal=True))
    result = Text(validate=validate.Length(1, 20), metadata=merged("manual"))
    visit_reason = Text(validate=CODE, metadata=merged("latest"))
    visit_from = Instant(metadata=merged("first"))
    visit_until = Instant(metadata=merged("latest"))
    door_code = Text(validate=validate.Length(1, MAX_CODE_CHARS), metadata=merged("first"))
    door_scanned_at = Instant(metadata=merged("first"))
    scan_exemption = Text(validate=CODE, metadata=merged("latest"))
    double_random_result = Text(validate=CODE, metadata=merged("manual"))
    conclusion = Text(validate=TEXT, metadata=merged("manual"))
    lead_outcome = Text(validate=validate.OneOf(LEAD_OUTCOMES), metadata=merged("manual"))
    signatures = SetChange(Whole(SignatureSchema), metadata=merged("set"))
    notes = Text(validate=TEXT, metadata=merged("append"))
    steps = SetChange(Whole(StepSchema), metadata=merged("list"))
    status = Text(validate=validate.OneOf(INSPECTION_STATES), metadata=merged("monotone", order=INSPECTION_STATES))


class AnswerSchema(KindSchema):
    """The finding on one sub-item of the checklist."""

    inspection = _id("first")
    number = Text(validate=validate.Length(1, 40), metadata=merged("first"))
    outcome = Text(validate=validate.OneOf(OUTCOMES), metadata=merged("manual"))
    severity = Text(validate=validate.OneOf(SEVERITIES), allow_none=True, metadata=merged("manual"))
    finding = Text(validate=TEXT, metadata=merged("latest"))
    evidence = SetChange(Text(validate=ID), metadata=merged("set"))


class EvidenceSchema(KindSchema):
    """What was captured, with the hashes taken at capture; the bytes travel separately."""

    inspection = _id("first")
    sha256 = Text(validate=HASH, metadata=merged("first"))
    sm3 = Text(validate=HASH, metadata=merged("first"))
    size_bytes = StrictInteger(validate=validate.Range(0, MAX_EVIDENCE_BYTES), metadata=merged("first"))
    media_type = Text(validate=validate.Length(1, 100), metadata=merged("first"))
    captured_at = Instant(metadata=merged("first"))
    position = Whole(PositionSchema, metadata=merged("first"))
    file_name = Text(validate=LABEL, metadata=merged("first"))
    caption = Text(validate=TEXT, metadata=merged("latest"))


class RectificationSchema(KindSchema):
    """An order to put something right by a deadline (责令整改), and how it went.

    `recheck` is the inspection that looked again, `outcome` what it found, `evidence` what shows it. The office closes
    the order and says how by `disposal`.
    """

    inspection = _id("first")
    entity = _id("first")
    answer = _id("first")
    requirement = Text(validate=TEXT, metadata=merged("manual"))
    deadline = Instant(metadata=merged("manual"))
    report = Text(validate=TEXT, metadata=merged("append"))
    evidence = SetChange(Text(validate=ID), metadata=merged("set"))
    recheck = _id("latest")
    outcome = Text(validate=validate.OneOf(RECHECK_OUTCOMES), metadata=merged("manual"))
    disposal = Text(validate=validate.OneOf(DISPOSALS), metadata=merged("latest"))
    status = Text(
        validate=validate.OneOf(RECTIFICATION_STATES), metadata=merged("monotone", order=RECTIFICATION_STATES)
    )
