"""Keeping a register: entering, finding, changing. Each change is checked, indexed and audited field by field."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, select, true
from sqlalchemy.orm import Session

from server.audit.service import changed_fields, record_event
from server.errors import Problem
from server.registers.definition import Register
from server.registers.rows import Values, check_scope, missing_references, plain, unknown_reference
from server.registers.search import Index, asked_region, check_fragment, fold, name_words, region_words
from server.runtime import Runtime
from server.web.principal import Principal, covers
from server.web.scope import in_scope, sees

INDEX = Index("register_search", "subject")
MAX_SEARCHED_CHARS = 400
"""Of each searched field so much is found by its fragments."""
ENTITY = "entity"

PlaceOf = Callable[[Session, Sequence[str]], Mapping[str, tuple[str, str]]]


@dataclass(frozen=True)
class Keeper:
    """A register with what keeping it takes beyond its definition.

    `published` is told of rows that were entered or changed, in the same transaction: (session, rt, rows, author).
    `place` looks up regions where records lie where their entity lies: entity code → (division, department).
    """

    register: Register
    published: Callable[[Session, Runtime, Sequence[Any], str], None] | None = None
    place: PlaceOf | None = None
    index: Index = field(default=INDEX)


@dataclass(frozen=True)
class Question:
    """Which records: a fragment of what is searched or a whole key, a region, exact filters. Empty asks nothing."""

    q: str = ""
    region: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)


def state_of(register: Register, row: Any) -> Values:  # noqa: ANN401 - a row of the register
    """Return the values of a row, as JSON has them."""
    return {name: plain(getattr(row, name)) for name in register.fields}


def kind_word(register: Register) -> str:
    """Return the word under which the records of one register stand in the index that several share."""
    return f"k{register.kind.replace('_', '')}"


def words_of(register: Register, row: Any) -> set[str]:  # noqa: ANN401 - a row of the register
    """Return the words under which a row stands in the index."""
    words = {kind_word(register)} | (set() if register.follows_entity else region_words(row.region))
    for name in register.searched:
        words |= name_words(str(getattr(row, name) or "")[:MAX_SEARCHED_CHARS])
    return words


def visible(register: Register, caller: Principal) -> ColumnElement[bool]:
    """Return the condition that a caller may see a row."""
    return true() if register.shared else in_scope(caller, register.model.region, register.model.department)


def find(
    session: Session, register: Register, caller: Principal, question: Question, *, after: str = "", limit: int = 50
) -> tuple[list[Any], str]:
    """Return a page of what is asked for, and where the next page begins (empty at the end).

    Raises:
        Problem: `invalid-field` for a fragment of one character or a wrong `after`; `not-found` for a region outside
            the caller's.
    """
    model = register.model
    conditions = [visible(register, caller)]
    if question.region:
        if not register.shared and not question.region.startswith(caller.region):
            raise Problem("not-found")
        conditions.append(model.region.between(question.region, question.region + "~"))
    for name, value in question.filters.items():
        if name in register.listed:
            raise Problem("invalid-field", field=name, detail="lists are not asked for by a member")
        if name in register.references:
            leads_on = register.references[name].now(session, [value])
            conditions.append(getattr(model, name) == leads_on.get(value, value))
        else:
            conditions.append(getattr(model, name) == value)
    key = getattr(model, register.key)
    if question.q:
        whole = session.execute(select(model).where(key == question.q, *conditions)).scalars().all()
        if whole:
            return list(whole), ""
        return _search(session, register, question, conditions, after=after, limit=limit)
    query = select(model).where(model.id > after, *conditions).order_by(model.id).limit(limit)
    found = list(session.execute(query).scalars())
    return found, found[-1].id if len(found) == limit else ""


def _search(
    session: Session, register: Register, question: Question, conditions: list[ColumnElement[bool]], *, after: str,
    limit: int,
) -> tuple[list[Any], str]:  # fmt: skip
    check_fragment(question.q)
    if not (after or "0").isascii() or not (after or "0").isdigit() or len(after) > 18:
        raise Problem("invalid-field", field="after", detail="not a place that a page has given")
    folded, model = fold(question.q), register.model

    def look_up(ids: Sequence[str]) -> dict[str, Any]:
        rows = session.execute(select(model).where(model.id.in_(ids), *conditions)).scalars()
        return {row.id: row for row in rows if _holds(register, row, folded)}

    words = name_words(folded) | {kind_word(register)}
    if not register.follows_entity:  # those move with their entity, and stand under no region
        words |= asked_region(question.region)
    hits = INDEX.find(session, words, look_up, after=int(after or 0), limit=limit)
    return [row for _, row in hits], str(hits[-1][0]) if len(hits) == limit else ""


def _holds(register: Register, row: Any, folded: str) -> bool:  # noqa: ANN401 - a row of the register
    return any(folded in fold(str(getattr(row, name) or "")[:MAX_SEARCHED_CHARS]) for name in register.searched)


def get(session: Session, register: Register, caller: Principal, record: str, *, lock: bool = False) -> Any:  # noqa: ANN401 - a row of the register
    """Return one record in the caller's scope; with `lock` nobody else changes it until the transaction ends.

    Raises:
        Problem: `not-found`.
    """
    row = session.get(register.model, record, with_for_update=lock, populate_existing=lock)
    if row is None or not (register.shared or sees(caller, row.region, row.department)):
        raise Problem("not-found", detail=f"no {register.en} with this id")
    return row


def by_key(session: Session, register: Register, keys: Sequence[str]) -> dict[str, Any]:
    """Return records by their keys; at most as many as one IN list may hold."""
    column = getattr(register.model, register.key)
    rows = session.execute(select(register.model).where(column.in_(keys))).scalars()
    return {getattr(row, register.key): row for row in rows}


def place_values(session: Session, keeper: Keeper, rows: Sequence[Values]) -> dict[int, tuple[str, str]]:
    """Check references, follow those that lead on, and give each row the region of its entity where it lies there.

    Returns:
        By number of the row what refers to nothing: field and value.
    """
    wrong = missing_references(session, keeper.register, rows)
    for name, reference in keeper.register.references.items():
        leads_on = reference.now(session, {row[name] for row in rows if row.get(name)})
        for row in rows:
            if row.get(name) in leads_on:
                row[name] = leads_on[row[name]]
    if keeper.place is not None:
        places = keeper.place(session, [row[ENTITY] for number, row in enumerate(rows) if number not in wrong])
        for number, row in enumerate(rows):
            if number not in wrong:
                row["region"] = places[row[ENTITY]][0]
                row.setdefault("department", "")
    return wrong


def enter(
    session: Session, rt: Runtime, keeper: Keeper, rows: Sequence[Values], *, author: str, reason: str
) -> list[Any]:
    """Enter new records, whose values were checked, with their places in the index and their first audit events.

    Raises:
        sqlalchemy.exc.IntegrityError: a key is taken.
    """
    register, now = keeper.register, rt.now()
    stamps = {
        name: value for name, value in (("created_at", now), ("changed_at", now)) if hasattr(register.model, name)
    }
    made = [register.model(id=rt.new_id(), revision=1, **stamps, **row) for row in rows]
    session.add_all(made)
    session.flush()
    keeper.index.add(session, [(row.id, words_of(register, row)) for row in made])
    for row in made:
        said = {name: value for name, value in state_of(register, row).items() if value not in (None, "", [])}
        fields = changed_fields({}, said, personal=register.personal)
        _record(session, rt, register, row, author, "enter", reason, fields)
    if keeper.published:
        keeper.published(session, rt, made, author)
    return made


def change(
    session: Session, rt: Runtime, keeper: Keeper, row: Any, values: Mapping[str, Any], *, author: str, reason: str,  # noqa: ANN401 - a row of the register
    revision: int | None = None,
) -> bool:  # fmt: skip
    """Change a record by checked values; returns whether anything changed.

    Raises:
        Problem: `conflict` where `revision` is not the one that stands: somebody has changed the record since;
            `invalid-field` where a rule between fields would be broken.
    """
    register = keeper.register
    if revision is not None and revision != row.revision:
        raise Problem(
            "conflict", field="revision", detail="the record was changed since you looked", revision=row.revision
        )
    before = state_of(register, row)
    after = {name: plain(value) for name, value in values.items() if name not in register.fixed}
    fields = changed_fields(before, after, personal=register.personal)
    if not fields:
        return False
    if found := register.loader.fault({**{name: getattr(row, name) for name in register.fields}, **values}):
        raise Problem("invalid-field", field=found[0], detail=found[1])
    keeper.index.remove(session, row.id, words_of(register, row))
    for name in fields:
        setattr(row, name, values[name])
    row.revision += 1
    if hasattr(row, "changed_at"):
        row.changed_at = rt.now()
    session.flush()
    keeper.index.add(session, [(row.id, words_of(register, row))])
    _record(session, rt, register, row, author, "change", reason, fields)
    if keeper.published:
        keeper.published(session, rt, [row], author)
    return True


def checked(session: Session, keeper: Keeper, caller: Principal, values: Values) -> Values:
    """Check one row's references and scope; returns its values with the place they belong to.

    Raises:
        Problem: `invalid-field` naming the field, and the value that refers to nothing.
    """
    wrong = place_values(session, keeper, [values])
    if wrong:
        raise unknown_reference(keeper.register, *wrong[0])
    check_scope(caller, values)
    return values


def may_change(caller: Principal, row: Any) -> None:  # noqa: ANN401 - a row of any register
    """Let a record be changed only from the scope it lies in; everybody may read a shared one.

    Raises:
        Problem: `forbidden`.
    """
    if not covers(caller, row.region, row.department):
        raise Problem("forbidden", detail="this record is kept by another region or department")


def _record(
    session: Session, rt: Runtime, register: Register, row: Any, author: str, verb: str, reason: str,  # noqa: ANN401 - a row of the register
    fields: Mapping[str, Any],
) -> None:  # fmt: skip
    detail = {"reason": reason, "fields": dict(fields)}
    record_event(
        session, rt, author, f"{register.kind}.{verb}", register.kind, row.id, detail,
        region=row.region, department=row.department,
    )  # fmt: skip


def reveal(session: Session, rt: Runtime, register: Register, row: Any, *, author: str, reason: str) -> Values:  # noqa: ANN401 - a row of the register
    """Return the personal values of a record unmasked; who looked and why stands in the trail."""
    detail = {"reason": reason, "revealed": sorted(register.personal)}
    record_event(
        session, rt, author, f"{register.kind}.reveal", register.kind, row.id, detail,
        region=row.region, department=row.department,
    )  # fmt: skip
    return {name: plain(getattr(row, name)) for name in sorted(register.personal)}
