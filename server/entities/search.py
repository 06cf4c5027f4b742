"""Finding entities by a fragment of the name within a region; see :mod:`server.registers.search`."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.entities.models import Entity
from server.registers.search import Index, asked_region, fold, name_words, region_words

INDEX = Index("entity_search", "entity")


def index_entities(session: Session, entities: Sequence[tuple[str, str, str]]) -> None:
    """Enter (id, name, region) of new entities into the index."""
    INDEX.add(session, [(entity, name_words(name) | region_words(region)) for entity, name, region in entities])


def unindex_entity(session: Session, entity_id: str, name: str, region: str) -> None:
    """Take an entity out of the index; `name` and `region` are those it was entered with."""
    INDEX.remove(session, entity_id, name_words(name) | region_words(region))


def find_by_name(
    session: Session, fragment: str, *, region: str = "", after: int = 0, limit: int = 50
) -> list[tuple[int, Entity]]:
    """Return entities whose name holds a fragment (two characters or more; case and spaces do not count).

    Args:
        session: any session.
        fragment: what the name holds.
        region: division-code prefix; empty for everywhere.
        after: place in the index after which to go on.
        limit: most entities.

    Returns:
        (place in the index, entity), by place.
    """
    folded = fold(fragment)

    def look_up(ids: Sequence[str]) -> dict[str, Entity]:
        rows = session.execute(select(Entity).where(Entity.id.in_(ids))).scalars()
        return {row.id: row for row in rows if row.region.startswith(region) and folded in fold(row.name)}

    return INDEX.find(session, name_words(folded) | asked_region(region), look_up, after=after, limit=limit)
