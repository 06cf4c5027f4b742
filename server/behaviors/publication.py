"""The first institution: behaviors are published within so many working days (行政执法公示), personal data masked."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from schemas.workdays import Deadline, calendar
from server.audit.service import SYSTEM, record_event
from server.behaviors.criteria import publication_days
from server.behaviors.lifecycles import DUE, PUBLICATION, PUBLISH, PUBLISHED
from server.behaviors.masking import public_fields
from server.behaviors.models import Behavior, Publication
from server.clock import CHINA
from server.errors import Problem
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

MIN_REASON_CHARS, MAX_REASON_CHARS = 2, 1_000
BATCH = 200
"""Publications looked at in one step of the worker."""


def deadline_for(rt: Runtime, kind: str, since: date) -> Deadline:
    """Return by when a behavior of a kind must be published, counted from the day after `since`."""
    return calendar().deadline(since, {**publication_days(), **rt.settings.publication_days}[kind])


def enter_publication(session: Session, rt: Runtime, row: Behavior, content: dict[str, Any]) -> None:
    """Note by when a new behavior must be published, in the transaction that writes it."""
    decided = content.get("decided_at")
    since = (datetime.fromisoformat(decided) if decided else rt.now()).astimezone(CHINA).date()
    due = deadline_for(rt, row.kind, since)
    session.add(
        Publication(
            behavior=row.id, kind=row.kind, region=row.region, department=row.department, number=row.number, state=DUE,
            since=since, due_on=due.day, provisional=due.provisional, reason="",
        )
    )  # fmt: skip


def act_on_publication(
    session: Session, rt: Runtime, caller: Principal, behavior: str, action: str, reason: str
) -> Publication:
    """Publish a behavior, withhold it by law, or take it down; the last two need a reason.

    Raises:
        Problem: `not-found`; `illegal-transition` naming the legal actions; `invalid-field` without a reason.
    """
    row = session.get(Publication, behavior, with_for_update=True)
    if row is None:
        raise Problem("not-found", detail="no behavior with this id is to be published")
    require_scope(caller, row.region, row.department)
    target = PUBLICATION.step(row.state, action)
    if action != PUBLISH and len(reason.strip()) < MIN_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MIN_REASON_CHARS)
    row.state, row.actor, row.reason = target, caller.subject, reason.strip()
    row.published_at = rt.now() if target == PUBLISHED else row.published_at
    session.flush()
    detail = {"state": target, "reason": row.reason, "due_on": row.due_on.isoformat()}
    record_event(session, rt, caller.subject, f"publication.{action}", "behavior", behavior, detail)
    return row


def watch_deadlines(session: Session, rt: Runtime) -> int:
    """Worker step: mark publications whose deadline has passed, and count provisional ones anew. Returns how many."""
    today = rt.now().astimezone(CHINA).date()
    done = 0
    query = select(Publication).where(Publication.state == DUE, Publication.overdue_at.is_(None))
    late = query.where(Publication.due_on < today).order_by(Publication.due_on).limit(BATCH)
    for row in session.execute(late.with_for_update(skip_locked=True)).scalars():
        row.overdue_at = rt.now()
        detail = {"due_on": row.due_on.isoformat(), "provisional": row.provisional}
        record_event(session, rt, SYSTEM, "publication.overdue", "behavior", row.behavior, detail)
        done += 1
    first, last = known_span()
    known = query.where(Publication.provisional.is_(True), Publication.since >= first, Publication.due_on <= last)
    for row in session.execute(known.limit(BATCH).with_for_update(skip_locked=True)).scalars():
        due = deadline_for(rt, row.kind, row.since)
        row.due_on, row.provisional = due.day, due.provisional
        done += 1
    return done


def known_span() -> tuple[date, date]:
    """Return the first and last day of the years whose holidays are known."""
    years = calendar().years
    return date(min(years), 1, 1), date(max(years), 12, 31)


@dataclass(frozen=True)
class PublicationFilter:
    """Which publications to list."""

    state: str = ""
    kind: str = ""
    overdue: bool | None = None


def list_publications(
    session: Session, rt: Runtime, caller: Principal, wanted: PublicationFilter, *, after: str = "", limit: int = 50
) -> Sequence[Publication]:
    """Return publications of the caller's scope in the order of their behaviors' ids."""
    query = select(Publication).where(
        Publication.region.startswith(caller.region, autoescape=True), Publication.behavior > after
    )
    if caller.department:
        query = query.where(Publication.department == caller.department)
    if wanted.state:
        query = query.where(Publication.state == wanted.state)
    if wanted.kind:
        query = query.where(Publication.kind == wanted.kind)
    if wanted.overdue is not None:
        late = (Publication.state == DUE) & (Publication.due_on < rt.now().astimezone(CHINA).date())
        query = query.where(late if wanted.overdue else ~late)
    return session.execute(query.order_by(Publication.behavior).limit(limit)).scalars().all()


@dataclass(frozen=True)
class PublishedBehavior:
    """What anybody may read of a behavior."""

    number: str
    kind: str
    published_at: datetime | None
    corrected: bool
    """Whether a later version stands behind it."""
    fields: dict[str, Any]


def list_published(
    session: Session, *, kind: str = "", region: str = "", after: str = "", limit: int = 50
) -> list[PublishedBehavior]:
    """Return what is published, newest first; `after` is the last number of the page before.

    Raises:
        Problem: `not-found` for an unknown `after`.
    """
    query = _published().where(Publication.region.startswith(region, autoescape=True))
    if kind:
        query = query.where(Publication.kind == kind)
    if after:
        last = select(Publication.behavior).where(Publication.number == after).scalar_subquery()
        query = query.where(Publication.behavior < last)
    rows = session.execute(query.order_by(Publication.behavior.desc()).limit(limit)).all()
    return [_view(entry, row) for entry, row in rows]


def get_published(session: Session, number: str) -> PublishedBehavior:
    """Return one published behavior by its number.

    Raises:
        Problem: `not-found`: there is none, or it is not published.
    """
    found = session.execute(_published().where(Publication.number == number)).one_or_none()
    if found is None:
        raise Problem("not-found", detail="nothing is published under this number")
    return _view(*found)


def publication_of(session: Session, behavior: str) -> Publication | None:
    """Return a behavior's publication."""
    return session.get(Publication, behavior)


def _published() -> Select[Publication, Behavior]:
    join = (Behavior.id == Publication.behavior) & (Behavior.status == "current")
    return select(Publication, Behavior).join(Behavior, join).where(Publication.state == PUBLISHED)


def _view(entry: Publication, row: Behavior) -> PublishedBehavior:
    content = json.loads(row.line) | (json.loads(row.personal) if row.personal is not None else {})
    return PublishedBehavior(row.number, row.kind, entry.published_at, row.version > 1, public_fields(content))
