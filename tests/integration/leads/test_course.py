"""The course of a lead: every step by its own person, in time or escalated, to a behavior and a rule's precision."""

import json
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from server.audit.models import AuditEvent
from server.behaviors.models import Behavior
from server.leads.course import escalate_overdue
from server.leads.feedback import feed_back_step
from server.leads.lifecycle import DEADLINE_HOURS, LEAD
from server.leads.models import Lead, LeadStep
from server.officers.models import Officer
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


def _desk(
    client: FlaskClient, headers: dict[str, str], lead: str, action: str, status: int = 201, **more: str
) -> dict[str, object]:
    reply = client.post(f"/api/v1/leads/{lead}/steps", json={"action": action, **more}, headers=headers)
    assert reply.status_code == status, reply.text
    return body(reply)


def _feed_back(rt: Runtime) -> int:
    with rt.db.write() as session:
        return feed_back_step(session, rt)


def test_a_confirmed_lead_runs_to_its_end(
    client: FlaskClient, rt: Runtime, world: World, play: LeadPlay, sign_in: SignIn
) -> None:
    """From the rule over the handheld to a behavior: each step is noted with who and when, and with its deadline."""
    lead = play.open()
    assert play.push() == 1
    inspection = play.visit(client, lead, result="03", lead_outcome="confirmed")
    assert play.lead(lead).status == "confirmed"
    desk = sign_in(role="operator")
    _desk(client, desk, lead, "dispose", reason="责令限期改正", disposal="rectification")
    assert (_feed_back(rt), _feed_back(rt)) == (1, 0)
    shown = _desk(client, desk, lead, "close")
    actions = [step["action"] for step in shown["steps"]]  # type: ignore[attr-defined]
    assert actions == ["open", "push", "sign", "verify", "confirm", "dispose", "feed_back", "close"]
    assert (shown["status"], shown["outcome"], shown["due_at"], shown["legal"]) == ("closed", "confirmed", None, [])
    with rt.db.read() as session:
        steps = session.scalars(select(LeadStep).where(LeadStep.lead_id == lead).order_by(LeadStep.number)).all()
        assert [step.actor for step in steps[2:5]] == [world.officers[0]] * 3
        assert steps[5].actor not in ("system", *world.officers)
        assert (steps[3].at - steps[2].at, steps[3].due_at) == (
            timedelta(minutes=10),
            steps[2].at + timedelta(hours=DEADLINE_HOURS["signed_for"]),
        )
        events = set(session.scalars(select(AuditEvent.action).where(AuditEvent.subject_id == lead)))
        assert {f"lead.{action}" for action in actions} <= events
        offsite = session.get_one(Behavior, (shown["behavior"], 1))
        content = json.loads(offsite.line)
        visit = session.execute(select(Behavior).where(Behavior.inspection == inspection)).scalar_one()
    assert (content["method"], content["category"], content["result"]) == ("02", "05", "03")
    assert content["number"] == f"420106-FXC-{lead}"
    assert visit.id != offsite.id


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ({"result": "03", "lead_outcome": "refuted"}, "refuted"),
        ({"result": "01", "lead_outcome": "partly"}, "partly"),
        ({"result": "01"}, "refuted"),
        ({"result": "03"}, "confirmed"),
    ],
)
def test_the_officers_word_on_the_lead_counts(
    client: FlaskClient, play: LeadPlay, found: dict[str, str], outcome: str
) -> None:
    """A visit may find other faults and refute the lead; without a word on the lead the result stands for it."""
    lead = play.open()
    play.push()
    play.visit(client, lead, **found)
    assert play.lead(lead).outcome == outcome


def test_illegal_steps_name_the_legal_ones(client: FlaskClient, play: LeadPlay, sign_in: SignIn) -> None:
    """409 for a step that the state does not allow or that is not the desk's, 422 for what a step lacks."""
    lead, desk = play.open(), sign_in(role="operator")
    for action in ("close", "push", "sign", "nonsense"):
        refused = _desk(client, desk, lead, action, 409)
        assert (refused["code"], refused["legal"]) == ("illegal-transition", ["dismiss"])
    assert _desk(client, desk, lead, "dismiss", 422)["field"] == "reason"
    assert play.lead(lead).status == "generated"
    assert _desk(client, desk, lead, "dismiss", reason="设备联调测试")["status"] == "closed"


