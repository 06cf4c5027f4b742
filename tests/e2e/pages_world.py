"""A small, plainly fictitious province for the tests of the pages: one of everything that a page can show."""

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session
from werkzeug.security import generate_password_hash

from schemas.identifiers import make_uscc
from server.accounts.models import Account
from server.behaviors.service import BehaviorDraft, create_behavior
from server.clock import to_ms
from server.devices.models import Device
from server.directory.models import Checklist, SupervisionItem
from server.directory.service import add_checklist, add_item
from server.entities.models import Entity
from server.entities.service import add_entities
from server.evidence.models import DECLARED, REJECTED, VERIFIED, Evidence
from server.fieldsync.projections import project
from server.inspections.models import Inspection
from server.inspections.service import DispatchOrder, dispatch
from server.leads.service import LeadDraft, open_lead
from server.officers.models import Officer
from server.officers.service import add_officers
from server.prooflog.service import sequence_step
from server.records.batch import Incoming, RecordBatch
from server.records.models import Conflict
from server.runtime import Runtime
from server.telemetry.counting import raise_counters
from sync.acts import DELETE, PUT, Header, encode_act, encode_fields
from sync.dots import Dot
from sync.registers import Change

PASSWORD = "not-a-real-password"
QUICK_HASH = generate_password_hash(PASSWORD, method="pbkdf2:sha256:1")
"""One round only: the tests sign in often."""
ITEM_CODE = "01314200000001"
DEPARTMENT = "market"
WUHAN, XIANGYANG = "420106", "420602"
READINGS = {"valid": 1000, "invalid": 32, "dead_lettered": 4}


@dataclass(frozen=True)
class World:
    """Ids of what was made."""

    operator: str
    auditor: str
    city_operator: str
    """An operator of Wuhan only."""
    entities: tuple[str, ...]
    officers: tuple[str, str]
    devices: tuple[str, str]
    inspections: tuple[str, ...]
    conflict: str
    behavior: str
    """The one that is in the proof log already; another waits."""
    journals: tuple[str, str]


def uscc_code(number: int) -> str:
    """A valid unified social credit code."""
    return make_uscc("91", "420100", f"MA4K{number:04d}")


def make_entity(rt: Runtime, number: int, region: str, lat: float, lon: float) -> Entity:
    """A fictitious food business."""
    address = f"示例路 {number} 号"
    return Entity(
        id=rt.new_id(),
        name=f"示例食品厂{number}",
        nature="2",
        uscc=uscc_code(number),
        registered_address=address,
        operating_address=address,
        region=region,
        lat=lat,
        lon=lon,
        datum="WGS-84",
    )


def make_officer(rt: Runtime, number: int, name: str) -> Officer:
    """A fictitious certified officer."""
    until = rt.now() + timedelta(days=400)
    return Officer(
        id=rt.new_id(),
        name=name,
        certificate_number=f"鄂-样例-{number}",
        certificate_valid_until=until,
        region="420000",
        department=DEPARTMENT,
    )


def make_device(rt: Runtime, number: int, officer: str, status: str = "active") -> Device:
    """A handheld that synced `number` minutes ago."""
    return Device(
        id=rt.new_id(),
        name=f"手持终端-{number:02d}",
        public_key=bytes([number]) * 32,
        officer=officer,
        region="420100",
        department=DEPARTMENT,
        status=status,
        enrolled_at=rt.now() - timedelta(days=30),
        last_sync_at=rt.now() - timedelta(minutes=number) if status == "active" else None,
        pending_acts=number if status == "active" else 0,
    )


def device_act(
    session: Session,
    rt: Runtime,
    inspection: str,
    fields: dict[str, object],
    *,
    dot: Dot,
    officer: str,
    device: str,
    seen: frozenset[Dot] = frozenset(),
    delete: bool = False,
) -> None:
    """Merge an act on an inspection as if a device had pushed it; by default it had seen nothing yet."""
    now_ms = to_ms(rt.now())
    header = Header(
        journal=dot.journal, seq=dot.seq, prev="", kind="inspection", record=inspection,
        op=DELETE if delete else PUT, seen=seen,
        schema=1, wall_ms=now_ms, mono_ms=0, boot=dot.journal, officer=officer, body="", personal=None,
    )  # fmt: skip
    parts = encode_act(header, encode_fields("A" * 22, fields))
    batch = RecordBatch(session, rt)
    batch.load([("inspection", inspection)])
    change = Change(dot, seen, now_ms, fields, delete)
    batch.apply(Incoming("inspection", inspection, change, officer, device, parts))
    session.flush()
    batch.take_positions()
    project(session, rt, batch.flush(), batch)


def add_lead(session: Session, rt: Runtime, entity: Entity, number: int) -> str | None:
    """Open a lead on an entity."""
    draft = LeadDraft(
        episode_key=f"episode-{number}",
        sensor_id=f"sensor-{number}",
        entity_id=entity.id,
        region=entity.region,
        department=DEPARTMENT,
        rule_code="air-so2-hourly",
        rule_version=1,
        factor="SO2",
        unit="ug/m3",
        threshold=500.0,
        title_zh=f"二氧化硫持续超过小时限值：传感器{number}",
        title_en=f"SO2 above its hourly limit: sensor {number}",
        explanation_zh="连续三小时超过限值",
        explanation_en="three hours in a row above the limit",
        extract=[],
        started_at=rt.now(),
        confirmed_at=rt.now(),
        last_at=rt.now(),
        ended_at=None,
        peak=700.0,
    )
    return open_lead(session, rt, draft)


