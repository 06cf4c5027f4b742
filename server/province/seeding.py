"""Filling a platform with the sample province. Safe to repeat: what is there already stays as it is."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.divisions import PROVINCE
from server.audit.service import SYSTEM
from server.clock import CHINA
from server.complaints.register import KEEPER as COMPLAINTS
from server.credit.register import KEEPER as CREDIT
from server.db.engine import IN_LIST_LIMIT
from server.directory.models import Checklist, SupervisionItem
from server.directory.service import add_checklist, add_item
from server.entities.importing import by_place
from server.entities.models import Entity
from server.entities.service import DEFAULTS, ENTERED, enter_rows
from server.errors import Problem
from server.knowledge.register import KEEPER as KNOWLEDGE
from server.officers.models import Officer
from server.officers.service import add_officers
from server.plans.models import DrawPlan
from server.plans.service import PlanDraft, create_plan
from server.platforms.register import KEEPER as PLATFORMS
from server.province import generate, records
from server.registers.rows import Values
from server.registers.service import Keeper, by_key, enter
from server.runtime import Runtime
from server.web.principal import Principal

AROUND = {keeper.register.name: keeper for keeper in (COMPLAINTS, CREDIT, PLATFORMS)}
"""The registers of what is known about entities."""


def seed_province(rt: Runtime, entities: int, seed: int, progress: Callable[[str, int], None]) -> dict[str, int]:
    """Enter items, checklists, officers, plans, entities and what is known about them, of the sample province.

    Args:
        rt: the runtime.
        entities: how many entities, up to a million.
        seed: the same seed gives the same province.
        progress: called with the name of a list and how many of its rows were entered.

    Returns:
        How many rows of each list were entered.

    Raises:
        Problem: `limit-exceeded` for too many entities; `conflict` when another province holds the same codes.
    """
    if entities > generate.MAX_ENTITIES:
        raise Problem("limit-exceeded", field="entities", detail="too many", limit=generate.MAX_ENTITIES)
    counts = dict.fromkeys(("knowledge", "items", "checklists", "officers", "plans", "entities", *AROUND), 0)

    def count(name: str, rows: int) -> None:
        counts[name] += rows
        progress(name, rows)

    with rt.db.write() as session:
        count("knowledge", _enter(session, rt, KNOWLEDGE, list(records.knowledge())))
    with rt.db.write() as session:
        directory = list(generate.directory(seed))
        known = _known(session, SupervisionItem, [item["id"] for item, _ in directory])
        for item, checklists in directory:
            if item["id"] not in known:
                add_item(session, rt, SupervisionItem(**item), author=SYSTEM)
                for checklist in checklists:
                    add_checklist(session, rt, Checklist(**checklist), author=SYSTEM)
        fresh_lists = sum(len(checklists) for item, checklists in directory if item["id"] not in known)
        count("items", len(directory) - len(known))
        count("checklists", fresh_lists)
    with rt.db.write() as session:
        staff = list(generate.officers(seed))
        fresh = _fresh(session, Officer, staff)
        add_officers(session, rt, [Officer(**row) for row in fresh], author=SYSTEM)
        count("officers", len(fresh))
    with rt.db.write() as session:
        count("plans", _propose_plans(session, rt, [item for item, checklists in directory if checklists]))
    for chunk in by_place(generate.entities(entities, seed), key=lambda row: (row["region"], row["uscc"])):
        with rt.db.write() as session:
            fresh = _fresh(session, Entity, chunk)
            enter_rows(session, rt, [DEFAULTS | row for row in fresh], author=SYSTEM)
            told: dict[str, list[Values]] = {name: [] for name in AROUND}
            for name, row in records.about(chunk):
                told[name].append(row)
            entered = {name: _enter(session, rt, AROUND[name], rows) for name, rows in told.items()}
        for name, rows in {"entities": len(fresh), **entered}.items():
            count(name, rows)
    return counts


def _propose_plans(session: Session, rt: Runtime, items: list[dict[str, Any]]) -> int:
    """Propose a plan of double-random inspection for this year and each inspection item without one; returns how many.

    They stay proposals: a plan is approved by a person.
    """
    year = rt.now().astimezone(CHINA).year
    numbers = {f"样计〔{year}〕{place}号": item for place, item in enumerate(items, start=1)}
    known = set(session.execute(select(DrawPlan.number).where(DrawPlan.number.in_(numbers))).scalars())
    caller = Principal(SYSTEM, "admin", "", "")
    for number, item in numbers.items():
        if number not in known:
            title = f"{year}年度{item['name']}双随机抽查计划"
            create_plan(session, rt, caller, PlanDraft(number, title, year, None, PROVINCE, item["code"]))
    return len(numbers) - len(known)


def _enter(session: Session, rt: Runtime, keeper: Keeper, rows: list[Values]) -> int:
    """Enter the records of a register that are not there yet; returns how many."""
    known: set[str] = set()
    for start in range(0, len(rows), IN_LIST_LIMIT):
        keys = [row[keeper.register.key] for row in rows[start : start + IN_LIST_LIMIT]]
        known |= by_key(session, keeper.register, keys).keys()
    fresh = [row for row in rows if row[keeper.register.key] not in known]
    enter(session, rt, keeper, fresh, author=SYSTEM, reason=ENTERED)
    return len(fresh)


def _fresh(session: Session, model: type[Any], rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    known = _known(session, model, [row["id"] for row in rows])
    return [row for row in rows if row["id"] not in known]


def _known(session: Session, model: type[Any], ids: list[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(ids), IN_LIST_LIMIT):
        query = select(model.id).where(model.id.in_(ids[start : start + IN_LIST_LIMIT]))
        found |= set(session.execute(query).scalars())
    return found
