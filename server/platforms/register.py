"""The register of third-party platforms and key firms."""

from schemas.codes import Code
from schemas.kinds.base import MAX_TEXT_CHARS, Text
from server.entities.merging import TO_ENTITY
from server.entities.service import places_of
from server.platforms.models import KeySubject
from server.registers.definition import (
    Day,
    Register,
    RegisterSchema,
    described,
    label,
    optional,
    record_number,
    reference,
    sector,
    standing,
)
from server.registers.service import Keeper


class KeySubjectSchema(RegisterSchema):
    """A platform or key firm; its division is its entity's."""

    number = record_number()
    entity = reference("监管对象", "entity", TO_ENTITY, required=True, fixed=True)
    kind = Code("key_subject_kind", required=True, metadata=described("类别", "kind", filtered=True))
    name = Text(required=True, validate=label(), metadata=described("名称", "name"))
    sector = sector()
    site = optional("网址", "site")
    grounds = optional("列入原因", "grounds", MAX_TEXT_CHARS)
    contact = optional("联系人", "contact", 64, personal=True)
    phone = optional("联系电话", "telephone", 32, personal=True)
    listed_on = Day(required=True, metadata=described("列入日期", "listed on"))
    status = standing()


PLATFORMS = Register(
    name="key-subjects", kind="key_subject", zh="第三方平台与重点企业库", en="platform or key firm", model=KeySubject,
    schema=KeySubjectSchema, key="number", title="name", searched=("name", "site", "number"), day="listed_on",
    follows_entity=True,
)  # fmt: skip
KEEPER = Keeper(PLATFORMS, place=places_of)
