"""The register of credit records."""

from schemas.codes import Code
from schemas.kinds.base import MAX_TEXT_CHARS, Text
from server.credit.models import CreditRecord
from server.entities.merging import TO_ENTITY
from server.entities.service import places_of
from server.registers.definition import (
    Day,
    Register,
    RegisterSchema,
    described,
    label,
    optional,
    record_number,
    reference,
    standing,
)
from server.registers.service import Keeper


class CreditSchema(RegisterSchema):
    """A credit record; its division is its entity's."""

    number = record_number()
    entity = reference("监管对象", "entity", TO_ENTITY, required=True, fixed=True)
    kind = Code("credit_kind", required=True, metadata=described("类别", "kind", filtered=True))
    title = Text(required=True, validate=label(), metadata=described("名称", "title"))
    authority = Text(required=True, validate=label(), metadata=described("认定机关", "authority"))
    basis = optional("依据", "basis")
    content = optional("内容", "content", MAX_TEXT_CHARS)
    decided_on = Day(required=True, metadata=described("认定日期", "decided on"))
    valid_until = Day(load_default=None, allow_none=True, metadata=described("有效期至", "valid until"))
    status = standing()


CREDIT = Register(
    name="credit-records", kind="credit_record", zh="信用信息库", en="credit record", model=CreditRecord,
    schema=CreditSchema, key="number", title="title", searched=("title", "authority", "number"), day="decided_on",
    follows_entity=True,
)  # fmt: skip
KEEPER = Keeper(CREDIT, place=places_of)