def add_evidence(session: Session, rt: Runtime, inspection: str, device: str, status: str, *, flagged: bool) -> None:
    """Enter an evidence row as the evidence domain would leave it."""
    session.add(
        Evidence(
            id=rt.new_id(),
            inspection=inspection,
            region=WUHAN,
            department=DEPARTMENT,
            device=device,
            act_hash="0" * 64,
            status=status,
            declared_at=rt.now(),
            flags=[{"code": "sample"}] if flagged else [],
        )
    )


def make_account(session: Session, rt: Runtime, login: str, role: str, region: str) -> str:
    """An account whose password is :data:`PASSWORD`."""
    account = Account(
        id=rt.new_id(),
        login=login,
        password_hash=QUICK_HASH,
        role=role,
        name=f"样例{login}",
        region=region,
        department="",
        disabled=False,
        failures=0,
    )
    session.add(account)
    session.flush()
    return account.id


def add_behavior(session: Session, rt: Runtime, entity: Entity, officers: list[Officer]) -> str:
    """Write the behavior of a closed inspection of an entity."""
    content = {
        "item_code": ITEM_CODE,
        "checklist_code": f"{uscc_code(0)}1001",
        "name": "示例事项",
        "implementing_body": "示例部门",
        "implementing_body_code": uscc_code(0),
        "object": entity.name,
        "counterpart_name": entity.name,
        "counterpart_nature": "2",
        "certificate_type": "001",
        "certificate_number": entity.uscc,
        "registered_address": entity.registered_address,
        "operating_address": entity.operating_address,
        "region": entity.region,
        "form": "01",
        "category": "03",
        "result": "01",
        "inspected_at": rt.now().isoformat(),
        "officers": [{"name": o.name, "certificate_number": o.certificate_number} for o in officers],
        "reported_at": rt.now().isoformat(),
        "reported_by": officers[0].name,
    }
    return create_behavior(session, rt, BehaviorDraft("inspection", entity.region, DEPARTMENT, content, entity.id))


def build_world(rt: Runtime) -> World:
    """Fill an empty database and return what a test needs to know of it."""
    with rt.db.write() as session:
        operator = make_account(session, rt, "operator", "operator", "42")
        auditor = make_account(session, rt, "auditor", "auditor", "42")
        city_operator = make_account(session, rt, "city", "operator", "4201")
        officers = [make_officer(rt, 1, "张样例"), make_officer(rt, 2, "李样例")]
        add_officers(session, rt, officers, author=operator)
        places = [(WUHAN, 30.55, 114.3), (WUHAN, 30.55, 114.3), (XIANGYANG, 32.04, 112.14)]
        entities = [make_entity(rt, n, *place) for n, place in enumerate(places)]
        add_entities(session, rt, entities, author=operator)
        devices = [make_device(rt, 1, officers[0].id), make_device(rt, 9, officers[1].id)]
        session.add_all(
            [*devices, make_device(rt, 3, officers[0].id, "pending"), make_device(rt, 4, officers[1].id, "revoked")]
        )
        inspections = dispatch_sample(session, rt, entities, officers, operator)
        journals = (rt.new_id(), rt.new_id())
        for n, result in enumerate(("01", "03")):
            fields: dict[str, object] = {"result": result, "scene": f"现场情况{n}"}
            dot = Dot(journals[n], 1)
            device_act(session, rt, inspections[0], fields, dot=dot, officer=officers[n].id, device=devices[n].id)
        conflict = session.query(Conflict).one().id
        for number in (1, 2):
            add_lead(session, rt, entities[number], number)
        for status, flagged in ((VERIFIED, False), (VERIFIED, True), (DECLARED, False), (REJECTED, False)):
            add_evidence(session, rt, inspections[0], devices[0].id, status, flagged=flagged)
        raise_counters(session, READINGS)
        behavior = add_behavior(session, rt, entities[1], officers)
        sequence_step(session, rt)
        add_behavior(session, rt, entities[2], officers)
    return World(
        operator=operator,
        auditor=auditor,
        city_operator=city_operator,
        entities=tuple(entity.id for entity in entities),
        officers=(officers[0].id, officers[1].id),
        devices=(devices[0].id, devices[1].id),
        inspections=tuple(inspections),
        conflict=conflict,
        behavior=behavior,
        journals=journals,
    )


def dispatch_sample(
    session: Session, rt: Runtime, entities: list[Entity], officers: list[Officer], author: str
) -> list[str]:
    """Dispatch a task for each entity and return the inspections opened for them."""
    item = SupervisionItem(id=rt.new_id(), code=ITEM_CODE, name="示例事项", basis="示例依据", department=DEPARTMENT)
    add_item(session, rt, item, author=author)
    checklist = Checklist(
        id=rt.new_id(),
        code=f"{uscc_code(0)}1001",
        version=1,
        name="示例清单",
        item=item.id,
        sub_items=[{"number": "1", "text": "示例检查项"}],
    )
    add_checklist(session, rt, checklist, author=author)
    orders = [
        DispatchOrder(
            origin="plan",
            entity=entity.id,
            checklist=checklist.id,
            officers=tuple(officer.id for officer in officers),
            due_at=rt.now() + timedelta(days=5),
            title="示例任务",
        )
        for entity in entities
    ]
    tasks = dispatch(session, rt, orders, author=author)
    session.flush()
    by_task = {row.task: row.id for row in session.query(Inspection)}
    return [by_task[task] for task in tasks]