def test_disposal_goes_with_the_outcome(client: FlaskClient, play: LeadPlay, sign_in: SignIn) -> None:
    """Nobody is penalised after a refuted lead; returned, a lead is verified again and another outcome stands."""
    lead, desk = play.open(), sign_in(role="operator")
    play.push()
    play.visit(client, lead, result="01", lead_outcome="refuted")
    refused = _desk(client, desk, lead, "dispose", 422, reason="立案", disposal="penalty")
    assert refused["field"] == "disposal"
    assert _desk(client, desk, lead, "return", reason="现场照片不清")["outcome"] is None
    assert _desk(client, desk, lead, "partly_confirm", reason="电话与视频核实")["outcome"] == "partly"
    _desk(client, desk, lead, "dispose", reason="检修", disposal="sensor-repair")
    assert play.lead(lead).disposal == "sensor-repair"


def test_a_withdrawn_lead_accuses_nobody(
    client: FlaskClient, rt: Runtime, play: LeadPlay, sign_in: SignIn
) -> None:  # fmt: skip
    """What the data do not support is not confirmed at the desk, becomes no behavior, and counts for no precision."""
    lead, desk = play.open(), sign_in(role="operator")
    play.push()
    task = str(play.lead(lead).task_id)
    play.write(client, "task", task, {"status": "in_progress"})
    with rt.db.write() as session:
        session.get_one(Lead, lead).withdrawn_at = rt.now()
    assert _desk(client, desk, lead, "confirm", 409, reason="属实")["code"] == "conflict"
    _desk(client, desk, lead, "refute", reason="数据已判无效")
    _desk(client, desk, lead, "dispose", reason="无需处置", disposal="none")
    assert _feed_back(rt) == 1
    assert play.lead(lead).behavior_id is None
    (counted,) = body(client.get("/api/v1/leads/precision", headers=desk))["rules"]
    assert (counted["leads"], counted["withdrawn"], counted["verified"], counted["precision"]) == (1, 1, 0, None)


def test_one_push_of_several_steps_notes_them_all(client: FlaskClient, play: LeadPlay, world: World) -> None:
    """Signed for and begun offline, pushed together or only the last of them: the lead has passed every state."""
    first, second = play.open(), play.open("episode-2")
    play.push()
    device = play.device()
    task = str(play.lead(first).task_id)
    device.write("task", task, {"status": "signed_for"})
    device.write("task", task, {"status": "in_progress"})
    device.verdicts(client)
    assert play.steps(first)[2:] == [("sign", world.officers[0]), ("verify", world.officers[0])]
    play.write(client, "task", str(play.lead(second).task_id), {"status": "in_progress"}, officer=1)
    assert play.steps(second)[2:] == [("sign", world.officers[1]), ("verify", world.officers[1])]


def test_overdue_leads_rise_level_by_level(
    client: FlaskClient, rt: Runtime, clock: FakeClock, play: LeadPlay, sign_in: SignIn
) -> None:
    """Each level once, a day apart, up to the province; a step in time ends it; all of it is in the history."""
    lead = play.open()
    play.push()

    def escalate() -> int:
        with rt.db.write() as session:
            return escalate_overdue(session, rt)

    assert escalate() == 0
    clock.advance(24 * 3600 + 1)
    assert (escalate(), escalate()) == (1, 0)
    listed = body(client.get("/api/v1/leads?overdue=true", headers=sign_in(role="operator")))["leads"]
    assert [(one["lead"], one["escalation"], one["overdue"]) for one in listed] == [(lead, 1, True)]
    clock.advance(24 * 3600)
    assert escalate() == 1
    clock.advance(24 * 3600)
    assert escalate() == 1
    clock.advance(10 * 24 * 3600)
    assert escalate() == 0
    with rt.db.read() as session:
        risen = session.scalars(select(LeadStep).where(LeadStep.lead_id == lead, LeadStep.action == "escalate"))
        assert [step.detail["to"] for step in risen] == ["420106", "420100", "420000"]
    play.write(client, "task", str(play.lead(lead).task_id), {"status": "signed_for"})
    row = play.lead(lead)
    assert (row.escalation, row.due_at) == (0, rt.now() + timedelta(hours=DEADLINE_HOURS["signed_for"]))
    assert body(client.get("/api/v1/leads?overdue=true", headers=sign_in(role="operator")))["leads"] == []


