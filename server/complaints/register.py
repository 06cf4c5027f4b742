"""The register of complaints."""

from schemas.codes import Code
from schemas.kinds.base import MAX_TEXT_CHARS, Text
from server.complaints.models import Complaint
from server.directory.models import SupervisionItem
from server.entities.merging import TO_ENTITY
from server.registers.definition import (
    Moment,
    PlacedSchema,
    Reference,
    Register,
    described,
    label,
    optional,
    record_number,
    reference,
    sector,
)
from server.registers.service import Keeper

TO_ITEM = Reference("supervision item with the code", SupervisionItem.code)


class ComplaintSchema(PlacedSchema):
    """A complaint as it is taken in; who complains is personal data."""

    number = record_number()
    kind = Code("complaint_kind", required=True, metadata=described("类别", "kind", filtered=True))
    channel = Code("complaint_channel", required=True, metadata=described("渠道", "channel", filtered=True))
    subject = Text(required=True, validate=label(), metadata=described("事由", "subject"))
    content = optional("内容", "content", MAX_TEXT_CHARS)
    respondent = Text(required=True, validate=label(), metadata=described("被投诉人", "respondent"))
    entity = reference("监管对象", "entity", TO_ENTITY)
    item = reference("监管事项", "item", TO_ITEM)
    sector = sector()
    complainant = optional("投诉人", "complainant", 64, personal=True)
    phone = optional("联系电话", "telephone", 32, personal=True)
    received_at = Moment(required=True, metadata=described("登记时间", "received", fixed=True))
    state = Code("complaint_state", load_default="received", metadata=described("办理状态", "state", filtered=True))


COMPLAINTS = Register(
    name="complaints", kind="complaint", zh="投诉举报库", en="complaint", model=Complaint, schema=ComplaintSchema,
    key="number", title="subject", searched=("subject", "respondent", "number"), day="received_at",
)  # fmt: skip
KEEPER = Keeper(COMPLAINTS)
