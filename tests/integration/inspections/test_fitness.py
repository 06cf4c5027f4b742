"""Officers who may not act: they are given no task, are passed over for leads, and their visits do not close."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.models import AuditEvent
from server.directory.models import Checklist, SupervisionItem
from server.errors import Problem
from server.inspections.closing import blockers
from server.inspections.service import DispatchOrder, dispatch
from server.officers.fitness import avoided, certificate_fault
from server.officers.models import Officer
from server.officers.register import KEEPER
from server.officers.service import add_avoidance, avoidances_of, officers_for
from server.records.lines import decode_state
from server.records.models import SyncedRecord
from server.registers.service import change
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.field_device import World, make_world
from tests.integration.inspections.visits import COMPLETE, crew


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


def order(session: Session, rt: Runtime, world: World) -> list[str]:
    """Dispatch one more visit."""
    due = rt.now() + timedelta(days=5)
    wanted = DispatchOrder("plan", world.entity, world.checklist, world.officers, due, "样例任务", plan="P2")
    return dispatch(session, rt, [wanted], author="test")


def refusal(session: Session, rt: Runtime, world: World) -> Any:  # noqa: ANN401 - the problem's own member
    """Why a dispatch is refused."""
    with pytest.raises(Problem) as caught:
        order(session, rt, world)
    assert (caught.value.code, caught.value.field) == ("invalid-field", "officers")
    return caught.value.extra["reason"]


def test_certificates_are_looked_at_before_a_dispatch(rt: Runtime, world: World) -> None:
    """Not yet valid, expired, of another sector: each is refused by its reason; then again allowed."""
    with rt.db.write() as session:
        officer = session.get_one(Officer, world.officers[1])
        item = session.get_one(Checklist, world.checklist).item
        session.get_one(SupervisionItem, item).sector = "market"
        good = officer.certificate_valid_until
        officer.certificate_valid_from = rt.now() + timedelta(days=1)
        assert refusal(session, rt, world) == "certificate-not-yet-valid"
        session.flush()
        assert [one.id for one in officers_for(session, "420106", "market", rt.now())] == [world.officers[0]]
        officer.certificate_valid_from = rt.now() - timedelta(days=1)
        officer.certificate_valid_until = rt.now() - timedelta(hours=1)
        assert refusal(session, rt, world) == "certificate-expired"
        officer.certificate_valid_until = good
        officer.scope = ["ecology"]
        assert refusal(session, rt, world) == "certificate-out-of-scope"
        officer.scope = ["ecology", "market"]
        assert order(session, rt, world)


@pytest.mark.parametrize("other", ["entity", "officer"])
def test_avoidance_is_honoured(rt: Runtime, world: World, other: str) -> None:
    """Kin of the firm, or of each other, do not go; the relation is audited, once, and never with oneself."""
    whom = world.entity if other == "entity" else world.officers[0]
    with rt.db.write() as session:
        for _ in range(2):
            add_avoidance(session, rt, world.officers[1], whom, author="op", reason="亲属")
        assert refusal(session, rt, world) == "avoidance"
        assert avoidances_of(session, world.officers) == {world.officers[1]: frozenset({whom})}
        events = session.execute(select(AuditEvent).where(AuditEvent.action == "officer.avoid")).scalars().all()
        assert [event.detail for event in events] == [
            {"other": whom, "reason": "亲属", "fields": {"avoidance": [None, whom]}}
        ]
        with pytest.raises(Problem, match="themself"):
            add_avoidance(session, rt, world.officers[1], world.officers[1], author="op", reason="x")


def test_a_visit_with_an_expired_certificate_does_not_close(rt: Runtime, world: World) -> None:
    """What a handheld should have refused, the server does: the officer and the reason stand among the blockers."""
    with rt.db.write() as session:
        session.get_one(Officer, world.officers[1]).certificate_valid_until = rt.now() - timedelta(days=30)
    with rt.db.read() as session:
        record = session.get_one(SyncedRecord, ("inspection", world.inspection))
        fields = {
            "officers": list(world.officers), "checklist": world.checklist,
            "inspected_at": (rt.now() - timedelta(days=1)).isoformat(),
        }  # fmt: skip
        found = blockers(session, rt.now(), record, decode_state(record.line), fields)
        assert {"reason": "certificate-expired", "officer": world.officers[1]} in found
        outside = blockers(session, rt.now(), record, decode_state(record.line), fields | {"checklist": rt.new_id()})
        assert {"reason": "unknown-checklist", "field": "checklist"} in outside


def test_rules_by_themselves(rt: Runtime) -> None:
    """The edges of validity count as valid; an empty scope covers all; avoidance works in both directions."""
    now = rt.now()
    officer = Officer(certificate_valid_from=now, certificate_valid_until=now, scope=[])
    assert certificate_fault(officer, now, "market") is None
    assert certificate_fault(officer, now - timedelta(seconds=1), "") == "certificate-not-yet-valid"
    assert certificate_fault(officer, now + timedelta(seconds=1), "") == "certificate-expired"
    relations = {"a": frozenset({"b"})}
    assert avoided(["b", "a"], "firm", relations) == ("b", "a")
    assert avoided(["b", "c"], "firm", relations) is None


@pytest.mark.parametrize("then", ["valid", "expired"])
def test_the_certificate_of_the_visit_counts(
    client: FlaskClient, rt: Runtime, clock: FakeClock, world: World, then: str
) -> None:
    """One that was good then and is renewed for later closes; one that had expired is not mended by a renewal."""
    two = crew(client, rt, clock, world)
    visited = rt.now()
    ends = visited + timedelta(hours=1 if then == "valid" else -1)
    clock.advance(-86_400)
    renew(rt, world.officers[0], visited - timedelta(days=365), ends)
    clock.advance(86_400)
    moment = visited.isoformat()
    two.write("inspection", world.inspection, COMPLETE | {"started_at": moment, "inspected_at": moment})
    for device in (0, 1):
        two.sign(world.inspection, device)
    clock.advance(86_400)
    renew(rt, world.officers[0], rt.now() - timedelta(days=30 if then == "expired" else 0), rt.now() + timedelta(365))
    two.write("inspection", world.inspection, {"status": "submitted"})
    closed = two.close()
    reasons = [one["reason"] for one in two.blockers(world.inspection)]
    assert (closed, reasons) == ((1, []) if then == "valid" else (0, ["certificate-expired"]))


def renew(rt: Runtime, officer: str, begins: datetime, ends: datetime) -> None:
    """Change an officer's certificate as the desk does."""
    values = {"certificate_valid_from": begins, "certificate_valid_until": ends}
    with rt.db.write() as session:
        assert change(session, rt, KEEPER, session.get_one(Officer, officer), values, author="op", reason="换证")
