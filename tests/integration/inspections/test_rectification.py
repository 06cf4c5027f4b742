"""The rectification loop: order, report, re-check on the handhelds, closed or passed on for a penalty; and overdue."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from server.audit.models import AuditEvent
from server.behaviors.models import Proceeding
from server.inspections.models import Rectification, Task
from server.inspections.rechecking import dispatch_rechecks, settle_rechecks
from server.inspections.rectifying import surface_overdue_orders
from server.officers.models import Officer
from server.records.service import assignees_of, get_view
from server.runtime import Runtime
from tests.conftest import FakeClock, SignIn
from tests.field_device import DEPARTMENT, REGION, make_world
from tests.integration.inspections.visits import Crew, crew

URL = "/api/v1/rectifications"
DAY_S = 86_400


@pytest.fixture
def team(client: FlaskClient, rt: Runtime, clock: FakeClock) -> Crew:
    """Two officers on a seeded platform."""
    return crew(client, rt, clock, make_world(rt))


def order(team: Crew, days: float = 15, **more: Any) -> str:  # noqa: ANN401 - any field
    """An order given in the field, and its inspection closed; returns its id."""
    rectification, answer = team.rt.new_id(), team.rt.new_id()
    team.write("answer", answer, {"inspection": team.world.inspection, "number": "1", "outcome": "fail"})
    deadline = team.rt.now() + timedelta(days=days)
    fields = {
        "inspection": team.world.inspection, "entity": team.world.entity, "answer": answer,
        "requirement": "限期改正：样例", "deadline": deadline.isoformat(), "status": "ordered", **more,
    }  # fmt: skip
    assert team.write("rectification", rectification, fields) == "applied"
    assert team.finish(team.world.inspection) == 1
    return rectification


def row_of(rt: Runtime, rectification: str) -> dict[str, Any]:
    """The order as the office knows it."""
    with rt.db.read() as session:
        row = session.get_one(Rectification, rectification)
        return {
            name: getattr(row, name) for name in ("state", "task", "recheck", "proceeding", "overdue_at", "outcome")
        }


def step(rt: Runtime, work: Any) -> int:  # noqa: ANN401 - a step of the worker
    """Run one step of the worker."""
    with rt.db.write() as session:
        done: int = work(session, rt)
        return done


def recheck(team: Crew, rectification: str, outcome: str, *, photo: bool = True) -> None:
    """Carry out the re-check that was given out."""
    recheck_id = row_of(team.rt, rectification)["recheck"]
    found: dict[str, Any] = {"status": "rechecked", "outcome": outcome, "recheck": recheck_id, "report": "已复查"}
    if photo:
        found["evidence"] = {"add": [team.photograph(recheck_id)]}
    assert team.write("rectification", rectification, found) in ("applied", "merged")
    assert team.finish(recheck_id, category="06", result="01", conclusion="复查") == 1


def test_an_order_that_is_met_is_closed(team: Crew) -> None:
    """Near its deadline it becomes a task on both handhelds; put right, with evidence, it closes."""
    rt, clock = team.rt, team.clock
    rectification = order(team)
    assert step(rt, dispatch_rechecks) == 0, "the deadline is far"
    clock.advance(12 * DAY_S)
    assert (step(rt, dispatch_rechecks), step(rt, dispatch_rechecks)) == (1, 0)
    known = row_of(rt, rectification)
    with rt.db.read() as session:
        task = get_view(session, "task", known["task"])
        opened = get_view(session, "inspection", known["recheck"])
        assert task is not None
        assert opened is not None
        assert (task["origin"], task["recheck_of"], task["inspection"]) == (
            "recheck", team.world.inspection, known["recheck"],
        )  # fmt: skip
        assert opened["recheck_of"] == team.world.inspection
        assert set(assignees_of(session, "task", known["task"])) == set(team.world.officers)
    recheck(team, rectification, "corrected")
    assert (step(rt, settle_rechecks), step(rt, settle_rechecks)) == (1, 0)
    assert row_of(rt, rectification)["state"] == "closed"
    with rt.db.read() as session:
        record = get_view(session, "rectification", rectification)
        assert record is not None
        assert (record["status"], record["disposal"]) == ("closed", "corrected")
        audited = select(AuditEvent.action).where(AuditEvent.subject_id == rectification).order_by(AuditEvent.id)
        assert session.execute(audited).scalars().all() == ["rectification.give-out", "rectification.close"]


def test_an_order_that_is_not_met_becomes_a_penalty(team: Crew) -> None:
    """Not put right: the draft of a penalty that follows the inspection, with its facts; once."""
    rt = team.rt
    rectification = order(team, days=1)
    assert step(rt, dispatch_rechecks) == 1
    recheck(team, rectification, "not_corrected")
    assert (step(rt, settle_rechecks), step(rt, settle_rechecks)) == (1, 0)
    known = row_of(rt, rectification)
    assert known["state"] == "penalty"
    with rt.db.read() as session:
        draft = session.get_one(Proceeding, known["proceeding"])
        assert (draft.kind, draft.state, draft.inspection) == ("penalty", "draft", team.world.inspection)
        assert draft.rectification == rectification
        assert "限期改正：样例" in draft.content["facts"]
        record = get_view(session, "rectification", rectification)
        assert record is not None
        assert (record["status"], record["disposal"]) == ("closed", "penalty")


def test_what_the_record_leaves_open_waits_for_a_person(team: Crew, sign_in: SignIn) -> None:
    """Put right, they say, and nothing shows it: a person closes it with a reason, or passes it on."""
    rt = team.rt
    rectification = order(team, days=1)
    step(rt, dispatch_rechecks)
    recheck(team, rectification, "corrected", photo=False)
    assert step(rt, settle_rechecks) == 0
    headers = sign_in("operator")
    shown = team.client.get(f"{URL}/{rectification}", headers=headers).get_json()
    assert (shown["state"], shown["legal"]) == ("rechecked", ["close", "penalize"])
    url = f"{URL}/{rectification}/settle"
    assert team.client.post(url, json={"action": "close"}, headers=headers).status_code == 422
    body = {"action": "close", "reason": "样例：书面材料"}
    assert team.client.post(url, json=body, headers=headers).get_json()["state"] == "closed"
    again = team.client.post(url, json=body, headers=headers)
    assert (again.status_code, again.get_json()["legal"]) == (409, [])


def test_disagreeing_officers_wait_for_a_decision(team: Crew) -> None:
    """What was found is legal content: two outcomes settle nothing."""
    rt = team.rt
    rectification = order(team, days=1)
    step(rt, dispatch_rechecks)
    known = row_of(rt, rectification)
    for device, outcome in enumerate(("corrected", "not_corrected")):
        one = team.devices[device]
        one.write(
            "rectification", rectification, {"status": "rechecked", "outcome": outcome, "recheck": known["recheck"]}
        )
        one.verdicts(team.client, one.segment(len(one.acts)))
    assert team.finish(known["recheck"], category="06") == 1
    assert step(rt, settle_rechecks) == 0
    assert (row_of(rt, rectification)["state"], row_of(rt, rectification)["outcome"]) == ("rechecked", None)


def test_a_report_brings_the_recheck_forward(team: Crew, sign_in: SignIn) -> None:
    """The office takes a firm's report in; it reaches the handhelds, and the re-check is given out at once."""
    rt = team.rt
    rectification = order(team, days=60)
    headers = sign_in("operator")
    body = {"text": "已整改完毕", "reported_by": "样例食品店"}
    told = team.client.post(f"{URL}/{rectification}/report", json=body, headers=headers).get_json()
    assert (told["state"], told["legal"]) == ("reported", ["recheck"])
    assert team.client.post(f"{URL}/{rectification}/report", json=body, headers=headers).status_code == 409
    with rt.db.read() as session:
        record = get_view(session, "rectification", rectification)
        assert record is not None
        assert record["report"] == ["样例食品店：已整改完毕"]
    assert step(rt, dispatch_rechecks) == 1