def test_a_lead_that_nobody_can_take_is_escalated_with_the_reason(
    rt: Runtime, clock: FakeClock, play: LeadPlay, world: World
) -> None:
    """No two officers with valid certificates: it waits, says so, and rises; a withdrawn one is nobody's delay."""
    lead, withdrawn = play.open(), play.open("episode-2")
    with rt.db.write() as session:
        session.get_one(Officer, world.officers[0]).certificate_valid_until = rt.now() - timedelta(days=1)
        session.get_one(Lead, withdrawn).withdrawn_at = rt.now()
    assert play.push() == 0
    clock.advance(5 * 3600)
    with rt.db.write() as session:
        assert escalate_overdue(session, rt) == 1
    assert "officers" in play.lead(lead).held_up
    assert play.lead(withdrawn).escalation == 0


def test_what_stops_a_behavior_is_said(client: FlaskClient, rt: Runtime, play: LeadPlay, sign_in: SignIn) -> None:
    """A lead whose officers may not act is not fed back but says why; once mended it goes on by itself."""
    lead, desk = play.open(), sign_in(role="operator")
    play.push()
    play.visit(client, lead, result="03", lead_outcome="confirmed")
    _desk(client, desk, lead, "dispose", reason="责令整改", disposal="rectification")
    with rt.db.write() as session:
        officer = session.get_one(Officer, play.world.officers[0])
        officer.certificate_valid_until, kept = rt.now() - timedelta(days=9), officer.certificate_valid_until
    assert _feed_back(rt) == 0
    assert play.lead(lead).held_up.startswith("officers: ")
    with rt.db.write() as session:
        session.get_one(Officer, play.world.officers[0]).certificate_valid_until = kept
    assert _feed_back(rt) == 1
    assert play.lead(lead).held_up == ""


def test_precision_of_rules(client: FlaskClient, play: LeadPlay, sign_in: SignIn) -> None:
    """Counted by version of rule, within the caller's scope."""
    desk = sign_in(role="operator")
    for number, (version, outcome) in enumerate([(1, "confirmed"), (1, "refuted"), (1, "partly"), (2, "refuted")]):
        lead = play.open(f"episode-{number}", rule_version=version)
        play.push()
        play.write(client, "task", str(play.lead(lead).task_id), {"status": "in_progress"})
        action = {"confirmed": "confirm", "refuted": "refute", "partly": "partly_confirm"}[outcome]
        _desk(client, desk, lead, action, reason="核实")
    play.open("episode-open")
    rules = body(client.get("/api/v1/leads/precision", headers=desk))["rules"]
    counts = [(one["version"], one["leads"], one["confirmed"], one["partly"], one["refuted"]) for one in rules]
    assert counts == [(1, 4, 1, 1, 1), (2, 1, 0, 0, 1)]
    assert [round(one["precision"], 2) for one in rules] == [0.67, 0.0]
    assert body(client.get("/api/v1/leads/precision?rule=other", headers=desk))["rules"] == []
    elsewhere = sign_in(role="operator", region="4201", department="env")
    assert body(client.get("/api/v1/leads/precision", headers=elsewhere))["rules"] == []


def test_leads_of_others_cannot_be_touched(client: FlaskClient, play: LeadPlay, sign_in: SignIn) -> None:
    """Outside one's region or department a lead does not exist; officers and auditors take no steps at the desk."""
    lead = play.open()
    for scope in ({"region": "4203"}, {"department": "env"}):
        _desk(client, sign_in(role="operator", **scope), lead, "dismiss", 404, reason="越权")
    _desk(client, sign_in(role="auditor"), lead, "dismiss", 403, reason="越权")


def test_every_waiting_state_has_a_deadline() -> None:
    """All but the last."""
    assert set(DEADLINE_HOURS) == {state for state in LEAD.states if LEAD.legal(state)}
