"""The limits on visits: the yearly cap, the filed plan, the code at the door; marked, blocked, excused; and rated."""

from __future__ import annotations

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from schemas.identifiers import make_uscc
from schemas.visit_rules import door_statement, read_door_code, visit_caps
from server.behaviors.models import Behavior
from server.entities.door_codes import door_verifier, public_door_key
from server.entities.merging import merge_entity
from server.entities.models import Entity
from server.entities.service import add_entities
from server.errors import Problem
from server.inspections.frequency import visits_in_year, year_of
from server.inspections.models import Inspection, VisitFiling
from server.inspections.service import DispatchOrder, dispatch
from server.ratings.models import RatingCount, SpentRatingToken
from server.ratings.service import MIN_SHOWN
from server.ratings.tokens import issue_token
from server.runtime import Runtime
from tests.conftest import FakeClock, SignIn
from tests.field_device import World, body, make_world
from tests.integration.inspections.visits import Crew, crew

CAP = visit_caps()["B"]


@pytest.fixture
def two(client: FlaskClient, rt: Runtime, clock: FakeClock) -> Crew:
    """Two officers of a seeded platform."""
    return crew(client, rt, clock, make_world(rt))


def give(rt: Runtime, world: World, origin: str = "plan", reason: str = "", count: int = 1) -> list[str]:
    """Give out visits to the one firm."""
    order = DispatchOrder(
        origin, world.entity, world.checklist, world.officers, rt.now() + timedelta(days=5), "样例任务",
        visit_reason=reason,
    )  # fmt: skip
    with rt.db.write() as session:
        return dispatch(session, rt, [order] * count, author="test")


def now_visit(two: Crew, **change: Any) -> dict[str, Any]:  # noqa: ANN401 - any field
    """A visit that begins now."""
    now = two.rt.now().isoformat()
    return {"started_at": now, "inspected_at": now, **change}


def marks(two: Crew, inspection: str) -> list[str]:
    """The limits that a visit broke."""
    with two.rt.db.read() as session:
        return [mark["reason"] for mark in session.get_one(Inspection, inspection).marks]


def test_planned_visits_of_a_year_are_capped(rt: Runtime, clock: FakeClock, two: Crew) -> None:
    """Planned visits stop at the cap, in one request or many; coded reasons go on; a new year begins anew."""
    with pytest.raises(Problem) as caught:
        give(rt, two.world, count=CAP)  # one is given out already
    assert (caught.value.code, caught.value.limit, caught.value.extra["reason"]) == (
        "limit-exceeded", CAP, "over-frequency-cap",
    )  # fmt: skip
    give(rt, two.world, count=CAP - 1)
    with pytest.raises(Problem, match="limit-exceeded"):
        give(rt, two.world)
    give(rt, two.world, origin="recheck")
    give(rt, two.world, reason="02", count=2)
    with rt.db.write() as session:
        session.get_one(Entity, two.world.entity).risk = "C"
    give(rt, two.world)
    with rt.db.read() as session:
        assert visits_in_year(session, 2026, [two.world.entity]) == {two.world.entity: CAP + 1}
    with rt.db.write() as session:
        for row in session.query(Inspection):
            row.inspected_at = rt.now()
    clock.advance(300 * 86_400)
    give(rt, two.world, reason="02")
    with pytest.raises(Problem, match="limit-exceeded"):
        give(rt, two.world, count=3)
    clock.advance(5 * 86_400)
    assert year_of(rt.now()) == 2027
    give(rt, two.world, count=3)


def test_visits_to_merged_duplicates_count(rt: Runtime, two: Crew) -> None:
    """A firm that is entered twice gets no second share of visits: those to its duplicate count once it is merged."""
    with rt.db.write() as session:
        kept = session.get_one(Entity, two.world.entity)
        twice = Entity(
            id=rt.new_id(), name="样例重复登记", nature="2", uscc=make_uscc("91", "420106", "00000077"),
            registered_address="样例路", operating_address="样例路", region=kept.region, lat=30.5, lon=114.3,
            datum="WGS-84",
        )  # fmt: skip
        add_entities(session, rt, [twice], author="test")
        duplicate = twice.id
    other = replace(two.world, entity=duplicate)
    give(rt, other, count=CAP - 1)
    with rt.db.write() as session:
        merge_entity(
            session, rt, session.get_one(Entity, duplicate), session.get_one(Entity, two.world.entity),
            author="test", reason="重复登记",
        )  # fmt: skip
    with rt.db.read() as session:
        counted = {two.world.entity: CAP}
        assert visits_in_year(session, 2026) == visits_in_year(session, 2026, [two.world.entity]) == counted
    for world in (two.world, other):
        with pytest.raises(Problem, match="limit-exceeded"):
            give(rt, world)


