"""The leads domain's services: one lead for each episode, and its way to the officers.

A lead is opened in the transaction that finds its episode. `server.inspections` takes the open ones by
:func:`list_open`, dispatches each, and marks it by :func:`mark_pushed` in the same transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.audit.service import SYSTEM, record_event
from server.errors import Problem
from server.leads.models import Lead
from server.runtime import Runtime
from server.telemetry.evaluation import EpisodeChange
from server.telemetry.models import RuleVersion
from server.telemetry.rules import means_to_json
from server.telemetry.wording import explain

GENERATED, PUSHED = "generated", "pushed"
STATUSES = (
    GENERATED,
    PUSHED,
    "signed_for",
    "verifying",
    "confirmed",
    "refuted",
    "partly",
    "disposed",
    "fed_back",
    "closed",
)
"""The course of a lead: 生成、推送、签收、核查、属实 / 不实 / 部分属实、处置、反馈、办结."""
LIST_LIMIT = 500


@dataclass(frozen=True)
class LeadDraft:
    """A lead to open: what was seen, where, and by which rule."""

    episode_key: str
    sensor_id: str
    entity_id: str
    region: str
    department: str
    rule_code: str
    rule_version: int
    factor: str
    unit: str
    threshold: float
    title_zh: str
    title_en: str
    explanation_zh: str
    explanation_en: str
    extract: list[list[Any]]
    started_at: datetime
    confirmed_at: datetime
    last_at: datetime
    ended_at: datetime | None
    peak: float
    source: str = "telemetry"
    category: str = "breach"


def open_lead(session: Session, rt: Runtime, draft: LeadDraft) -> str | None:
    """Open a lead and return its id, or None if the episode has one already."""
    if session.scalar(select(Lead.id).where(Lead.episode_key == draft.episode_key)) is not None:
        return None
    lead = Lead(id=rt.new_id(), status=GENERATED, task_id=None, created_at=rt.now(), pushed_at=None, **vars(draft))
    session.add(lead)
    session.flush()
    detail = {"rule": f"{draft.rule_code}/{draft.rule_version}", "entity": draft.entity_id}
    record_event(session, rt, SYSTEM, "lead.open", "lead", lead.id, detail)
    return lead.id


def take_changes(session: Session, rt: Runtime, changes: Iterable[EpisodeChange]) -> int:
    """Open the leads of new episodes and carry the course of known ones forward; return how many were opened."""
    opened = 0
    for change in changes:
        lead = session.scalar(select(Lead).where(Lead.episode_key == change.key))
        if lead is None:
            opened += open_lead(session, rt, _draft(session, change)) is not None
        else:
            episode = change.episode
            lead.last_at, lead.ended_at, lead.peak = episode.last_at, episode.ended_at, episode.peak
            if change.withdrawn != (lead.withdrawn_at is not None):
                lead.withdrawn_at = rt.now() if change.withdrawn else None
                action = "lead.withdraw" if change.withdrawn else "lead.stand-again"
                record_event(session, rt, SYSTEM, action, "lead", lead.id, {"episode": change.key})
    return opened


def _draft(session: Session, change: EpisodeChange) -> LeadDraft:
    rule, sensor, episode = change.rule, change.sensor, change.episode
    version = session.get_one(RuleVersion, rule.id)
    zh, en = explain(rule, episode.means)
    return LeadDraft(
        episode_key=change.key,
        sensor_id=sensor.id,
        entity_id=sensor.entity_id,
        region=sensor.region,
        department=sensor.department,
        rule_code=rule.code,
        rule_version=rule.version,
        factor=rule.factor,
        unit=rule.unit,
        threshold=rule.threshold,
        title_zh=f"{version.title_zh}：{sensor.name}"[:300],
        title_en=f"{version.title_en}: {sensor.name}"[:300],
        explanation_zh=zh,
        explanation_en=en,
        extract=means_to_json(episode.means),
        started_at=episode.started_at,
        confirmed_at=episode.confirmed_at,
        last_at=episode.last_at,
        ended_at=episode.ended_at,
        peak=episode.peak,
        category=rule.category,
    )


def list_open(session: Session, *, limit: int = LIST_LIMIT) -> Sequence[Lead]:
    """Return the leads that wait for dispatch, oldest first.

    Those whose data do not support them any more are left out. On PostgreSQL the rows are locked and those that
    another worker holds are left out, so that each is dispatched once.
    """
    query = select(Lead).where(Lead.status == GENERATED, Lead.withdrawn_at.is_(None)).order_by(Lead.id).limit(limit)
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def mark_pushed(session: Session, rt: Runtime, lead_id: str, task_id: str) -> None:
    """Note that a lead went to the officers as a task.

    Raises:
        Problem: `not-found`, or `illegal-transition` if it was pushed before.
    """
    lead = get_lead(session, lead_id)
    if lead.status != GENERATED:
        raise Problem("illegal-transition", detail=f"the lead is {lead.status} already", field="status")
    lead.status, lead.task_id, lead.pushed_at = PUSHED, task_id, rt.now()
    record_event(session, rt, SYSTEM, "lead.push", "lead", lead_id, {"task": task_id})


def advance(session: Session, rt: Runtime, lead_id: str, status: str) -> bool:
    """Move a lead forward as its task goes on; a lead never goes back. Returns whether it moved.

    Raises:
        Problem: `not-found`.
    """
    lead = get_lead(session, lead_id)
    if STATUSES.index(status) <= STATUSES.index(lead.status):
        return False
    lead.status = status
    record_event(session, rt, SYSTEM, "lead.advance", "lead", lead_id, {"status": status})
    return True


def get_lead(session: Session, lead_id: str) -> Lead:
    """Return a lead.

    Raises:
        Problem: `not-found`.
    """
    lead = session.get(Lead, lead_id)
    if lead is None:
        raise Problem("not-found", detail="no such lead")
    return lead


def list_leads(
    session: Session,
    *,
    region: str = "",
    department: str = "",
    status: str | None = None,
    after: str = "",
    limit: int = 50,
) -> Sequence[Lead]:
    """Return leads by id (the order in which they were opened) of a region prefix and department (empty: all)."""
    query = select(Lead).where(Lead.id > after, Lead.region.startswith(region, autoescape=True))
    if department:
        query = query.where(Lead.department == department)
    if status is not None:
        query = query.where(Lead.status == status)
    return session.scalars(query.order_by(Lead.id).limit(limit)).all()


def count_leads(session: Session) -> Mapping[str, int]:
    """Count leads by status."""
    return dict(session.execute(select(Lead.status, func.count()).group_by(Lead.status)).all())
