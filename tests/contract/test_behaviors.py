"""Behaviors and the rectification loop, alike on both databases."""

from datetime import timedelta

from flask.testing import FlaskClient
from sqlalchemy import select

from server.behaviors.models import Behavior, Proceeding, Publication
from server.behaviors.proceedings import Step, take_step
from server.behaviors.publication import act_on_publication, list_published, watch_deadlines
from server.exchange.verify import verify_behaviors
from server.inspections.rechecking import dispatch_rechecks, settle_rechecks
from server.inspections.rectifying import surface_overdue_orders
from server.prooflog.service import sequence_step
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.field_device import make_world
from tests.integration.behaviors.cases import DECISION, PENALTY, person
from tests.integration.inspections.test_rectification import order, recheck, row_of, step
from tests.integration.inspections.visits import crew


def test_from_an_order_to_a_published_penalty(client: FlaskClient, rt: Runtime, clock: FakeClock) -> None:
    """Ordered, overdue, re-checked, not put right: a penalty, reviewed by another, issued, published, in the log."""
    team = crew(client, rt, clock, make_world(rt))
    rectification = order(team, days=1)
    clock.advance(2 * 86_400)
    assert step(rt, surface_overdue_orders) == 1
    assert (step(rt, dispatch_rechecks), step(rt, dispatch_rechecks)) == (1, 0)
    recheck(team, rectification, "not_corrected")
    assert (step(rt, settle_rechecks), step(rt, settle_rechecks)) == (1, 0)
    assert row_of(rt, rectification)["state"] == "penalty"
    decided = (rt.now() - timedelta(days=1)).isoformat()
    with rt.db.write() as session:
        author, reviewer = person(session, rt), person(session, rt, reviewer=True)
        draft = session.execute(select(Proceeding)).scalar_one()
        given = {name: value for name, value in PENALTY.items() if name not in draft.content}
        for actor, action, content in (
            (author, "file", given | {"fine_yuan": "200000"}),
            (author, "propose", {}),
            (author, "request_review", {}),
            (reviewer, "approve", {}),
            (author, "issue", DECISION | {"decided_at": decided}),
        ):
            take_step(session, rt, actor, draft.id, Step(action, draft.revision, content, "样例理由"))
        act_on_publication(session, rt, author, draft.id, "publish", "")
        (shown,) = list_published(session, kind="penalty")
        assert shown.fields["fine_yuan"] == "200000"
    clock.advance(60 * 86_400)
    with rt.db.write() as session:
        assert watch_deadlines(session, rt) == 2, "the two inspections were not published in time"
        assert session.execute(select(Publication.state)).scalars().all().count("due") == 2
    with rt.db.write() as session:
        sequence_step(session, rt)
    with rt.db.read() as session:
        assert verify_behaviors(session) == (len(session.execute(select(Behavior.id)).all()), [])