def test_a_visit_by_the_rules_has_no_marks(two: Crew, sign_in: SignIn) -> None:
    """Filed by its task, begun afterwards, the firm's own code scanned: nothing is marked, and the behavior says so."""
    headers = sign_in()
    code = body(two.client.post(f"/api/v1/entities/{two.world.entity}/door-code", headers=headers))
    two.clock.advance(60)
    scanned = {"door_code": code["text"], "door_scanned_at": two.rt.now().isoformat()}
    assert two.finish(two.world.inspection, **now_visit(two, **scanned)) == 1
    assert marks(two, two.world.inspection) == []
    with two.rt.db.read() as session:
        line = session.query(Behavior).one().line.decode()
        filing = session.get_one(VisitFiling, two.world.inspection)
    assert f'"visit_filed_at":"{filing.filed_at.isoformat()}"' in line
    assert '"door_scanned_at"' in line
    reply = two.client.get("/api/v1/visit-filings", headers=headers)
    assert [one["inspection"] for one in body(reply)["filings"]] == [two.world.inspection]


def test_what_was_not_done_is_marked(two: Crew, sign_in: SignIn) -> None:
    """Begun before it was filed and without a scan: it closes, with its marks, and the desk finds it."""
    assert two.finish(two.world.inspection) == 1  # began the day before the task was made
    assert marks(two, two.world.inspection) == ["visit-filed-late", "door-not-scanned"]
    found = body(two.client.get("/api/v1/inspections?marked=true", headers=sign_in()))["inspections"]
    assert [one["id"] for one in found] == [two.world.inspection]


@pytest.mark.parametrize("wrong", ["other firm", "unsigned", "superseded"])
def test_wrong_codes_are_marked(two: Crew, sign_in: SignIn, wrong: str) -> None:
    """A code of another firm, one the platform did not sign, and one that was replaced before the visit."""
    headers = sign_in()
    path = f"/api/v1/entities/{two.world.entity}/door-code"
    text = body(two.client.post(path, headers=headers))["text"]
    if wrong == "other firm":
        text = text.replace(two.world.entity.replace("-", ""), two.rt.new_id().replace("-", ""))
    elif wrong == "unsigned":
        text = text[:-4] + ("AAAA" if not text.endswith("AAAA") else "BBBB")
    else:
        assert body(two.client.post(path, headers=headers))["serial"] == 2
    two.clock.advance(60)
    two.finish(two.world.inspection, **now_visit(two, door_code=text))
    assert marks(two, two.world.inspection) == ["door-code-superseded" if wrong == "superseded" else "door-code-wrong"]


def test_blocked_until_excused(two: Crew, sign_in: SignIn) -> None:
    """Where limits block, a visit that nobody filed waits for a coded reason of the desk, and closes then."""
    two.rt = replace(two.rt, settings=replace(two.rt.settings, visit_limits="block"))
    headers, inspection = sign_in(), two.world.inspection
    with two.rt.db.write() as session:
        session.delete(session.get_one(VisitFiling, inspection))
    assert two.finish(inspection, scan_exemption="01") == 0
    assert [one["reason"] for one in two.blockers(inspection)] == ["visit-not-filed"]
    path = f"/api/v1/inspections/{inspection}/excuse"
    for code, reason in (("01", "计划内"), ("77", "无此码"), ("05", " ")):
        assert two.client.post(path, json={"code": code, "reason": reason}, headers=headers).status_code == 422
    excused = two.client.post(path, json={"code": "05", "reason": "燃气泄漏应急"}, headers=headers)
    assert body(excused)["excuse"]["code"] == "05"
    assert two.close() == 1
    assert marks(two, inspection) == ["visit-not-filed"], "it stays visible"


def test_an_emergency_needs_no_filing(two: Crew) -> None:
    """Said by its code in the field, it is not marked for the missing plan."""
    with two.rt.db.write() as session:
        session.delete(session.get_one(VisitFiling, two.world.inspection))
    two.finish(two.world.inspection, visit_reason="05", scan_exemption="01")
    assert marks(two, two.world.inspection) == []


def test_an_officer_files_a_visit_from_the_field(two: Crew) -> None:
    """Filed when the platform has it; a later change of the window does not make it earlier."""
    inspection, until = two.rt.new_id(), two.rt.now() + timedelta(days=2)
    fields = {
        "entity": two.world.entity, "checklist": two.world.checklist, "officers": list(two.world.officers),
        "visit_from": two.rt.now().isoformat(), "visit_until": until.isoformat(), "status": "open",
        "scan_exemption": "03",
    }  # fmt: skip
    assert two.write("inspection", inspection, fields) == "applied"
    filed_at = two.rt.now()
    two.clock.advance(60)
    two.write("inspection", inspection, {"visit_until": (until + timedelta(days=1)).isoformat()})
    with two.rt.db.read() as session:
        filing = session.get_one(VisitFiling, inspection)
        assert (filing.task, filing.filed_at, filing.reason) == ("", filed_at, "01")
    two.finish(inspection, **now_visit(two))
    assert marks(two, inspection) == []


