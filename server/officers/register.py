"""The register of officers: their certificates with validity and scope, their department and region."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from schemas.codes import Code
from schemas.kinds.base import Text
from server.officers.models import LONG_AGO, Officer
from server.officers.service import publish_officers
from server.registers.definition import Moment, Names, PlacedSchema, Register, described, label
from server.registers.service import Keeper
from server.runtime import Runtime

MAX_NAME_CHARS = 64


class OfficerSchema(PlacedSchema):
    """An officer; an empty scope covers all sectors of the department."""

    name = Text(required=True, validate=label(MAX_NAME_CHARS), metadata=described("姓名", "name"))
    certificate_number = Text(
        required=True, validate=label(64), metadata=described("执法证号", "certificate number", fixed=True)
    )
    certificate_valid_from = Moment(load_default=LONG_AGO, metadata=described("证件有效期起", "valid from"))
    certificate_valid_until = Moment(required=True, last=True, metadata=described("证件有效期止", "valid until"))
    scope = Names(Code("sector"), load_default=list, metadata=described("执法领域", "scope"))
    department = Text(required=True, validate=label(32), metadata=described("部门", "department", filtered=True))

    def fault(self, values: Mapping[str, Any]) -> tuple[str, str] | None:
        """A certificate ends after it begins."""
        begins, ends = values.get("certificate_valid_from"), values.get("certificate_valid_until")
        if begins is not None and ends is not None and ends <= begins:
            return "certificate_valid_until", "须晚于起始时间 / must lie after the beginning"
        return None


OFFICERS = Register(
    name="officers", kind="officer", zh="执法人员库", en="officer", model=Officer, schema=OfficerSchema,
    key="certificate_number", title="name", searched=("name", "certificate_number"),
)  # fmt: skip


def _publish(session: Session, rt: Runtime, officers: Sequence[Officer], author: str) -> None:
    publish_officers(session, rt, officers, author=author)


KEEPER = Keeper(OFFICERS, published=_publish)
