"""What anybody may see of draws: announcements before the draw, withdrawn ones with their secret, published results."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.entities.models import Entity
from server.errors import Problem
from server.plans.lifecycles import PUBLISHED, WITHDRAWN
from server.plans.models import DrawBatch, DrawnVisit, DrawPlan

CITIZEN = "1"
"""Nature of an entity whose name is personal data."""
OPEN_FILES = (PUBLISHED, WITHDRAWN)
"""States in which the file is for everybody: earlier it would tell firms of visits to come."""


@dataclass(frozen=True)
class PublicDraw:
    """A batch as anybody may see it."""

    id: str
    title: str
    state: str
    announced_at: datetime
    draw_not_before: datetime
    announcement: Mapping[str, Any]
    announcement_sha256: str
    drawn_at: datetime | None
    file_sha256: str | None
    file_open: bool
    secret: str
    """Empty until the file is open."""
    published_at: datetime | None
    reason: str
    figures: Mapping[str, int]


@dataclass(frozen=True)
class PublicResult:
    """A published result of a drawn visit."""

    entity: str
    name: str
    uscc: str
    result: str
    settled_on: date
    place: int


def list_draws(session: Session, *, region: str = "", after: str = "", limit: int = 50) -> list[PublicDraw]:
    """Return draws, newest first; `after` is the last one of the page before."""
    query = select(DrawBatch, DrawPlan).join(DrawPlan, DrawPlan.id == DrawBatch.plan)
    query = query.where(DrawBatch.region.startswith(region, autoescape=True))
    if after:
        query = query.where(DrawBatch.id < after)
    return [_view(*row) for row in session.execute(query.order_by(DrawBatch.id.desc()).limit(limit)).all()]


def get_draw(session: Session, batch: str) -> PublicDraw:
    """Return one draw.

    Raises:
        Problem: `not-found`.
    """
    query = select(DrawBatch, DrawPlan).join(DrawPlan, DrawPlan.id == DrawBatch.plan).where(DrawBatch.id == batch)
    found = session.execute(query).one_or_none()
    if found is None:
        raise Problem("not-found", detail="no draw with this id")
    return _view(*found)


def _view(batch: DrawBatch, plan: DrawPlan) -> PublicDraw:
    drawn = batch.summary or {}
    file_open = batch.state in OPEN_FILES
    return PublicDraw(
        id=batch.id, title=f"{plan.title} · {plan.number}-{batch.number}", state=batch.state,
        announced_at=batch.announced_at, draw_not_before=batch.draw_not_before, announcement=batch.announcement,
        announcement_sha256=batch.announcement_sha256, drawn_at=batch.drawn_at, file_sha256=batch.file_sha256,
        file_open=file_open, secret=batch.secret if file_open else "", published_at=batch.published_at,
        reason=batch.reason,
        figures={"entities": batch.announcement["entities"]["count"], "drawn": drawn.get("drawn", 0)},
    )  # fmt: skip


def results_of(session: Session, batch: str, *, after: int = -1, limit: int = 50) -> list[PublicResult]:
    """Return the published results of a draw in the order of the draw; names of citizens are masked."""
    query = (
        select(DrawnVisit, Entity.name, Entity.uscc, Entity.nature)
        .join(Entity, Entity.id == DrawnVisit.entity)
        .where(DrawnVisit.batch == batch, DrawnVisit.published_at.is_not(None), DrawnVisit.place > after)
        .order_by(DrawnVisit.place)
        .limit(limit)
    )
    return [
        PublicResult(
            visit.entity, _mask(name) if nature == CITIZEN else name, "" if nature == CITIZEN else uscc,
            str(visit.result), visit.settled_at.date(), visit.place,
        )
        for visit, name, uscc, nature in session.execute(query)
        if visit.settled_at is not None
    ]  # fmt: skip


def _mask(name: str) -> str:
    return name[:1] + "*" * (len(name) - 1)


def check_file_open(session: Session, batch: str) -> None:
    """Refuse the file of a draw while it would tell of visits to come.

    Raises:
        Problem: `not-found`; `conflict`.
    """
    if not get_draw(session, batch).file_open:
        raise Problem("conflict", field="state", detail="全部结果公示后公开 / open once all results are published")
