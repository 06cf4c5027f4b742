"""Leads: one for each episode, followed to its end, and pushed once."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.models import AuditEvent
from server.errors import Problem
from server.leads import service
from server.leads.models import Lead
from server.runtime import Runtime
from server.telemetry.evaluation import EpisodeChange
from server.telemetry.models import RuleVersion
from server.telemetry.registry import Registry, as_rule
from server.telemetry.rules import Episode, Mean, episode_key
from server.web.principal import Principal
from tests.integration.telemetry.programs import register_in

START = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.fixture
def change(rt: Runtime, session: Session) -> EpisodeChange:
    """A confirmed episode of the hourly NO2 rule at a registered sensor."""
    register_in(session, rt, "s1")
    rule = as_rule(session.scalars(select(RuleVersion).where(RuleVersion.factor == "NO2")).one())
    sensor = Registry().sensors(session, ["s1"])["s1"]
    means = tuple(Mean(START + timedelta(hours=n), 210.0 + n) for n in range(3))
    episode = Episode(START, means[-1].at, means, 212.0, means[-1].at)
    return EpisodeChange(episode_key(rule, "s1", episode), rule, sensor, episode, opened=True)


def test_an_episode_opens_one_lead(rt: Runtime, session: Session, change: EpisodeChange) -> None:
    """However often the episode is reported, it has one lead, with its evidence and its sentence."""
    assert service.take_changes(session, rt, [change]) == 1
    assert service.take_changes(session, rt, [change, change]) == 0
    (lead,) = session.scalars(select(Lead))
    assert (lead.sensor_id, lead.entity_id, lead.region, lead.status) == ("s1", "entity-0", "420106", "generated")
    assert (lead.rule_code, lead.threshold, lead.factor) == ("air-no2-hourly", 200.0, "NO2")
    assert lead.explanation_en.startswith("3 of 3 valid hourly means of NO2 above 200 µg/m³")
    assert lead.title_zh == "二氧化氮持续超过小时限值：样例监测点0"
    assert lead.extract[0] == ["2013-03-01T00:00:00+00:00", 210.0]
    assert service.open_lead(session, rt, service._draft(session, change)) is None
    assert service.count_leads(session) == {"generated": 1}
    actions = session.scalars(select(AuditEvent.action)).all()
    assert actions == ["lead.open"]


def test_a_lead_follows_its_episode(rt: Runtime, session: Session, change: EpisodeChange) -> None:
    """End and peak go on; what it was opened on does not change."""
    service.take_changes(session, rt, [change])
    (lead,) = session.scalars(select(Lead))
    sentence, end = lead.explanation_zh, START + timedelta(hours=9)
    later = replace(change.episode, peak=500.0, last_at=end, ended_at=end)
    service.take_changes(session, rt, [replace(change, episode=later, opened=False)])
    assert (lead.peak, lead.last_at, lead.ended_at) == (500.0, end, end)
    assert lead.explanation_zh == sentence


def test_a_lead_is_pushed_once(rt: Runtime, session: Session, change: EpisodeChange) -> None:
    """A pushed lead is open no longer, and a second push is refused."""
    service.take_changes(session, rt, [change])
    (lead,) = session.scalars(select(Lead))
    assert service.list_open(session) == [], "its readings are not taken out yet"
    lead.extract_sha256 = "0" * 64
    session.flush()
    assert service.list_open(session) == [lead]
    service.mark_pushed(session, rt, lead.id, "task-1")
    assert (lead.status, lead.task_id, lead.pushed_at) == ("pushed", "task-1", rt.now())
    session.flush()
    assert service.list_open(session) == []
    with pytest.raises(Problem, match="illegal-transition"):
        service.mark_pushed(session, rt, lead.id, "task-2")


def test_leads_are_listed_by_scope(rt: Runtime, session: Session, change: EpisodeChange) -> None:
    """A region prefix, a department and a status each leave others out; an unknown lead is not found."""
    service.take_changes(session, rt, [change])

    def found(region: str = "42", department: str = "env", after: str = "", **wanted: Any) -> list[Lead]:  # noqa: ANN401
        caller, filters = Principal("a", "operator", region, department), service.LeadFilter(**wanted)
        return list(service.list_leads(session, rt, caller, filters, after=after))

    (lead,) = found(status="generated", category="breach", rule="air-no2-hourly", entity="entity-0", overdue=False)
    assert found(region="4202") == found(department="water") == found(status="closed") == found(after=lead.id) == []
    assert found(category="fraud") == found(rule="other") == found(entity="other") == found(withdrawn=True) == []
    assert found(overdue=True) == []
    assert service.get_lead(session, lead.id) is lead
    with pytest.raises(Problem, match="not-found"):
        service.get_lead(session, "nobody")
