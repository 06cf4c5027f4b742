"""Keeping regulated entities: entering, changing, grading, finding. Each change is published and audited."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, select
from sqlalchemy.orm import Session

from schemas.codes import code_table
from schemas.identifiers import check_uscc
from server.audit.service import changed_fields, record_entries, record_event
from server.db.engine import IN_LIST_LIMIT
from server.db.many_rows import insert_rows
from server.entities.models import Entity, EntityGrade
from server.entities.search import find_by_name, index_entities, unindex_entity
from server.errors import Problem
from server.records.bulk import NewRecord, publish_new
from server.records.lines import Placement
from server.records.placing import Move, move_records
from server.records.service import OfficeChange, office_write_many
from server.registers.models import OfEntity
from server.registers.search import check_fragment
from server.runtime import Runtime
from server.web.principal import Principal, require_scope

COLUMNS = tuple(column.name for column in Entity.__table__.columns)
ENTITY_TABLE = cast(Table, Entity.__table__)
DEFAULTS: dict[str, Any] = {
    column.name: column.default.arg if column.default is not None else None  # type: ignore[attr-defined]  # plain values
    for column in ENTITY_TABLE.columns
}
"""What a row says that does not say otherwise."""
Row = Mapping[str, Any]
GRADES = {"risk": "risk_grade", "credit": "credit_grade"}
POSITION = ("lat", "lon", "datum")
CHANGEABLE = (
    "name", "registered_address", "operating_address", "sector", "entity_type", "region", *POSITION, "status", *GRADES,
)  # fmt: skip
MERGED = "merged"
ENTERED = "初始录入 / entered with the platform"


def add_entities(session: Session, rt: Runtime, entities: list[Entity], *, author: str, reason: str = ENTERED) -> None:
    """Enter new entities, index them, and publish them to the handhelds of their region.

    Raises:
        Problem: `invalid-field` for a wrong unified social credit code.
    """
    rows = []
    for entity in entities:
        if fault := check_uscc(entity.uscc):
            raise Problem("invalid-field", field="uscc", detail=fault)
        said = {name: getattr(entity, name) for name in COLUMNS}
        rows.append(DEFAULTS | {name: value for name, value in said.items() if value is not None})
    enter_rows(session, rt, rows, author=author, reason=reason)


def enter_rows(session: Session, rt: Runtime, rows: Sequence[Row], *, author: str, reason: str = ENTERED) -> None:
    """Enter new entities given as rows whose values were checked; each says all of :data:`COLUMNS`.

    No object is made for a row: an import has a million of them.
    """
    insert_rows(session, ENTITY_TABLE, rows)
    index_entities(session, [(row["id"], row["name"], row["region"]) for row in rows])
    publish_new(
        session, rt, "entity", [NewRecord(row["id"], _shared(row), row["region"]) for row in rows], author=author
    )
    record_entries(session, rt, author, "entity", [(row["id"], row["region"], "") for row in rows], reason)


def _shared(row: Row) -> dict[str, object]:
    """What handhelds are told of an entity, in the order of the names."""
    return {
        "name": row["name"],
        "nature": row["nature"],
        "operating_address": row["operating_address"],
        "position": {"lat": row["lat"], "lon": row["lon"], "datum": row["datum"]},
        "region": row["region"],
        "registered_address": row["registered_address"],
        "status": "active" if row["status"] == "active" else "closed",
        "uscc": row["uscc"],
    }


def get_entity(session: Session, entity_id: str, *, lock: bool = False) -> Entity:
    """Return one entity; with `lock` nobody else changes it until the transaction ends.

    Raises:
        Problem: `not-found`.
    """
    entity = session.get(Entity, entity_id, with_for_update=lock, populate_existing=lock)
    if entity is None:
        raise Problem("not-found", detail="no entity with this id")
    return entity


def names_of(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """Return the names of entities by id; unknown ids are left out."""
    wanted, found = sorted(set(ids)), dict[str, str]()
    for start in range(0, len(wanted), IN_LIST_LIMIT):
        query = select(Entity.id, Entity.name).where(Entity.id.in_(wanted[start : start + IN_LIST_LIMIT]))
        found |= {row.id: row.name for row in session.execute(query)}
    return found


def list_entities(session: Session, *, region: str, after: str = "", limit: int = 50) -> list[Entity]:
    """Return entities of a region prefix, in order of id."""
    query = (
        select(Entity)
        .where(Entity.region.startswith(region, autoescape=True), Entity.id > after)
        .order_by(Entity.id)
        .limit(limit)
    )
    return list(session.execute(query).scalars())


def entities_by_uscc(session: Session, codes: Sequence[str]) -> dict[str, Entity]:
    """Return the entities that have these codes, by code."""
    found: dict[str, Entity] = {}
    for start in range(0, len(codes), IN_LIST_LIMIT):
        query = select(Entity).where(Entity.uscc.in_(codes[start : start + IN_LIST_LIMIT]))
        found |= {row.uscc: row for row in session.execute(query).scalars()}
    return found


def places_of(session: Session, codes: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return where entities lie, by code: division and, since an entity is no department's, no department."""
    return {code: (entity.region, "") for code, entity in entities_by_uscc(session, codes).items()}


@dataclass(frozen=True)
class EntityQuestion:
    """Which entities: a fragment of the name or a whole code, a place, and exact filters. Empty members ask nothing."""

    q: str = ""
    region: str = ""
    sector: str = ""
    risk: str = ""
    credit: str = ""
    status: str = ""