def test_too_many_visits_from_offline_are_marked(two: Crew) -> None:
    """What handhelds began past the cap is kept and marked; a visit of the next year is not."""
    give(two.rt, two.world, count=CAP - 1)
    opened = {
        "entity": two.world.entity, "checklist": two.world.checklist, "officers": list(two.world.officers),
        "status": "open", "scan_exemption": "04",
    }  # fmt: skip
    extra = two.rt.new_id()
    assert two.write("inspection", extra, opened) == "applied"
    two.clock.advance(60)
    two.finish(extra, **now_visit(two))
    assert marks(two, extra) == ["visit-not-filed", "over-frequency-cap"]


def test_codes_are_shown_and_drawn(two: Crew, sign_in: SignIn) -> None:
    """The text verifies by the public key alone; the picture is an SVG; another region's firm does not exist here."""
    headers = sign_in()
    path = f"/api/v1/entities/{two.world.entity}/door-code"
    assert two.client.get(path, headers=headers).status_code == 404, "none was issued"
    text = body(two.client.post(path, headers=headers))["text"]
    code = read_door_code(text, door_verifier(two.rt))
    assert code is not None
    assert (code.entity, code.text) == (two.world.entity, text)
    assert not door_verifier(two.rt)(door_statement(two.world.entity, 2), code.signature)
    assert body(two.client.get(path, headers=headers))["text"] == text
    picture = two.client.get(f"{path}.svg", headers=headers)
    assert (picture.mimetype, picture.data[:5]) == ("image/svg+xml", b"<?xml")
    assert two.client.get(path, headers=sign_in(region="4205")).status_code == 404
    device = two.devices[0]
    assert public_door_key(two.rt) == _signed_in(two, device.id)["door_key"]
    with two.rt.db.write() as session:
        session.get_one(Entity, two.world.entity).status = "closed"
    assert two.client.post(path, headers=headers).status_code == 409


def _signed_in(two: Crew, device: str) -> dict[str, Any]:
    at_ms, nonce = two.rt.now_ms(), "a sample nonce of some length"
    statement = f"fieldproof-sign-in-v1\n{device}\n{at_ms}\n{nonce}".encode()
    signature = two.devices[0].key.sign(statement)
    sent = {"device": device, "at_ms": at_ms, "nonce": nonce, "signature": _text(signature)}
    reply: dict[str, Any] = body(two.client.post("/api/v1/sign-in/device", json=sent))
    return reply


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _rate(client: FlaskClient, token: str, stars: int, *issues: str) -> TestResponse:
    return client.post("/api/v1/public/ratings", json={"token": token, "stars": stars, "issues": list(issues)})


def test_a_firm_rates_a_visit_once_and_nobody_knows_who(two: Crew, sign_in: SignIn) -> None:
    """The notice is printed once, its token counts once; what is kept are counts, shown when there are enough."""
    headers, path = sign_in(), f"/api/v1/inspections/{two.world.inspection}/notice"
    assert two.client.post(path, headers=headers).status_code == 409, "the visit is not made yet"
    two.finish(two.world.inspection)
    notice = body(two.client.post(path, headers=headers))
    assert notice["url"] in notice["text"]
    assert "张样例" in notice["text"]
    assert two.client.post(path, headers=headers).status_code == 409
    assert _rate(two.client, notice["token"], 6).status_code == 422
    assert _rate(two.client, notice["token"] + "x", 2).status_code == 422
    assert _rate(two.client, notice["token"], 2, "04", "04", "03").status_code == 204
    assert body(_rate(two.client, notice["token"], 5))["code"] == "conflict"
    assert body(two.client.get("/api/v1/public/ratings"))["departments"] == [], "one alone could be told"
    with two.rt.db.read() as session:
        kept = {(row.measure, row.value): row.count for row in session.query(RatingCount)}
        assert kept == {("stars", "2"): 1, ("issue", "04"): 1, ("issue", "03"): 1}
        assert SpentRatingToken.__table__.columns.keys() == ["digest"], "nothing beside it says when, or where"
    for stars in range(1, MIN_SHOWN):
        two.clock.advance(30)
        assert _rate(two.client, issue_token(two.rt, "market", two.rt.now().date()), stars).status_code == 204
    shown = body(two.client.get("/api/v1/public/ratings"))["departments"]
    assert shown == [{"department": "market", "ratings": 5, "mean": 2.4, "issues": {"03": 1, "04": 1}}]
    late = issue_token(two.rt, "market", (two.rt.now() - timedelta(days=150)).date())
    assert "已过期" in body(_rate(two.client, late, 5))["detail"]


def test_strangers_cannot_try_tokens_at_will(two: Crew) -> None:
    """One address may try a few, then waits."""
    codes = [_rate(two.client, "x.y", 3).status_code for _ in range(30)]
    assert (codes[0], codes[-1]) == (422, 429)
