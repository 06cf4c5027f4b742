"""The kinds that the office publishes to handhelds: entities, supervision items, checklists, officers."""

from marshmallow import Schema, fields, validate

from schemas.kinds.base import (
    MAX_LABEL_CHARS,
    MAX_TEXT_CHARS,
    REGION,
    Instant,
    KindSchema,
    StrictInteger,
    Text,
    Whole,
    merged,
)
from schemas.kinds.field_work import OUTCOMES, PositionSchema

MAX_SUB_ITEMS = 400
MAX_KNOWLEDGE = 16
"""Most laws, cases and guides, by their numbers, that a line of a checklist points to."""
MAX_SECTORS = 64
LABEL = validate.Length(max=MAX_LABEL_CHARS)
LATEST = merged("latest")
EVIDENCE_FORMS = ("photo", "video", "audio", "document")


class ConditionSchema(Schema):
    """A line is asked only where an earlier one, by number, has this outcome."""

    number = Text(required=True, validate=validate.Length(1, 40))
    outcome = Text(required=True, validate=validate.OneOf(OUTCOMES))


class SubItemSchema(Schema):
    """One line of a checklist."""

    number = Text(required=True, validate=validate.Length(1, 40))
    text = Text(required=True, validate=validate.Length(1, MAX_TEXT_CHARS))
    method = Text(validate=LABEL)
    basis = Text(validate=LABEL)
    penalty_basis = Text(validate=LABEL)
    outcomes = fields.List(Text(validate=validate.OneOf(OUTCOMES)), validate=validate.Length(1, len(OUTCOMES)))
    asked_when = Whole(ConditionSchema)
    evidence = fields.List(Text(validate=validate.OneOf(EVIDENCE_FORMS)), validate=validate.Length(1, 4))
    knowledge = fields.List(Text(validate=validate.Length(1, 64)), validate=validate.Length(1, MAX_KNOWLEDGE))


class EntitySchema(KindSchema):
    """A regulated entity (监管对象)."""

    name = Text(validate=LABEL, metadata=LATEST)
    nature = Text(validate=validate.OneOf(("1", "2", "3")), metadata=LATEST)
    uscc = Text(validate=validate.Length(equal=18), metadata=LATEST)
    registered_address = Text(validate=LABEL, metadata=LATEST)
    operating_address = Text(validate=LABEL, metadata=LATEST)
    region = Text(validate=REGION, metadata=LATEST)
    position = Whole(PositionSchema, metadata=LATEST)
    status = Text(validate=validate.OneOf(("active", "closed")), metadata=LATEST)


class ItemSchema(KindSchema):
    """A supervision item (监管事项)."""

    code = Text(validate=validate.Regexp(r"\A[0-9]{14}\Z"), metadata=LATEST)
    name = Text(validate=LABEL, metadata=LATEST)
    basis = Text(validate=validate.Length(max=MAX_TEXT_CHARS), metadata=LATEST)
    department = Text(validate=LABEL, metadata=LATEST)
    item_type = Text(validate=LABEL, metadata=LATEST)
    level = Text(validate=LABEL, metadata=LATEST)
    sector = Text(validate=LABEL, metadata=LATEST)
    version = StrictInteger(validate=validate.Range(1, 10_000), metadata=LATEST)
    status = Text(validate=validate.OneOf(("published", "withdrawn")), metadata=LATEST)


class ChecklistSchema(KindSchema):
    """A checklist (检查实施清单) in one version; a new version is a new record."""

    code = Text(validate=validate.Length(19, 60), metadata=LATEST)
    version = StrictInteger(validate=validate.Range(1, 10_000), metadata=LATEST)
    name = Text(validate=LABEL, metadata=LATEST)
    item = Text(validate=LABEL, metadata=LATEST)
    sub_items = fields.List(Whole(SubItemSchema), validate=validate.Length(1, MAX_SUB_ITEMS), metadata=LATEST)
    status = Text(validate=validate.OneOf(("published", "superseded", "withdrawn")), metadata=LATEST)


class OfficerSchema(KindSchema):
    """A certified officer (执法人员), as far as handhelds need to know; an empty `scope` covers every sector."""

    name = Text(validate=LABEL, metadata=LATEST)
    certificate_number = Text(validate=LABEL, metadata=LATEST)
    certificate_valid_from = Instant(metadata=LATEST)
    certificate_valid_until = Instant(metadata=LATEST)
    scope = fields.List(Text(validate=LABEL), validate=validate.Length(0, MAX_SECTORS), metadata=LATEST)
    department = Text(validate=LABEL, metadata=LATEST)
    region = Text(validate=REGION, metadata=LATEST)