def test_overdue_orders_surface(team: Crew, sign_in: SignIn) -> None:
    """Past its deadline without a report it is marked once and found; a later deadline takes the mark away."""
    rt = team.rt
    rectification = order(team, days=1)
    headers = sign_in("operator")
    assert step(rt, surface_overdue_orders) == 0
    team.clock.advance(2 * DAY_S)
    headers = sign_in("operator")
    assert (step(rt, surface_overdue_orders), step(rt, surface_overdue_orders)) == (1, 0)

    def listed(query: str) -> list[str]:
        answer = team.client.get(f"{URL}?{query}", headers=headers).get_json()
        return [row["id"] for row in answer["rectifications"]]

    assert listed("overdue=true") == [rectification]
    assert listed("overdue=false") == []
    assert listed(f"state=ordered&entity={team.world.entity}&inspection={team.world.inspection}") == [rectification]
    url = f"{URL}/{rectification}/extend"
    early = {"deadline": (rt.now() - timedelta(days=1)).isoformat(), "reason": "样例"}
    assert team.client.post(url, json=early, headers=headers).get_json()["field"] == "deadline"
    later = {"deadline": (rt.now() + timedelta(days=30)).isoformat(), "reason": "样例：设备到货"}
    assert team.client.post(url, json=later, headers=headers).get_json()["overdue_at"] is None
    assert listed("overdue=true") == []
    with rt.db.read() as session:
        count = select(func.count()).where(AuditEvent.action == "rectification.extend")
        assert session.execute(count).scalar_one() == 1


