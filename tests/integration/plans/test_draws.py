"""A plan from its proposal to its published results: announced before the seed, drawn, carried out on handhelds."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.audit.models import AuditEvent
from server.behaviors.models import Behavior
from server.entities.models import Entity
from server.inspections import draw_verifier
from server.inspections.draw_file import commitment
from server.inspections.models import Inspection
from server.officers.models import Officer
from server.officers.service import add_avoidance
from server.plans.models import DrawBatch, DrawnVisit
from server.plans.visits import dispatch_drawn, settle_drawn, watch_results
from server.prooflog.models import PendingLeaf
from server.runtime import Runtime
from tests.conftest import FakeClock, SignIn
from tests.field_device import DEPARTMENT, FieldDevice, body
from tests.integration.inspections.visits import Crew
from tests.integration.plans.office import BATCH, FIRMS, PLAN, Office


@pytest.fixture
def office(client: FlaskClient, rt: Runtime, clock: FakeClock, sign_in: SignIn) -> Office:
    """The office."""
    return Office(client, rt, clock, sign_in)


def test_announced_before_the_seed(office: Office, tmp_path: Path) -> None:
    """Anybody sees rules, roster hashes and commitment; nobody sees the secret; drawing early is refused."""
    batch = office.announce(office.plan())
    shown = office.get(f"/public/draws/{batch}", anonymous=True)
    assert (shown["state"], shown["secret"], shown["file_open"]) == ("announced", "", False)
    assert shown["announcement"]["entities"]["count"] == FIRMS
    assert shown["announcement"]["plan"]["joint"] == ["卫生健康"]
    with office.rt.db.read() as session:
        row = session.get_one(DrawBatch, batch)
        assert row.announcement["commitment"] == commitment(row.secret)
        assert row.secret not in json.dumps([shown, office.get(f"/draw-batches/{batch}")])
        leaf = session.query(PendingLeaf).filter(PendingLeaf.kind == "draw").one()
        assert json.loads(leaf.data) == {"announcement": shown["announcement_sha256"], "draw": batch}
    early = office.act(batch, "draw")
    assert (early.status_code, body(early)["field"]) == (409, "draw_not_before")
    announced = office.save(batch, tmp_path / "announced").read_bytes()
    office.clock.advance(1_860)
    assert office.act(batch, "draw", beacon_value="1f").status_code == 422, "no beacon was announced"
    drawn = office.act(batch, "draw")
    assert drawn.status_code == 200, drawn.text
    again = office.act(batch, "draw")
    assert (again.status_code, body(again)["legal"]) == (409, ["dispatch"])
    whole = office.save(batch, tmp_path / "whole")
    assert whole.read_bytes().startswith(announced)
    report = draw_verifier.verify(whole)
    assert report["announcement"] == shown["announcement_sha256"]
    assert (report["entities"], report["drawn"], report["assigned"]) == (FIRMS, 2, 2)
    assert office.client.get(f"/api/v1/public/draws/{batch}/file").status_code == 409, "it would warn the drawn firms"


def test_a_beacon_enters_the_seed(office: Office, tmp_path: Path) -> None:
    """With a named round the value is needed, and stands in the file."""
    plan = office.plan()
    batch = office.announce(plan, beacon={"source": "样例信标", "round": "4711"})
    office.clock.advance(1_860)
    assert office.act(batch, "draw").status_code == 422
    assert office.act(batch, "draw", beacon_value="c0ffee").status_code == 200
    assert draw_verifier.verify(office.save(batch, tmp_path / "file"))["drawn"] == 2


def test_everybody_is_explained(office: Office) -> None:
    """Drawn, passed over, closed, over the cap: each in words; and why each officer goes or does not."""
    closed, often = office.firms[0], office.firms[1]
    with office.rt.db.write() as session:
        session.get_one(Entity, closed).status = "closed"
        session.add(
            Inspection(
                id=office.rt.new_id(), entity=often, region="420106001", department=DEPARTMENT, status="closed",
                inspected_at=office.rt.now(), check_after=office.rt.now(), blockers=[],
            )
        )  # fmt: skip
        kin = office.staff[0]
        for firm in office.firms:
            add_avoidance(session, office.rt, kin, firm, author="op", reason="亲属")
    batch = office.drawn()
    visits = office.visits(batch)
    drawn = {visit["entity"] for visit in visits}
    passed = next(firm for firm in office.firms[2:] if firm not in drawn)
    words = {one: office.get(f"/draw-batches/{batch}/entities/{one}") for one in (closed, often, passed, *drawn)}
    assert words[closed]["why"] == "排除：该对象已停业 / Left out: it is closed"
    assert words[often]["why"].startswith("排除：本年检查次数已达频次上限（1/1）")
    assert words[passed]["why"].startswith("未抽中：分层“all”")
    for one in drawn:
        assert words[one]["why"].startswith("抽中：")
        officers = {officer["officer"]: officer for officer in words[one]["officers"]}
        assert not officers[kin]["goes"]
        assert officers[kin]["why"] == "与对象存在回避关系 / must keep away from the entity"
        assert sum(officer["goes"] for officer in officers.values()) == 2
    unknown = office.client.get(f"/api/v1/draw-batches/{batch}/entities/{batch}", headers=office.headers)
    assert unknown.status_code == 404


def test_a_drawn_visit_to_its_published_result(office: Office, tmp_path: Path) -> None:
    """Given out, pulled by both officers, closed only with a double-random result, settled, published, all anew."""
    batch = office.drawn()
    assert office.act(batch, "publish").status_code == 409
    assert body(office.act(batch, "dispatch"))["state"] == "dispatched"
    assert office.step(dispatch_drawn) == 2
    assert office.step(dispatch_drawn) == 0
    visits = office.visits(batch)
    assert {visit["state"] for visit in visits} == {"given"}
    crews = [_crew(office, visit) for visit in visits]
    for crew, visit in zip(crews, visits, strict=True):
        pulled = {line["id"]: line for line in crew.devices[1].pull(office.client) if line["kind"] == "task"}
        assert pulled[visit["task"]]["fields"]["origin"][0]["value"] == "draw"
        assert pulled[visit["task"]]["fields"]["plan"][0]["value"] == "鄂市监抽〔2026〕1号-1"
        lacking = crew.finish(visit["inspection"], category="01", result="03")
        assert (lacking, crew.blockers(visit["inspection"])) == (
            0, [{"reason": "missing", "field": "double_random_result"}],
        )  # fmt: skip
        crew.write("inspection", visit["inspection"], {"double_random_result": "05"})
        for device in (0, 1):
            crew.sign(visit["inspection"], device)
        assert crew.close() == 1
    assert office.step(settle_drawn) == 2
    settled = office.visits(batch)
    assert [(visit["result"], visit["due_on"]) for visit in settled] == [("05", "2026-03-30")] * 2
    assert office.get(f"/public/draws/{batch}/results", anonymous=True)["results"] == []
    assert body(office.act(batch, "publish"))["state"] == "published"
    results = office.get(f"/public/draws/{batch}/results", anonymous=True)["results"]
    assert [(one["entity"], one["result"]) for one in results] == [(visit["entity"], "05") for visit in settled]
    path = tmp_path / "public"
    path.write_bytes(office.client.get(f"/api/v1/public/draws/{batch}/file").data)
    assert draw_verifier.verify(path)["drawn"] == 2
    with office.rt.db.read() as session:
        behavior = session.query(Behavior).filter(Behavior.inspection == settled[0]["inspection"]).one()
        national = json.loads(behavior.line)
    assert (national["double_random_result"], national["plan_id"]) == ("05", "鄂市监抽〔2026〕1号-1")
    plan = office.get("/draw-plans")["plans"][0]["id"]
    assert body(office.post(f"/draw-plans/{plan}/actions", {"action": "close"}))["state"] == "closed"


def _crew(office: Office, visit: dict[str, Any]) -> Crew:
    devices = [FieldDevice(office.rt, officer, 10 * visit["place"] + n) for n, officer in enumerate(visit["officers"])]
    return Crew(office.client, office.rt, office.clock, office.world, (devices[0], devices[1]))


def test_unable_officers_are_drawn_again(office: Office, tmp_path: Path) -> None:
    """With a reason, by the draw's own tickets; who may not go is passed over; the task moves; all verified."""
    batch = office.drawn()
    path = f"/draw-batches/{batch}/visits/0/substitute"
    first = office.visits(batch)[0]
    left, stays = first["officers"]
    assert office.post(path, {"officer": left, "reason": " "}).status_code == 422
    stranger = next(one for one in office.staff if one not in first["officers"])
    assert office.post(path, {"officer": stranger, "reason": "病假"}).status_code == 422
    office.act(batch, "dispatch")
    office.step(dispatch_drawn)
    others = [one for one in office.staff if one not in first["officers"]]
    with office.rt.db.write() as session:  # one of the two who are left lost the certificate since the draw
        session.get_one(Officer, others[0]).certificate_valid_until = office.rt.now() - timedelta(days=1)
    changed = office.post(path, {"officer": left, "reason": "病假"})
    assert changed.status_code == 200, changed.text
    assert body(changed)["officers"] == [stays, others[1]]
    new = FieldDevice(office.rt, others[1], 77)
    assert body(changed)["task"] in {line["id"] for line in new.pull(office.client)}
    report = draw_verifier.verify(office.save(batch, tmp_path / "file"))
    assert report["substitutions"] == 1
    nobody = office.post(path, {"officer": stays, "reason": "出差"})
    assert (nobody.status_code, body(nobody)["field"]) == (409, "officer")
    spoiled = (tmp_path / "file").read_bytes().replace(others[1].encode() + b'"]', left.encode() + b'"]')
    (tmp_path / "spoiled").write_bytes(spoiled)
    with pytest.raises(draw_verifier.DrawError):
        draw_verifier.verify(tmp_path / "spoiled")


