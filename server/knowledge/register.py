"""The register of knowledge."""

from schemas.codes import Code
from schemas.kinds.base import Text
from server.knowledge.models import Knowledge
from server.registers.definition import (
    Day,
    PlacedSchema,
    Register,
    described,
    label,
    optional,
    record_number,
    sector,
    standing,
)
from server.registers.service import Keeper

MAX_CONTENT_CHARS = 20_000


class KnowledgeSchema(PlacedSchema):
    """A law, standard, case or guide; everybody may read it."""

    number = record_number()
    kind = Code("knowledge_kind", required=True, metadata=described("类别", "kind", filtered=True))
    title = Text(required=True, validate=label(), metadata=described("标题", "title"))
    sector = sector()
    issuer = optional("发布机关", "issuer")
    effective_from = Day(required=True, metadata=described("施行日期", "in force from"))
    effective_until = Day(load_default=None, allow_none=True, metadata=described("失效日期", "in force until"))
    content = optional("正文", "text", MAX_CONTENT_CHARS)
    source = optional("来源", "source")
    status = standing()


KNOWLEDGE = Register(
    name="knowledge", kind="knowledge", zh="监管知识库", en="piece of knowledge", model=Knowledge,
    schema=KnowledgeSchema, key="number", title="title", searched=("title", "content", "issuer", "number"),
    day="effective_from", shared=True,
)  # fmt: skip
KEEPER = Keeper(KNOWLEDGE)