def test_others_take_over_when_an_officer_may_not_go(team: Crew) -> None:
    """A certificate that has run out since: two others re-check, and the order reaches their handhelds."""
    rt = team.rt
    rectification = order(team, days=1)
    others = [rt.new_id(), rt.new_id()]
    with rt.db.write() as session:
        session.get_one(Officer, team.world.officers[0]).certificate_valid_until = rt.now() - timedelta(days=1)
        for number, one in enumerate(others):
            session.add(
                Officer(
                    id=one, name="王样例", certificate_number=f"HB-1{number}", region=REGION, department=DEPARTMENT,
                    certificate_valid_until=rt.now() + timedelta(days=365),
                )
            )  # fmt: skip
    assert step(rt, dispatch_rechecks) == 1
    known = row_of(rt, rectification)
    with rt.db.read() as session:
        team_now = set(assignees_of(session, "task", known["task"]))
        assert team.world.officers[0] not in team_now
        assert len(team_now) == 2
        assert team_now <= set(assignees_of(session, "rectification", rectification))


def test_by_hand_only(team: Crew, sign_in: SignIn) -> None:
    """Where re-checks are given out by hand, the worker gives none; a person names the officers."""
    rt = team.rt
    rectification = order(team, days=1)
    object.__setattr__(rt.settings, "recheck_ahead_days", None)
    assert step(rt, dispatch_rechecks) == 0
    headers = sign_in("operator")
    url = f"{URL}/{rectification}/recheck"
    assert team.client.post(url, json={"officers": [team.world.officers[0]]}, headers=headers).status_code == 422
    told = team.client.post(url, json={}, headers=headers)
    assert told.status_code == 200, told.text
    assert told.get_json()["task"]
    again = team.client.post(url, json={}, headers=headers)
    assert (again.status_code, again.get_json()["legal"]) == (409, ["extend", "report"])
    with rt.db.read() as session:
        assert session.execute(select(func.count()).where(Task.origin == "recheck")).scalar_one() == 1


def test_the_office_alone_closes_an_order(team: Crew) -> None:
    """A handheld that says closed is not believed: its act is kept with the reason."""
    rectification = order(team)
    assert team.write("rectification", rectification, {"status": "closed"}) == "quarantined"


def test_orders_keep_to_the_scope(team: Crew, sign_in: SignIn) -> None:
    """Another region's or department's order is not there."""
    rectification = order(team)
    for headers in (sign_in("operator", region="4206"), sign_in("operator", department="other")):
        assert team.client.get(f"{URL}/{rectification}", headers=headers).status_code == 404
        assert team.client.get(URL, headers=headers).get_json() == {"rectifications": []}
        body = {"text": "x", "reported_by": "x"}
        assert team.client.post(f"{URL}/{rectification}/report", json=body, headers=headers).status_code == 404
    auditor = sign_in("auditor")
    assert team.client.get(f"{URL}/{rectification}", headers=auditor).status_code == 200
    assert team.client.post(f"{URL}/{rectification}/recheck", json={}, headers=auditor).status_code == 403
    assert json.loads(team.client.get(f"{URL}?state=x", headers=auditor).text)["field"] == "state"
