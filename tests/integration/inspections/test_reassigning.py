"""Giving a task to other officers: who sees it then, and what becomes of what the former ones wrote."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from server.audit.models import AuditEvent
from server.inspections.models import Task
from server.officers.models import Officer
from server.officers.service import add_officers
from server.records.models import Act, RecordAssignee
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import DEPARTMENT, REGION, FieldDevice, World, body, lines, make_world

RESULT = {"result": "01"}


@pytest.fixture
def world(rt: Runtime) -> World:
    """A dispatched task."""
    return make_world(rt)


@pytest.fixture
def newcomers(rt: Runtime) -> tuple[str, str]:
    """Two more officers of the department."""
    return add_people(rt, DEPARTMENT)


def add_people(rt: Runtime, department: str) -> tuple[str, str]:
    """Enter two officers."""
    ids = (rt.new_id(), rt.new_id())
    valid = rt.now() + timedelta(days=365)
    people = [
        Officer(
            id=one, name="王样例", certificate_number=one[-8:], certificate_valid_until=valid, region=REGION,
            department=department,
        )
        for one in ids
    ]  # fmt: skip
    with rt.db.write() as session:
        add_officers(session, rt, people, author="test")
    return ids


def reassign(client: FlaskClient, headers: dict[str, str], task: str, *officers: str, status: int = 200) -> str:
    """Ask for it; returns the problem's code, or ""."""
    answer = client.post(
        f"/api/v1/tasks/{task}/reassign", json={"officers": list(officers), "reason": "轮岗"}, headers=headers
    )
    assert answer.status_code == status, answer.text
    return str(body(answer).get("code", ""))


def page(client: FlaskClient, device: FieldDevice, cursor: str = "") -> tuple[set[str], set[str], str]:
    """Pull one page; returns ids that came, ids that left, and the cursor."""
    reply = client.get("/api/v1/sync/pull", query_string={"cursor": cursor, "limit": 500}, headers=device.headers)
    head, *rest = lines(reply)
    came = {one["id"] for one in rest if "left" not in one and one["kind"] not in ("entity", "item", "officer")}
    return came, {one["id"] for one in rest if "left" in one}, head["cursor"]


def test_a_reassigned_task_changes_handhelds(
    client: FlaskClient, rt: Runtime, world: World, newcomers: tuple[str, str], sign_in: SignIn
) -> None:
    """Task, inspection and its parts leave one officer and enter another; who stays keeps them; it is audited."""
    leaving, staying, entering = (
        FieldDevice(rt, officer, seed) for seed, officer in enumerate((*world.officers, newcomers[0]), start=1)
    )
    answer = rt.new_id()
    leaving.write("answer", answer, {"inspection": world.inspection, "number": "1", "outcome": "pass"})
    assert leaving.verdicts(client) == ["applied"]
    cursors = {device.id: page(client, device)[2] for device in (leaving, staying, entering)}
    reassign(client, sign_in("operator", "420106", DEPARTMENT), world.task, world.officers[1], newcomers[0])
    theirs = {world.task, world.inspection, answer}
    assert page(client, leaving, cursors[leaving.id])[:2] == (set(), theirs)
    assert page(client, staying, cursors[staying.id])[:2] == (theirs, set())
    assert page(client, entering, cursors[entering.id])[:2] == (theirs, set())
    with rt.db.read() as session:
        (event,) = session.query(AuditEvent).filter(AuditEvent.action == "task.reassign")
        assert (event.subject_id, event.detail["reason"], event.detail["records"]) == (world.task, "轮岗", 3)
        assert sorted(event.detail["from"]) == sorted(world.officers)


def test_unsynced_work_of_the_former_officer_lands_in_their_name(
    client: FlaskClient, rt: Runtime, world: World, newcomers: tuple[str, str], sign_in: SignIn
) -> None:
    """Edits and new findings written before the reassignment was heard of are merged; their maker keeps none of it."""
    former = FieldDevice(rt, world.officers[0], 1)
    _, _, cursor = page(client, former)
    finding = rt.new_id()
    former.write("inspection", world.inspection, RESULT)
    former.write("answer", finding, {"inspection": world.inspection, "number": "2", "outcome": "fail"})
    former.write("answer", finding, {"finding": "样例"}, seen=(f"{former.journal}:2",))
    reassign(client, sign_in("operator"), world.task, *newcomers)
    assert set(former.verdicts(client)) <= {"applied", "merged"}
    assert page(client, former, cursor)[:2] == (set(), {world.task, world.inspection, finding})
    with rt.db.read() as session:
        acts = session.query(Act).filter(Act.journal == former.journal).all()
        assert {(act.author, act.status in ("applied", "merged")) for act in acts} == {(world.officers[0], True)}
        people = session.query(RecordAssignee).filter(RecordAssignee.id == finding)
        assert {(one.officer, one.active) for one in people} == {
            (newcomers[0], True), (newcomers[1], True), (world.officers[0], False),
        }  # fmt: skip
    entering = FieldDevice(rt, newcomers[1], 4)
    assert {world.task, world.inspection, finding} <= page(client, entering)[0]


def test_a_stranger_still_cannot_write(
    client: FlaskClient, rt: Runtime, world: World, newcomers: tuple[str, str], sign_in: SignIn
) -> None:
    """Having been assigned once is what counts: who never was is refused, also for new parts of the inspection."""
    stranger = FieldDevice(rt, newcomers[0], 5)
    stranger.write("inspection", world.inspection, RESULT)
    stranger.write("answer", rt.new_id(), {"inspection": world.inspection, "number": "1", "outcome": "pass"})
    reassign(client, sign_in("operator"), world.task, *reversed(world.officers))
    assert stranger.verdicts(client) == ["quarantined", "quarantined"]


def test_reassigning_is_checked(
    client: FlaskClient, rt: Runtime, world: World, newcomers: tuple[str, str], sign_in: SignIn
) -> None:
    """Scope, officers and state decide whether it may be done."""
    operator = sign_in("operator")
    assert reassign(client, sign_in("operator", "4202"), world.task, *newcomers, status=404) == "not-found"
    assert reassign(client, sign_in("auditor"), world.task, *newcomers, status=403) == "forbidden"
    assert reassign(client, operator, rt.new_id(), *newcomers, status=404) == "not-found"
    assert reassign(client, operator, world.task, newcomers[0], newcomers[0], status=422) == "invalid-field"
    elsewhere = add_people(rt, "another")
    assert reassign(client, operator, world.task, *elsewhere, status=422) == "invalid-field"
    with rt.db.write() as session:
        session.get_one(Task, world.task).status = "done"
    assert reassign(client, operator, world.task, *newcomers, status=409) == "illegal-transition"
