"""How often entities are visited in a calendar year, in China: what was done, and what is given out to be done."""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from schemas.visit_rules import PLANNED
from server.clock import CHINA
from server.db.engine import IN_LIST_LIMIT
from server.entities.models import Entity
from server.inspections.models import Inspection


def year_of(at: datetime) -> int:
    """Return the calendar year of an instant in China."""
    return at.astimezone(CHINA).year


def visits_in_year(session: Session, year: int, entities: Collection[str] | None = None) -> dict[str, int]:
    """Return the visits of a year by entity; those that have none are left out.

    Visits to a duplicate count for the entity that it was merged into.

    An inspection counts in the year in which it was made, and one that is not made yet in every year. Visits with a
    coded reason (a complaint, a lead, a re-check, an emergency) do not count.

    Args:
        session: any session.
        year: calendar year in China.
        entities: only of these; None: of all.
    """
    found: dict[str, int] = {}
    stays = func.coalesce(Entity.merged_into, Inspection.entity)
    query = (
        select(stays, func.count())
        .select_from(Inspection)
        .outerjoin(Entity, Entity.id == Inspection.entity)
        .where(Inspection.entity.is_not(None), _made_in(year))
        .where(or_(Inspection.visit_reason.is_(None), Inspection.visit_reason == PLANNED))
        .group_by(stays)
    )
    if entities is None:
        chunks = [query]
    else:
        ids = sorted(entities)
        starts = range(0, len(ids), IN_LIST_LIMIT)
        chunks = [query.where(_to_any(ids[start : start + IN_LIST_LIMIT])) for start in starts]
    for chunk in chunks:
        found |= {str(entity): int(count) for entity, count in session.execute(chunk)}
    return found


def _to_any(entities: list[str]) -> ColumnElement[bool]:
    duplicates = select(Entity.id).where(Entity.merged_into.in_(entities))
    return or_(Inspection.entity.in_(entities), Inspection.entity.in_(duplicates))


def _made_in(year: int) -> ColumnElement[bool]:
    first, last = (datetime(one, 1, 1, tzinfo=CHINA).astimezone(UTC) for one in (year, year + 1))
    made = (Inspection.inspected_at >= first) & (Inspection.inspected_at < last)
    return or_(made, Inspection.inspected_at.is_(None) & (Inspection.status == "open"))