def test_what_cannot_be_given_out(office: Office) -> None:
    """A firm that closed since says so; the desk gives it a result; the rest goes on; late ones surface."""
    batch = office.drawn()
    first, second = office.visits(batch)
    with office.rt.db.write() as session:
        session.get_one(Entity, first["entity"]).status = "closed"
    office.act(batch, "dispatch")
    office.step(dispatch_drawn)
    told = office.visits(batch)
    assert [visit["state"] for visit in told] == ["waiting", "given"]
    assert "closed" in told[0]["fault"]
    path = f"/draw-batches/{batch}/visits/0/result"
    assert office.post(path, {"result": "77", "reason": "注销"}).status_code == 422
    assert office.post(path, {"result": "09", "reason": ""}).status_code == 422
    assert body(office.post(path, {"result": "09", "reason": "已注销"}))["state"] == "settled"
    assert office.post(path, {"result": "09", "reason": "已注销"}).status_code == 409
    assert body(office.act(batch, "publish"))["state"] == "dispatched", "one visit is still to be made"
    assert office.get(f"/public/draws/{batch}/results", anonymous=True)["results"][0]["result"] == "09"
    with office.rt.db.write() as session:
        row = session.get_one(DrawnVisit, (batch, 1))
        row.state, row.result, row.settled_at = "settled", "01", office.rt.now()
        row.due_on = (office.rt.now() - timedelta(days=3)).date()
    assert office.step(watch_results) == 1
    assert second["overdue_at"] is None
    assert office.visits(batch)[1]["overdue_at"] is not None


