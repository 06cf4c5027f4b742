"""The kinds that the office publishes to handhelds: entities, supervision items, checklists, officers."""

from marshmallow import Schema, fields, validate

from schemas.kinds.base import MAX_LABEL_CHARS, MAX_TEXT_CHARS, REGION, Instant, KindSchema, StrictInteger, merged
from schemas.kinds.field_work import PositionSchema

MAX_SUB_ITEMS = 400
LABEL = validate.Length(max=MAX_LABEL_CHARS)
LATEST = merged("latest")


class SubItemSchema(Schema):
    """One line of a checklist."""

    number = fields.String(required=True, validate=validate.Length(1, 40))
    text = fields.String(required=True, validate=validate.Length(1, MAX_TEXT_CHARS))
    method = fields.String(validate=LABEL)
    basis = fields.String(validate=LABEL)


class EntitySchema(KindSchema):
    """A regulated entity (监管对象)."""

    name = fields.String(validate=LABEL, metadata=LATEST)
    nature = fields.String(validate=validate.OneOf(("1", "2", "3")), metadata=LATEST)
    uscc = fields.String(validate=validate.Length(equal=18), metadata=LATEST)
    registered_address = fields.String(validate=LABEL, metadata=LATEST)
    operating_address = fields.String(validate=LABEL, metadata=LATEST)
    region = fields.String(validate=REGION, metadata=LATEST)
    position = fields.Nested(PositionSchema, metadata=LATEST)
    status = fields.String(validate=validate.OneOf(("active", "closed")), metadata=LATEST)


class ItemSchema(KindSchema):
    """A supervision item (监管事项)."""

    code = fields.String(validate=validate.Regexp(r"\A\d{14}\Z"), metadata=LATEST)
    name = fields.String(validate=LABEL, metadata=LATEST)
    basis = fields.String(validate=validate.Length(max=MAX_TEXT_CHARS), metadata=LATEST)
    department = fields.String(validate=LABEL, metadata=LATEST)


class ChecklistSchema(KindSchema):
    """A checklist (检查实施清单) in one version; a new version is a new record."""

    code = fields.String(validate=validate.Length(19, 60), metadata=LATEST)
    version = StrictInteger(validate=validate.Range(1, 10_000), metadata=LATEST)
    name = fields.String(validate=LABEL, metadata=LATEST)
    item = fields.String(validate=LABEL, metadata=LATEST)
    sub_items = fields.List(fields.Nested(SubItemSchema), validate=validate.Length(1, MAX_SUB_ITEMS), metadata=LATEST)


class OfficerSchema(KindSchema):
    """A certified officer (执法人员), as far as handhelds need to know."""

    name = fields.String(validate=LABEL, metadata=LATEST)
    certificate_number = fields.String(validate=LABEL, metadata=LATEST)
    certificate_valid_until = Instant(metadata=LATEST)
    department = fields.String(validate=LABEL, metadata=LATEST)
    region = fields.String(validate=REGION, metadata=LATEST)