def find_entities(
    session: Session, caller: Principal, question: EntityQuestion, *, after: str = "", limit: int = 50
) -> tuple[list[Entity], str]:
    """Return a page of the entities asked for in the caller's region, and where the next page begins.

    Raises:
        Problem: `invalid-field` for a fragment of one character or a wrong `after`.
    """
    region = question.region or caller.region
    require_scope(caller, region, caller.department)
    exact = [(name, value) for name in ("sector", "risk", "credit", "status") if (value := getattr(question, name))]
    if question.q and check_uscc(question.q.upper()) is None:
        same = entities_by_uscc(session, [question.q.upper()]).values()
        return [one for one in same if one.region.startswith(region) and _has(one, exact)], ""
    if question.q:
        check_fragment(question.q)
        if not (after or "0").isascii() or not (after or "0").isdigit():
            raise Problem("invalid-field", field="after", detail="not a place that a page has given")
        hits = find_by_name(session, question.q, region=region, after=int(after or 0), limit=limit)
        rest = str(hits[-1][0]) if len(hits) == limit else ""
        return [one for _, one in hits if _has(one, exact)], rest
    query = select(Entity).where(_within(region), Entity.id > after)
    for name, value in exact:
        query = query.where(getattr(Entity, name) == value)
    found = list(session.execute(query.order_by(Entity.id).limit(limit)).scalars())
    return found, found[-1].id if len(found) == limit else ""


def _within(region: str) -> ColumnElement[bool]:
    """A county or township is looked up in the index of regions; a city or the province is walked through by id."""
    if len(region) >= 6:
        return Entity.region.between(region, region.ljust(9, "9"))
    return Entity.region.startswith(region, autoescape=True)


def _has(entity: Entity, exact: Sequence[tuple[str, str]]) -> bool:
    return all(getattr(entity, name) == value for name, value in exact)


def change_entity(
    session: Session, rt: Runtime, entity: Entity, changes: Mapping[str, Any], *, author: str, reason: str,
    revision: int | None = None,
) -> bool:  # fmt: skip
    """Change what :data:`CHANGEABLE` names; each field's old and new value is kept. Returns whether any changed.

    A change of region moves the entity's record to the handhelds of the new one, and with it what lies where it lies.

    Raises:
        Problem: `conflict` for an entity that was merged away, or where `revision` is not the one that stands: somebody
            has changed it since; `invalid-field` for a grade outside its table.
    """
    if revision is not None and revision != entity.revision:
        raise Problem(
            "conflict", field="revision", detail="the entity was changed since you looked", revision=entity.revision
        )
    if entity.status == MERGED:
        raise Problem("conflict", detail="this entity was merged into another", merged_into=entity.merged_into)
    known = {name: getattr(entity, name) for name in CHANGEABLE}
    differing = changed_fields(known, {name: changes[name] for name in CHANGEABLE if name in changes})
    if not differing:
        return False
    for kind in GRADES:
        if kind in differing:
            grade_entity(session, rt, entity, kind, differing.pop(kind)[1], author=author, reason=reason)
    if not differing:
        return True
    entity.revision += 1
    if {"name", "region"} & differing.keys():
        unindex_entity(session, entity.id, entity.name, entity.region)
    for name, (_, value) in differing.items():
        setattr(entity, name, value)
    if {"name", "region"} & differing.keys():
        index_entities(session, [(entity.id, entity.name, entity.region)])
    _publish_change(session, rt, entity, differing, author=author)
    if "region" in differing:
        session.flush()
        move_records(session, rt, [Move("entity", entity.id, Placement(entity.region, ""))])
        _move_followers(session, rt, entity, author=author, reason=reason)
    detail = {"reason": reason, "fields": differing}
    record_event(session, rt, author, "entity.change", "entity", entity.id, detail, region=entity.region)
    return True


def _publish_change(
    session: Session, rt: Runtime, entity: Entity, differing: Mapping[str, Any], *, author: str
) -> None:
    """Tell handhelds what they know of an entity and what has changed of that."""
    shared = _shared({name: getattr(entity, name) for name in COLUMNS})
    published = {name: shared[name] for name in differing if name in shared}
    if differing.keys() & set(POSITION):
        published["position"] = shared["position"]
    if published:
        office_write_many(session, rt, [OfficeChange("entity", entity.id, published, author)])


def _move_followers(session: Session, rt: Runtime, entity: Entity, *, author: str, reason: str) -> None:
    """Move the records of registers that lie where their entity lies."""
    for model in cast(list[Any], OfEntity.__subclasses__()):
        query = select(model).where(model.entity == entity.uscc, model.region != entity.region)
        for row in session.execute(query).scalars():
            detail = {"reason": reason, "fields": {"region": [row.region, entity.region]}}
            row.region, row.revision = entity.region, row.revision + 1
            kind = str(model.__tablename__)
            record_event(session, rt, author, f"{kind}.move", kind, row.id, detail, region=row.region)


def grade_entity(
    session: Session, rt: Runtime, entity: Entity, kind: str, grade: str, *, author: str, reason: str
) -> None:
    """Give an entity a risk or credit grade; the history keeps every grade with its reason.

    Raises:
        Problem: `invalid-field` for a grade outside its table.
    """
    if kind not in GRADES or code_table(GRADES[kind]).find(grade) is None:
        raise Problem("invalid-field", field="grade", detail=f"not in the code table {GRADES.get(kind, kind)}")
    before = getattr(entity, kind)
    session.add(
        EntityGrade(
            id=rt.new_id(), entity=entity.id, kind=kind, before=before, grade=grade, reason=reason, author=author,
            at=rt.now(),
        )
    )  # fmt: skip
    setattr(entity, kind, grade)
    entity.revision += 1
    detail = {"reason": reason, "fields": {kind: [before, grade]}}
    record_event(session, rt, author, "entity.grade", "entity", entity.id, detail, region=entity.region)
