"""What the register of entities holds, field by field, as people see it."""

from marshmallow import fields

from schemas.codes import Code
from schemas.kinds.base import Text
from server.entities.models import Entity
from server.registers.definition import Region, Register, RegisterSchema, described, sector


class EntityContent(RegisterSchema):
    """The fields of an entity."""

    name = Text(metadata=described("名称", "name"))
    uscc = Text(metadata=described("统一社会信用代码", "unified social credit code"))
    nature = Code("counterpart_nature", metadata=described("相对人性质", "nature"))
    entity_type = Code("entity_type", metadata=described("对象类型", "type"))
    sector = sector()
    risk = Code("risk_grade", metadata=described("风险等级", "risk grade", filtered=True))
    credit = Code("credit_grade", metadata=described("信用等级", "credit grade", filtered=True))
    region = Region(metadata=described("行政区划", "division"))
    registered_address = Text(metadata=described("注册地址", "registered address"))
    operating_address = Text(metadata=described("经营地址", "operating address"))
    lat = fields.Float(metadata=described("纬度", "latitude"))
    lon = fields.Float(metadata=described("经度", "longitude"))
    datum = Code("datum", metadata=described("坐标系", "datum"))
    status = Text(metadata=described("状态", "status"))


ENTITIES = Register(
    name="entities", kind="entity", zh="监管对象库", en="regulated entity", model=Entity, schema=EntityContent,
    key="uscc", title="name", searched=("name",), day="",
)  # fmt: skip
