"""From lead to task and back: each lead becomes one task for two officers, and follows what they find."""

import json
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from server.inspections.lead_tasks import dispatch_open_leads
from server.inspections.models import Task
from server.leads.extract import extract_step
from server.leads.models import Lead
from server.leads.service import LeadDraft, open_lead
from server.officers.models import Officer
from server.records.models import SyncedRecord
from server.runtime import Runtime
from tests.field_device import FieldDevice, World, by_field, live_dots, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


def _open(rt: Runtime, world: World, key: str = "episode-1") -> str:
    now = rt.now()
    draft = LeadDraft(
        episode_key=key, sensor_id="air-01", entity_id=world.entity, region="420106001", department="market",
        rule_code="r", rule_version=1, factor="SO2", unit="ug/m3", threshold=500, title_zh="超标", title_en="above",
        explanation_zh="三小时", explanation_en="three hours", extract=[], started_at=now, confirmed_at=now,
        last_at=now, ended_at=None, peak=600,
    )  # fmt: skip
    with rt.db.write() as session:
        lead = open_lead(session, rt, draft)
    assert lead is not None
    return lead


def _dispatch(rt: Runtime) -> int:
    extract_step(rt)
    with rt.db.write() as session:
        return dispatch_open_leads(session, rt)


def test_each_lead_becomes_one_task(rt: Runtime, world: World) -> None:
    """One lead, one task for two officers, however often the step runs; a second lead goes to a task of its own."""
    first = _open(rt, world)
    assert (_dispatch(rt), _dispatch(rt)) == (1, 0)
    second = _open(rt, world, "episode-2")
    assert _dispatch(rt) == 1
    with rt.db.read() as session:
        tasks = session.execute(select(Task).where(Task.lead.is_not(None))).scalars().all()
        assert {task.lead for task in tasks} == {first, second}
        fields = by_field(json.loads(session.get_one(SyncedRecord, ("task", tasks[0].id)).line))["fields"]
    assert sorted(fields["officers"][0]["value"]) == sorted(world.officers)
    assert fields["origin"][0]["value"] == "lead"


def test_lead_waits_while_nobody_may_go(rt: Runtime, world: World) -> None:
    """With an expired certificate there are no two officers; the lead stays open and is not lost."""
    lead = _open(rt, world)
    with rt.db.write() as session:
        session.get_one(Officer, world.officers[0]).certificate_valid_until = rt.now() - timedelta(days=1)
    assert _dispatch(rt) == 0
    with rt.db.read() as session:
        assert session.get_one(Lead, lead).status == "generated"


def test_lead_follows_its_task(client: FlaskClient, rt: Runtime, world: World) -> None:
    """Signed for and in progress on the handheld, the lead says so; it never goes back."""
    lead = _open(rt, world)
    _dispatch(rt)
    with rt.db.read() as session:
        task = session.execute(select(Task.id).where(Task.lead == lead)).scalar_one()
        seen = live_dots(json.loads(session.get_one(SyncedRecord, ("task", task)).line))
    device = FieldDevice(rt, world.officers[0])
    statuses = []
    for status in ("signed_for", "in_progress", "signed_for"):
        device.write("task", task, {"status": status}, seen)
        device.verdicts(client)
        with rt.db.read() as session:
            statuses.append(session.get_one(Lead, lead).status)
    assert statuses == ["signed_for", "verifying", "verifying"]
