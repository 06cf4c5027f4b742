"""Finding proceedings and showing one whole: for the API and the pages alike."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.behaviors.criteria import criteria_met
from server.behaviors.drafting import missing_fields
from server.behaviors.models import Proceeding, ProceedingStep
from server.behaviors.proceedings import current_content, is_issued, legal_actions
from server.behaviors.recording import scenes_of
from server.behaviors.reviewing import reviews_of
from server.entities.models import Entity
from server.errors import Problem
from server.web.principal import Principal, require_scope

COLUMNS = tuple(column.key for column in Proceeding.__table__.columns if column.key != "content")


@dataclass(frozen=True)
class Wanted:
    """Which proceedings to list; empty: any."""

    kind: str = ""
    state: str = ""
    entity: str = ""
    inspection_number: str = ""


def list_proceedings(
    session: Session, caller: Principal, wanted: Wanted, *, after: str = "", limit: int = 50
) -> Sequence[Proceeding]:
    """Return proceedings of the caller's scope, newest first; `after` is the last id of the page before."""
    query = select(Proceeding).where(Proceeding.region.startswith(caller.region, autoescape=True))
    if caller.department:
        query = query.where(Proceeding.department == caller.department)
    for name, value in asdict(wanted).items():
        if value:
            query = query.where(getattr(Proceeding, name) == value)
    if after:
        query = query.where(Proceeding.id < after)
    return session.execute(query.order_by(Proceeding.id.desc()).limit(limit)).scalars().all()


def subjects_of(session: Session, rows: Sequence[Proceeding]) -> dict[str, str]:
    """Return the names of the entities that proceedings are about, by entity id, in one query."""
    wanted = {row.entity for row in rows if row.entity}
    found = session.execute(select(Entity.id, Entity.name).where(Entity.id.in_(wanted)))
    return {row.id: row.name for row in found}


def get_proceeding(session: Session, caller: Principal, proceeding: str) -> Proceeding:
    """Return a proceeding of the caller's scope.

    Raises:
        Problem: `not-found`.
    """
    row = session.get(Proceeding, proceeding)
    if row is None:
        raise Problem("not-found", detail="no proceeding with this id")
    require_scope(caller, row.region, row.department)
    return row


def whole(session: Session, row: Proceeding) -> dict[str, Any]:
    """Return everything about a proceeding: its fields, what it lacks, what may be done next, what was done."""
    content = current_content(session, row)
    return {name: getattr(row, name) for name in COLUMNS} | {
        "content": content,
        "legal": legal_actions(session, row),
        "missing": [] if is_issued(session, row) else missing_fields(row),
        "criteria": [{"code": one.code, "zh": one.zh, "en": one.en} for one in criteria_met(row.kind, content)],
        "scenes": scenes_of(session, row.id, row.kind, content),
        "steps": steps_of(session, row.id),
        "reviews": reviews_of(session, row.id),
    }


def steps_of(session: Session, proceeding: str) -> list[ProceedingStep]:
    """Return the steps of a proceeding, oldest first."""
    query = select(ProceedingStep).where(ProceedingStep.proceeding == proceeding).order_by(ProceedingStep.number)
    return list(session.execute(query).scalars())
