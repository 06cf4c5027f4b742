"""The readings that a lead rests on, on the handheld: fetched with the task, checked, and read without a network."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.extracts import extract_path, read_extract
from device_sim.handheld.link import Link
from device_sim.handheld.officer import Shot, Visit, tasks_of
from device_sim.handheld.picture import Picture
from device_sim.handheld.visit import VisitPlan
from server.inspections.lead_tasks import dispatch_open_leads
from server.leads.extract import extract_step
from server.leads.models import Lead
from server.leads.service import LeadDraft, open_lead
from server.telemetry.service import SensorDraft, register_sensor
from tests.integration.device_sim.conftest import DEPARTMENT, MakeHandheld, Platform


@pytest.fixture
def lead(platform: Platform) -> str:
    """A lead that was pushed to two officers."""
    rt, entity = platform.rt, next(iter(platform.entity_ids.values()))
    now = rt.now()
    with rt.db.write() as session:
        register_sensor(
            session, rt, SensorDraft("air-01", "样例监测点", entity, "420106001", DEPARTMENT, 30.5, 114.3, {"SO2": {}})
        )
        opened = open_lead(
            session, rt,
            LeadDraft(
                episode_key="e1", sensor_id="air-01", entity_id=entity, region="420106001", department=DEPARTMENT,
                rule_code="r", rule_version=1, factor="SO2", unit="ug/m3", threshold=500, title_zh="超标",
                title_en="above", explanation_zh="三小时", explanation_en="three hours", extract=[],
                started_at=now - timedelta(hours=3), confirmed_at=now, last_at=now, ended_at=None, peak=600,
            ),
        )  # fmt: skip
    extract_step(rt)
    with rt.db.write() as session:
        assert dispatch_open_leads(session, rt) == 1
    return str(opened)


def _first(platform: Platform) -> int:
    """The number of an officer who got the task: with nothing to do yet, the ones first by id."""
    return platform.officers.index(min(platform.officers))


def test_the_extract_comes_with_the_task(platform: Platform, handheld: MakeHandheld, lead: str) -> None:
    """One sync brings task and readings, a second fetches nothing; a third officer's handheld gets neither."""
    officer = handheld(_first(platform))
    officer.sync()
    (task,) = tasks_of(officer)
    said = read_extract(officer.store, task.extract)
    assert task.lead == lead
    assert said is not None
    assert (said["lead"], said["rule"], said["readings"]) == (lead, None, [])
    officer.sync()
    assert officer.counts["extracts_fetched"] == 1
    stranger = handheld(platform.officers.index(max(platform.officers)))
    stranger.sync()
    assert tasks_of(stranger) == []
    assert stranger.counts["extracts_fetched"] == 0


def test_spoiled_bytes_are_not_kept(
    platform: Platform, handheld: MakeHandheld, lead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes without the sealed hash are left out, and asked for again at the next sync."""
    officer = handheld(_first(platform))
    answer = Link.request

    def spoiled(link: Link, method: str, path: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - httpx's options
        real = answer(link, method, path, **more)
        return httpx.Response(200, content=b"{}") if path.endswith("/content") else real

    with monkeypatch.context() as patch:
        patch.setattr(Link, "request", spoiled)
        officer.sync()
    (task,) = tasks_of(officer)
    assert not extract_path(officer.store, task.extract).exists()
    assert officer.counts["extracts_spoiled"] == 1
    officer.sync()
    assert extract_path(officer.store, task.extract).exists()


def test_signing_for_it_on_the_handheld(platform: Platform, handheld: MakeHandheld, lead: str) -> None:
    """What the officer does on the handheld is the lead's course, and its outcome is in the officer's words."""
    officer: Handheld = handheld(_first(platform))
    officer.sync()
    (task,) = tasks_of(officer)
    inspection = next(one for one in platform.world.inspections.values() if not one.failures)
    visit = Visit(officer, task, inspection, VisitPlan(paired=False, contradicts=(), photos=0), camera=_no_camera)
    visit.sign_for()
    officer.sync()
    assert _status(platform, lead) == "signed_for"
    visit.arrive()
    visit.conclude()
    officer.sync()
    assert _status(platform, lead) == "verifying"
    assert officer.open("inspection", task.inspection).value("lead_outcome") == "refuted"


def _status(platform: Platform, lead: str) -> str:
    with platform.rt.db.read() as session:
        return session.get_one(Lead, lead).status


def _no_camera(_shot: Shot) -> Picture:
    raise AssertionError("no photo is taken")