def test_a_withdrawn_batch_shows_its_secret(office: Office) -> None:
    """Whoever announces and withdraws until the lots fall well is seen: the secret and the rosters become public."""
    batch = office.announce(office.plan())
    assert office.act(batch, "withdraw", reason="").status_code == 422
    assert body(office.act(batch, "withdraw", reason="计划调整"))["state"] == "withdrawn"
    shown = office.get(f"/public/draws/{batch}", anonymous=True)
    assert commitment(shown["secret"]) == shown["announcement"]["commitment"]
    assert office.client.get(f"/api/v1/public/draws/{batch}/file").status_code == 200
    with office.rt.db.read() as session:
        actions = [event.action for event in session.query(AuditEvent).filter(AuditEvent.subject_id == batch)]
    assert actions == ["draw-batch.announce", "draw-batch.withdraw"]


def test_plans_that_cannot_be(office: Office, sign_in: SignIn) -> None:
    """An item outside the list, rules that contradict themselves, another's department, days outside the period."""
    assert body(office.post("/draw-plans", PLAN | {"item_code": "42010000009999"}))["field"] == "item_code"
    twice = [PLAN["rules"]["strata"][0]] * 2
    assert body(office.post("/draw-plans", PLAN | {"rules": {"strata": twice}}))["field"] == "rules"
    foreign = sign_in(department="应急管理")
    assert office.client.post("/api/v1/draw-plans", json=PLAN, headers=foreign).status_code == 404
    plan = office.plan()
    assert office.post("/draw-plans", PLAN).status_code == 409, "the number is taken"
    outside = BATCH | {"visits_until": "2027-01-31"}
    assert body(office.post(f"/draw-plans/{plan}/batches", outside))["field"] == "visits_from"
    assert office.client.get(f"/api/v1/draw-plans/{plan}", headers=foreign).status_code == 404
    batch = office.announce(plan)
    assert office.client.get(f"/api/v1/draw-batches/{batch}", headers=foreign).status_code == 404
    closing = office.post(f"/draw-plans/{plan}/actions", {"action": "close"})
    assert (closing.status_code, body(closing)["code"]) == (409, "conflict")
    draft = body(office.post("/draw-plans", PLAN | {"number": "2", "quarter": 2}))["id"]
    assert office.post(f"/draw-plans/{draft}/batches", BATCH).status_code == 409, "not approved"
    assert office.post(f"/draw-plans/{draft}/actions", {"action": "withdraw"}).status_code == 422
    assert office.post(f"/draw-plans/{draft}/actions", {"action": "withdraw", "reason": "重复"}).status_code == 200
