"""Keeping regulated entities."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.identifiers import check_uscc
from server.entities.models import Entity
from server.errors import Problem
from server.records.lines import Placement
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime


def add_entities(session: Session, rt: Runtime, entities: list[Entity], *, author: str) -> None:
    """Enter entities and publish them to the handhelds of their region.

    Raises:
        Problem: `invalid-field` for a wrong unified social credit code.
    """
    for entity in entities:
        if reason := check_uscc(entity.uscc):
            raise Problem("invalid-field", field="uscc", detail=reason)
    session.add_all(entities)
    changes = [OfficeChange("entity", e.id, _fields(e), author, Placement(e.region, "")) for e in entities]
    office_write_many(session, rt, changes)


def _fields(entity: Entity) -> dict[str, object]:
    return {
        "name": entity.name,
        "nature": entity.nature,
        "uscc": entity.uscc,
        "registered_address": entity.registered_address,
        "operating_address": entity.operating_address,
        "region": entity.region,
        "position": {"lat": entity.lat, "lon": entity.lon, "datum": entity.datum},
        "status": "active",
    }


def get_entity(session: Session, entity_id: str) -> Entity:
    """Return one entity.

    Raises:
        Problem: `not-found`.
    """
    entity = session.get(Entity, entity_id)
    if entity is None:
        raise Problem("not-found", detail="no entity with this id")
    return entity


def list_entities(session: Session, *, region: str, after: str = "", limit: int = 50) -> list[Entity]:
    """Return entities of a region prefix, in order of id."""
    query = (
        select(Entity)
        .where(Entity.region.startswith(region, autoescape=True), Entity.id > after)
        .order_by(Entity.id)
        .limit(limit)
    )
    return list(session.execute(query).scalars())
