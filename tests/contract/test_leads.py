"""The course of a lead on both databases: from the rule to a behavior, and what officers in the field are told."""

from datetime import datetime

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from server.behaviors.models import Behavior
from server.inspections.lead_notices import SETTLED, WITHDRAWN, tell_officers
from server.leads.course import escalate_overdue
from server.leads.feedback import feed_back_step
from server.leads.models import Lead
from server.runtime import Runtime
from tests.conftest import FakeClock, SignIn
from tests.field_device import World, body, make_world
from tests.integration.leads.lead_play import LeadPlay


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def play(rt: Runtime, world: World, clock: FakeClock) -> LeadPlay:
    """Leads on that platform."""
    return LeadPlay(rt, world, clock)


def step(client: FlaskClient, headers: dict[str, str], lead: str, action: str, **more: str) -> None:
    """Take a step at the desk."""
    reply = client.post(f"/api/v1/leads/{lead}/steps", json={"action": action, **more}, headers=headers)
    assert reply.status_code == 201, reply.text


def tell(rt: Runtime) -> int:
    """Run the worker's step."""
    with rt.db.write() as session:
        return tell_officers(session, rt)


def withdraw(rt: Runtime, lead: str, at: datetime | None) -> None:
    """Withdraw a lead, or let it stand again."""
    with rt.db.write() as session:
        session.get_one(Lead, lead).withdrawn_at = at


def test_a_lead_runs_to_its_end(
    client: FlaskClient, rt: Runtime, play: LeadPlay, clock: FakeClock, sign_in: SignIn
) -> None:
    """Pushed, overdue, verified, disposed of, fed back, closed; its readings sealed, its rule's precision counted."""
    lead = play.open()
    assert play.push() == 1
    clock.advance(24 * 3600 + 1)
    with rt.db.write() as session:
        assert escalate_overdue(session, rt) == 1
    play.visit(client, lead, result="03", lead_outcome="confirmed")
    desk = sign_in(role="operator")
    step(client, desk, lead, "dispose", reason="责令限期改正", disposal="rectification")
    with rt.db.write() as session:
        assert feed_back_step(session, rt) == 1
    step(client, desk, lead, "close")
    names = [action for action, _ in play.steps(lead)]
    assert names == ["open", "push", "escalate", "sign", "verify", "confirm", "dispose", "feed_back", "close"]
    row = play.lead(lead)
    assert (row.status, row.outcome, row.extract_sha256 is not None) == ("closed", "confirmed", True)
    with rt.db.read() as session:
        assert session.scalars(select(Behavior.id).where(Behavior.id == row.behavior_id)).one()
    (counted,) = body(client.get("/api/v1/leads/precision", headers=desk))["rules"]
    assert (counted["leads"], counted["confirmed"], counted["precision"]) == (1, 1, 1.0)


def test_officers_learn_that_a_lead_is_withdrawn(client: FlaskClient, rt: Runtime, play: LeadPlay) -> None:
    """Once, in the task that they have; and that it stands again, in the words it had. They may go on meanwhile."""
    lead = play.open()
    play.push()
    task = str(play.lead(lead).task_id)
    before = play.fields("task", task)
    withdraw(rt, lead, rt.now())
    assert (tell(rt), tell(rt)) == (1, 0)
    told = play.fields("task", task)
    assert told["title"].startswith(WITHDRAWN.mark)
    assert told["explanation"].startswith(WITHDRAWN.words)
    play.write(client, "task", task, {"status": "signed_for"})
    assert play.lead(lead).status == "signed_for"
    withdraw(rt, lead, None)
    assert (tell(rt), tell(rt)) == (1, 0)
    again = play.fields("task", task)
    assert (again["title"], again["explanation"]) == (before["title"], before["explanation"])


def test_the_desks_word_ends_the_task(
    client: FlaskClient, rt: Runtime, play: LeadPlay, sign_in: SignIn
) -> None:  # fmt: skip
    """A lead that the desk settles is no longer the officers' work; one that they visited ends as their visit does."""
    settled, visited = play.open(), play.open("episode-2")
    play.push()
    task, other = (str(play.lead(lead).task_id) for lead in (settled, visited))
    play.write(client, "task", task, {"status": "in_progress"})
    assert tell(rt) == 0
    step(client, sign_in(role="operator"), settled, "refute", reason="电话核实为设备故障")
    play.visit(client, visited, result="01")
    assert (tell(rt), tell(rt)) == (1, 0)
    fields = play.fields("task", task)
    assert fields["status"] == "done"
    assert fields["title"].startswith(SETTLED.mark)
    assert "不实" in fields["explanation"]
    assert play.fields("task", other)["status"] == "in_progress"
