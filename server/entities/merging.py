"""Merging duplicates: one entity leads on to another, and nothing that was ever said of either is lost.

The duplicate keeps its row, code, grades and trail. What names an entity by its code (credit records, complaints, key
subjects) is renamed with an entry in its own trail; what happened to a duplicate (visits, behaviors, leads) stays as it
was written, and is found with the entity that stays.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session, aliased

from server.audit.service import record_event
from server.db.engine import IN_LIST_LIMIT
from server.entities.models import Entity, EntityGrade
from server.entities.search import unindex_entity
from server.entities.service import MERGED, get_entity
from server.errors import Problem
from server.records.service import OfficeChange, office_write_many
from server.registers.definition import Reference
from server.registers.models import NamesEntity, OfEntity
from server.runtime import Runtime


def merge_entity(session: Session, rt: Runtime, loser: Entity, keeper: Entity, *, author: str, reason: str) -> None:
    """Merge a duplicate into the entity that stays, which then counts for both.

    Raises:
        Problem: `conflict` if either was merged away, or both are one.
    """
    if loser.id == keeper.id or MERGED in (loser.status, keeper.status):
        raise Problem("conflict", detail="both must be different entities that were not merged away")
    before = loser.status
    loser.status, loser.merged_into, loser.revision = MERGED, keeper.id, loser.revision + 1
    session.execute(update(Entity).where(Entity.merged_into == loser.id).values(merged_into=keeper.id))
    unindex_entity(session, loser.id, loser.name, loser.region)
    office_write_many(session, rt, [OfficeChange("entity", loser.id, {"status": "closed"}, author)])
    fields = {"status": [before, MERGED], "merged_into": [None, keeper.id]}
    detail = {"into": keeper.id, "reason": reason, "fields": fields}
    record_event(session, rt, author, "entity.merge", "entity", loser.id, detail, region=loser.region)
    _rename(session, rt, loser, keeper, author=author, reason=reason)


def _rename(session: Session, rt: Runtime, loser: Entity, keeper: Entity, *, author: str, reason: str) -> None:
    """Let the records that name the duplicate name the entity that stays; those that lie with it lie there."""
    for model in _naming(NamesEntity):
        lies_with_it = issubclass(model, OfEntity)
        for row in session.execute(select(model).where(model.entity == loser.uscc)).scalars():
            fields = {"entity": [loser.uscc, keeper.uscc]}
            row.entity, row.revision = keeper.uscc, row.revision + 1
            if lies_with_it and row.region != keeper.region:
                fields["region"] = [row.region, keeper.region]
                row.region = keeper.region
            kind, detail = str(model.__tablename__), {"reason": reason, "fields": fields}
            record_event(
                session, rt, author, f"{kind}.merge", kind, row.id, detail,
                region=row.region, department=row.department,
            )  # fmt: skip


def _naming(base: type[Any]) -> Iterator[Any]:
    for model in base.__subclasses__():
        yield from (model,) if hasattr(model, "__table__") else _naming(model)


def survivor(session: Session, entity: Entity) -> Entity:
    """Return the entity that this one was merged into, or itself."""
    return entity if entity.merged_into is None else get_entity(session, entity.merged_into)


def with_duplicates(session: Session, entity: str) -> list[str]:
    """Return the id of an entity and those of the duplicates that were merged into it."""
    return [entity, *session.execute(select(Entity.id).where(Entity.merged_into == entity)).scalars()]


def present_codes(session: Session, codes: Collection[str]) -> Mapping[str, str]:
    """Return by code of a duplicate the code of the entity that it was merged into."""
    stays, ordered = aliased(Entity), sorted(codes)
    found: dict[str, str] = {}
    for start in range(0, len(ordered), IN_LIST_LIMIT):
        some = Entity.uscc.in_(ordered[start : start + IN_LIST_LIMIT])
        query = select(Entity.uscc, stays.uscc).join(stays, stays.id == Entity.merged_into).where(some)
        found.update((row[0], row[1]) for row in session.execute(query))
    return found


def grades_of(session: Session, entity: Entity) -> list[EntityGrade]:
    """Return the history of an entity's grades, those of its merged duplicates included, oldest first."""
    query = select(EntityGrade).where(EntityGrade.entity.in_(with_duplicates(session, entity.id)))
    return list(session.execute(query.order_by(EntityGrade.at, EntityGrade.id)).scalars())


TO_ENTITY = Reference("entity with the code", Entity.uscc, present_codes)
"""A field that names an entity by its code."""
