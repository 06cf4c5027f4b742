"""The platform that recorded traffic was recorded against, and is replayed against: always with the same ids."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from werkzeug.security import generate_password_hash

from schemas.identifiers import make_uscc
from server.accounts.models import Account
from server.devices.models import Device
from server.directory.models import Checklist, SupervisionItem
from server.directory.service import EVERYWHERE
from server.entities.models import Entity
from server.entities.service import add_entities
from server.inspections.service import DispatchOrder, dispatch
from server.officers.models import Officer
from server.officers.service import add_officers
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime

START = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
"""When the recordings begin, by the server's clock."""
PASSWORD = "a sample pass phrase"
REGION, DEPARTMENT = "420106", "market"
OFFICERS = ("0198d9c0-4c00-7000-8000-00000000f001", "0198d9c0-4c00-7000-8000-00000000f002")
LOGINS = ("officer-0", "officer-1")
ITEM, CHECKLIST, ENTITY = (f"0198d9c0-4c00-7000-8000-00000000e00{number}" for number in (1, 2, 3))
EPOCH = "0198d9c0-4c00-7000-8000-00000000c001"
TASK, INSPECTION = (f"0198d9c0-4c00-7000-8000-00000000d00{number}" for number in (1, 2))


@dataclass(frozen=True)
class GivenIds(Runtime):
    """A runtime that gives out listed ids before fresh ones."""

    ids: tuple[str, ...] = ()

    def new_id(self) -> str:
        """Return the next listed id, or a fresh one."""
        if not self.ids:
            return super().new_id()
        first, *rest = self.ids
        object.__setattr__(self, "ids", tuple(rest))
        return first


def fill(rt: Runtime) -> None:
    """Enter an entity, a checklist, two officers with accounts, and one task with its inspection."""
    body = make_uscc("91", REGION, "00000001")
    people = [
        Officer(
            id=officer, name=name, certificate_number=f"HB-{index:04}", region=REGION, department=DEPARTMENT,
            certificate_valid_until=START + timedelta(days=365),
        )
        for index, (officer, name) in enumerate(zip(OFFICERS, ("张样例", "李样例"), strict=True))
    ]  # fmt: skip
    item = SupervisionItem(id=ITEM, code="42010000000001", name="食品经营检查", basis="样例", department=DEPARTMENT)
    sub_items = [{"number": str(number), "text": f"样例事项 {number}"} for number in (1, 2)]
    checklist = Checklist(
        id=CHECKLIST, code=f"{body}1001", version=1, name="样例清单", item=ITEM, sub_items=sub_items
    )  # fmt: skip
    entity = Entity(
        id=ENTITY, name="样例食品店", nature="2", uscc=body, registered_address="样例路 1 号",
        operating_address="样例路 1 号", region="420106001", lat=30.55, lon=114.31, datum="WGS-84",
    )  # fmt: skip
    with rt.db.write() as session:
        add_officers(session, rt, people, author="test")
        session.add_all((item, checklist))
        for kind, row, names in (  # published with the fields of the recordings: digests cover no newer ones
            ("item", item, ("code", "name", "basis", "department")),
            ("checklist", checklist, ("code", "version", "name", "item", "sub_items")),
        ):
            fields = {name: getattr(row, name) for name in names}
            office_write_many(session, rt, [OfficeChange(kind, row.id, fields, "test", EVERYWHERE)])
        add_entities(session, rt, [entity], author="test")
        given = GivenIds(rt.settings, rt.db, rt.clock, rt.random_bytes, ids=(TASK, INSPECTION))
        order = DispatchOrder("plan", ENTITY, CHECKLIST, OFFICERS, START + timedelta(days=5), "样例任务", plan="P1")
        assert dispatch(session, given, [order], author="test") == [TASK]
        for login, officer in zip(LOGINS, OFFICERS, strict=True):
            session.add(
                Account(
                    id=officer, login=login, password_hash=generate_password_hash(PASSWORD, "pbkdf2:sha256:1000"),
                    role="officer", name="样例", region=REGION, department=DEPARTMENT, officer=officer, disabled=False,
                    failures=0,
                )
            )  # fmt: skip


def put_device(rt: Runtime, device: str, name: str, public_key: bytes, officer: str) -> None:
    """Enter an approved device as it was enrolled when the traffic was recorded."""
    with rt.db.write() as session:
        session.add(
            Device(
                id=device, name=name, public_key=public_key, officer=officer, region=REGION,
                department=DEPARTMENT, status="active", enrolled_at=START, pending_acts=0,
            )
        )  # fmt: skip
