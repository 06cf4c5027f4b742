"""Finding entities by a fragment of the name, by code or by place, in milliseconds on both databases.

The index holds pairs of neighbouring characters of the name as words `x…` and the prefixes of the division code as
words `r…`. A fragment is looked up by all its pairs together with the caller's region, and what the index finds is
compared with the name itself. Words are spelled as hexadecimal code points, so that no tokenizer has a say.
"""

from collections.abc import Sequence
from itertools import pairwise

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from server.entities.models import Entity

MIN_FRAGMENT_CHARS = 2
MAX_FRAGMENT_CHARS = 100
MIN_WINDOW = 50
"""Candidates whose names are compared at a time; at least so many, and as many as are asked for."""
MAX_WINDOWS = 100
"""After so many a search gives up: hardly a candidate has the pairs of a name and not the name."""
REGION_DIGITS = (2, 4, 6, 9)


def fold(name: str) -> str:
    """Return a name as it is compared: lower case, without spaces."""
    return "".join(name.lower().split())


def name_words(name: str) -> set[str]:
    """Return the words of a name: its pairs of neighbouring characters."""
    folded = fold(name)
    return {f"x{ord(a):x}z{ord(b):x}" for a, b in pairwise(folded)}


def region_words(region: str) -> set[str]:
    """Return the words of a division code: province, city, county, township."""
    return {f"r{region[:digits]}" for digits in REGION_DIGITS if len(region) >= digits}


def index_entities(session: Session, entities: Sequence[tuple[str, str, str]]) -> None:
    """Enter (id, name, region) of new entities into the index."""
    if not entities:
        return
    rows = [{"entity": i, "grams": sorted(name_words(name) | region_words(region))} for i, name, region in entities]
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        rows = [{**row, "grams": " ".join(row["grams"])} for row in rows]
        connection.execute(text("INSERT INTO entity_search (grams, entity) VALUES (:grams, :entity)"), rows)
    else:
        insert = "INSERT INTO entity_search (entity, grams) VALUES (:entity, array_to_tsvector(CAST(:grams AS text[])))"
        connection.execute(text(insert), rows)


def unindex_entity(session: Session, entity_id: str, name: str, region: str) -> None:
    """Take an entity out of the index; `name` and `region` are those it was entered with."""
    words = sorted(name_words(name) | region_words(region))
    found = f"SELECT rowid FROM entity_search WHERE {_matches(session)} AND entity = :entity"  # noqa: S608 - fixed texts
    values = {"match": _question(session, words), "entity": entity_id}
    session.connection().execute(text(f"DELETE FROM entity_search WHERE rowid IN ({found})"), values)  # noqa: S608


def find_by_name(
    session: Session, fragment: str, *, region: str = "", after: int = 0, limit: int = 50
) -> list[tuple[int, Entity]]:
    """Return entities whose name holds a fragment, within a region prefix.

    Args:
        session: any session.
        fragment: two characters or more; case and spaces do not count.
        region: division-code prefix; empty for everywhere.
        after: place in the index after which to go on.
        limit: most entities.

    Returns:
        (place in the index, entity), by place. The places only serve to go on.
    """
    folded = fold(fragment)
    words = sorted(name_words(folded) | ({f"r{region}"} if len(region) in REGION_DIGITS else set()))
    query = text(
        f"SELECT rowid, entity FROM entity_search WHERE {_matches(session)} AND rowid > :after "  # noqa: S608 - fixed texts
        "ORDER BY rowid LIMIT :window"
    )
    found: list[tuple[int, Entity]] = []
    window = max(limit, MIN_WINDOW)
    for _ in range(MAX_WINDOWS):
        values = {"match": _question(session, words), "after": after, "window": window}
        places = [(int(place), entity) for place, entity in session.connection().execute(query, values)]
        rows = session.execute(select(Entity).where(Entity.id.in_([entity for _, entity in places]))).scalars()
        known = {row.id: row for row in rows}
        for place, entity_id in places:
            row = known.get(entity_id)
            if row is not None and row.region.startswith(region) and folded in fold(row.name):
                found.append((place, row))
        if len(found) >= limit or len(places) < window:
            break
        after = places[-1][0]
    return found[:limit]


def _matches(session: Session) -> str:
    if session.connection().dialect.name == "sqlite":
        return "entity_search MATCH :match"
    return "grams @@ CAST(:match AS tsquery)"


def _question(session: Session, words: Sequence[str]) -> str:
    return (" AND " if session.connection().dialect.name == "sqlite" else " & ").join(words)
