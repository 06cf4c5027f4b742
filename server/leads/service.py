"""The leads domain's services: one lead for each episode, followed to its end.

A lead is opened in the transaction that finds its episode. `server.inspections` takes the open ones by
:func:`list_open`, dispatches each, and marks it by :func:`mark_pushed` in the same transaction; `course` has its steps.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from server.audit.service import SYSTEM, record_event
from server.errors import Problem
from server.leads import course
from server.leads.course import counts_as_open
from server.leads.lifecycle import GENERATED, LEAD, PUSH
from server.leads.models import Lead
from server.runtime import Runtime
from server.telemetry.evaluation import EpisodeChange
from server.telemetry.models import RuleVersion
from server.telemetry.rules import means_to_json
from server.telemetry.wording import explain
from server.web.principal import Principal
from server.web.scope import in_scope

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
    lead = Lead(id=rt.new_id(), status=LEAD.initial, task_id=None, created_at=rt.now(), pushed_at=None, **vars(draft))
    session.add(lead)
    session.flush()
    course.begin(session, rt, lead)
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

    Those whose data do not support them any more are left out, and those whose readings are not taken out yet. On
    PostgreSQL the rows are locked and those that another worker holds are left out, so that each is dispatched once.
    """
    waiting = (Lead.status == GENERATED, Lead.withdrawn_at.is_(None), Lead.extract_sha256.is_not(None))
    query = select(Lead).where(*waiting).order_by(Lead.id).limit(limit)
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def mark_pushed(session: Session, rt: Runtime, lead_id: str, task_id: str, officers: Sequence[str] = ()) -> None:
    """Note that a lead went to officers as a task.

    Raises:
        Problem: `not-found`, or `illegal-transition` if it was pushed before.
    """
    lead = course.lock(session, lead_id)
    course.take(session, rt, lead, PUSH, actor=SYSTEM, detail={"task": task_id, "officers": list(officers)})
    lead.task_id, lead.pushed_at = task_id, rt.now()


def get_lead(session: Session, lead_id: str) -> Lead:
    """Return a lead.

    Raises:
        Problem: `not-found`.
    """
    lead = session.get(Lead, lead_id)
    if lead is None:
        raise Problem("not-found", detail="no such lead")
    return lead


@dataclass(frozen=True)
class LeadFilter:
    """Which leads to list; empty members leave none out."""

    status: str = ""
    category: str = ""
    rule: str = ""
    """Code of the rule."""
    entity: str = ""
    overdue: bool | None = None
    withdrawn: bool | None = None


def list_leads(
    session: Session, rt: Runtime, caller: Principal, wanted: LeadFilter, *, after: str = "", limit: int = 50,
    newest_first: bool = False,
) -> Sequence[Lead]:  # fmt: skip
    """Return leads of one's scope by id, the order in which they were opened, after id `after`."""
    query = select(Lead).where(in_scope(caller, Lead.region, Lead.department))
    if after:
        query = query.where(Lead.id < after if newest_first else Lead.id > after)
    for column, value in (
        (Lead.status, wanted.status),
        (Lead.category, wanted.category),
        (Lead.rule_code, wanted.rule),
        (Lead.entity_id, wanted.entity),
    ):
        if value:
            query = query.where(column == value)
    if wanted.overdue is not None:
        late = and_(Lead.due_at.is_not(None), Lead.due_at < rt.now(), counts_as_open())
        query = query.where(late if wanted.overdue else ~late)
    if wanted.withdrawn is not None:
        query = query.where(Lead.withdrawn_at.is_not(None) if wanted.withdrawn else Lead.withdrawn_at.is_(None))
    order = Lead.id.desc() if newest_first else Lead.id
    return session.scalars(query.order_by(order).limit(limit)).all()


def count_leads(session: Session) -> Mapping[str, int]:
    """Count leads by status."""
    return dict(session.execute(select(Lead.status, func.count()).group_by(Lead.status)).all())
