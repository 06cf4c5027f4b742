"""Drawn tasks and the limits on visits on a real simulated handheld: what it gets, and what it refuses offline."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from device_sim.handheld.client import Handheld
from device_sim.handheld.forbidden import attempts, is_refused, write_anyway
from device_sim.handheld.officer import Shot, Visit, tasks_of
from device_sim.handheld.picture import Picture
from device_sim.handheld.rules import RuleRefused
from device_sim.handheld.visit import VisitPlan
from schemas.visit_rules import visit_caps
from server.directory.models import Checklist, SupervisionItem
from server.entities.models import Entity
from server.inspections.models import Inspection
from server.officers.models import Officer
from server.officers.service import publish_officers
from server.plans import batches, service, visits
from server.plans.models import DrawnVisit
from server.web.principal import Principal
from server.worker import run_once
from tests.conftest import FakeClock
from tests.integration.device_sim.conftest import DEPARTMENT, MakeHandheld, Platform

OPERATOR, APPROVER = (Principal(name, "operator", "42", "") for name in ("operator", "approver"))
EVERYBODY = [{"name": "all", "risks": list("ABCD"), "credits": list("ABCD"), "per_mille": 1000, "minimum": 0}]


def no_camera(_shot: Shot) -> Picture:
    """Nobody takes photos here."""
    raise AssertionError


@pytest.fixture
def device(platform: Platform, handheld: MakeHandheld) -> Handheld:
    """The first officer's handheld, synced; what it is given it learns at its next sync."""
    made = handheld()
    made.sync()
    return made


def draw_one(platform: Platform, clock: FakeClock) -> DrawnVisit:
    """Draw one firm and its two officers, and give the visit out."""
    rt = platform.rt
    with rt.db.write() as session:
        checklist = session.execute(select(Checklist).order_by(Checklist.code).limit(1)).scalar_one()
        item = session.get_one(SupervisionItem, checklist.item)
        item.sector, item.department = "market", DEPARTMENT
        session.get_one(Entity, next(iter(platform.entity_ids.values()))).sector = "market"
        draft = service.PlanDraft("2026-1", "样例计划", 2026, None, "420000", item.code, (), {"strata": EVERYBODY})
        plan = service.create_plan(session, rt, OPERATOR, draft).id
        service.act_on_plan(session, rt, APPROVER, plan, "approve", "")
    today = clock.now().date()
    order = batches.BatchOrder(today, today + timedelta(days=30), clock.now())
    batch = batches.draw_batch(rt, OPERATOR, batches.announce_batch(rt, OPERATOR, plan, order), "")
    with rt.db.write() as session:
        visits.give_out(session, rt, OPERATOR, batch)
        assert visits.dispatch_drawn(session, rt) == 1
        return session.get_one(DrawnVisit, (batch, 0))


def refused(device: Handheld, inspection: str, fields: dict[str, Any]) -> set[str]:
    """The rules that forbid an entry."""
    with pytest.raises(RuleRefused) as caught:
        device.record(device.open("inspection", inspection), fields)
    return {fault.reason for fault in caught.value.faults}


def start(clock: FakeClock, **change: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """What an officer enters on arrival."""
    now = clock.now().isoformat()
    return {"started_at": now, "inspected_at": now, "form": "01", "category": "01", **change}


def test_a_drawn_task_arrives_at_the_next_sync(platform: Platform, handheld: MakeHandheld, clock: FakeClock) -> None:
    """Both drawn officers get it, nobody else; it is carried out, and not handed in without its own result."""
    devices = [handheld(n) for n in range(4)]
    for one in devices:
        one.sync()
    visit = draw_one(platform, clock)
    clock.advance(60)
    for officer, one in zip(platform.officers, devices, strict=True):
        one.sync()
        tasks = [task.id for task in tasks_of(one)]
        assert tasks == ([visit.task] if officer in visit.officers else [])
    leader = devices[platform.officers.index(visit.officers[0])]
    task = tasks_of(leader)[0]
    assert task.origin == "draw"
    mapped = platform.world.choose(1, "1")[0]
    made = Visit(leader, task, mapped, VisitPlan(False, (), 1), no_camera)
    made.sign_for()
    made.arrive()
    assert "double-random-result-missing" in refused(leader, task.inspection, {"status": "submitted"})
    made.conclude()
    made.sign()
    made.submit()
    leader.sync()
    with platform.rt.db.read() as session:
        assert session.get_one(Inspection, task.inspection).status == "submitted"


def test_the_code_at_the_door_is_checked_offline(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """The firm's own code opens the visit; none, a forged one and another firm's do not; a coded reason does."""
    first, second = list(platform.entity_ids.values())[:2]
    codes = {}
    for entity in (first, second):
        reply = platform.client().post(f"/api/v1/entities/{entity}/door-code", headers=platform.operator)
        codes[entity] = reply.json()["text"]
    platform.dispatch(list(platform.world.choose(1, "1")))
    device.sync()  # the last time there is a network
    task = tasks_of(device)[0]
    right = codes.get(task.entity) or platform.client().post(
        f"/api/v1/entities/{task.entity}/door-code", headers=platform.operator
    ).json()["text"]  # fmt: skip
    other = next(code for entity, code in codes.items() if entity != task.entity)
    assert refused(device, task.inspection, start(clock)) == {"door-not-scanned"}
    for wrong in (other, right[:-4] + "AAAA", "FP1.x", right.replace("FP1", "FP2")):
        assert refused(device, task.inspection, start(clock, door_code=wrong)) == {"door-code-wrong"}
    scanned = start(clock, door_code=right, door_scanned_at=clock.now().isoformat())
    assert device.record(device.open("inspection", task.inspection), scanned) is not None


def test_a_visit_that_nobody_filed_does_not_begin(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """Planned on the handheld, it may begin once the server has it; an emergency may at once; past the cap none may."""
    platform.dispatch(list(platform.world.choose(1, "1")))
    device.sync()
    known = tasks_of(device)[0]
    item = device.open("task", known.id).value("item")
    own = {
        "entity": known.entity, "item": item, "checklist": known.checklist, "officers": list(known.officers),
        "scan_exemption": "03",
    }  # fmt: skip
    inspection = platform.rt.new_id()
    assert refused(device, inspection, own | start(clock)) == {"visit-not-filed"}
    window = {"visit_from": clock.now().isoformat(), "visit_until": (clock.now() + timedelta(days=1)).isoformat()}
    device.record(device.open("inspection", inspection), own | window | {"status": "open"})
    assert refused(device, inspection, start(clock)) == {"visit-not-filed"}, "nobody has it yet"
    device.sync()
    clock.advance(60)
    device.record(device.open("inspection", inspection), start(clock))
    for _ in range(visit_caps()["B"] - 1):
        device.record(device.open("inspection", platform.rt.new_id()), own | start(clock, visit_reason="05"))
    more = platform.rt.new_id()
    for _ in range(visit_caps()["B"] - 1):  # by an app without the rules
        device.write(device.open("inspection", platform.rt.new_id()), own | start(clock))
    device.record(device.open("inspection", more), own | window | {"status": "open"})
    device.sync()
    assert refused(device, more, start(clock)) == {"over-frequency-cap"}
    device.record(device.open("inspection", more), start(clock, visit_reason="02"))


def test_what_is_forbidden_is_tried_in_vain(platform: Platform, device: Handheld, clock: FakeClock) -> None:
    """Each rule refuses its own attempt and lets the fair beginning pass; what is written past them does not close."""
    platform.dispatch(list(platform.world.choose(1, "1")))
    clock.advance(60)
    with platform.rt.db.write() as session:
        colleague = session.get_one(Officer, platform.officers[3])
        colleague.certificate_valid_until, colleague.revision = clock.now() - timedelta(days=1), 2
        publish_officers(session, platform.rt, [colleague], author="test")
    device.sync()
    task = tasks_of(device)[0]
    foreign = {"another firm": "FP1.x"}
    tried = dict(attempts(device, task, foreign))
    assert set(tried) == {
        "officers-too-few", "certificate-expired", "not-in-published-list", "visit-not-filed", "door-not-scanned",
        "door-code-wrong",
    }  # fmt: skip
    assert all(is_refused(device, rule, fields) for rule, fields in tried.items())
    fair = tried["officers-too-few"] | {"officers": list(task.officers)}
    device.rules.check(device.open("inspection", task.inspection), fair)  # refuses nothing
    assert is_refused(device, "visit-not-filed", fair), "a task is no plan for a second visit"
    inspection = write_anyway(device, task)
    device.sync()
    run_once(platform.rt)
    with platform.rt.db.read() as session:
        row = session.get_one(Inspection, inspection)
        assert (row.status, row.behavior) == ("submitted", None)
        assert "certificate-expired" in {one["reason"] for one in row.blockers}
