"""Drawing from the registers: the rosters as they stand, the announcement, and the published file."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.clock import CHINA
from server.directory.models import Checklist, SupervisionItem
from server.entities.models import Entity
from server.errors import Problem
from server.inspections.draw import MAX_TICKETS, MIN_OFFICERS, Candidate, Inspector, Rules, Stratum, check_rules
from server.inspections.draw_file import (
    SECRET_BYTES,
    Reveal,
    Roster,
    announce,
    carry_out,
    commitment,
    entity_roster,
    make_seed,
    officer_roster,
    write_file,
)
from server.inspections.frequency import visits_in_year
from server.inspections.models import Task
from server.officers.models import Officer, OfficerAvoidance
from server.records.models import RecordAssignee
from server.runtime import Runtime
from server.web.principal import region_prefix

GRADES = ("A", "B", "C", "D")
STRATA = (
    Stratum("一般 ordinary", ("A", "B"), GRADES, per_mille=5, minimum=1),
    Stratum("较高 raised", ("C",), GRADES, per_mille=30, minimum=1),
    Stratum("高 high", ("D",), GRADES, per_mille=100, minimum=1),
)
"""Rates by risk grade, where a plan does not say otherwise."""
TICKETS = {"A": 1, "B": 2, "C": 4, "D": MAX_TICKETS}
"""Tickets by credit grade, where a plan does not say otherwise: the worse the credit, the likelier the visit."""
VISITS_CAP = 2
"""Inspections of one entity a year, from which on it is left out."""
CAPACITY = 40
"""Tasks that one officer takes on in one batch."""
PERIOD_DAYS = 60
FETCH_ROWS = 10_000


@dataclass(frozen=True)
class DrawOrder:
    """What to draw: by which rules, from the entities of which place, and for which item."""

    rules: Rules
    region: str
    """Division code; 420000 for the whole province."""
    item: str = ""
    """Id of the supervision item; empty: the sector's first by code."""
    capacity: int = CAPACITY
    """Tasks that one officer may have at most."""

    @classmethod
    def from_today(cls, rt: Runtime, sector: str, region: str) -> "DrawOrder":
        """Return an order by the usual rules for the coming weeks."""
        today = rt.now().astimezone(CHINA).date()
        rules = Rules(
            strata=STRATA, tickets=TICKETS, visits_cap=VISITS_CAP, officers=MIN_OFFICERS, load_slack=1, sector=sector,
            visits_from=today.isoformat(), visits_until=(today + timedelta(days=PERIOD_DAYS)).isoformat(),
        )  # fmt: skip
        return cls(rules, region)


@dataclass(frozen=True)
class Basis:
    """All that a draw needs from the registers, of one moment."""

    item: SupervisionItem
    checklist: Checklist
    entities: Roster
    officers: Roster

    def plan(self, order: DrawOrder) -> dict[str, Any]:
        """What is inspected, as the announcement says it."""
        return {
            "number": f"{order.rules.visits_from.replace('-', '')}-{order.rules.sector}-{order.region}",
            "sector": order.rules.sector, "region": order.region, "item_code": self.item.code, "item": self.item.name,
            "checklist_code": self.checklist.code, "checklist_version": self.checklist.version,
            "department": self.item.department,
        }  # fmt: skip


def gather(session: Session, order: DrawOrder) -> Basis:
    """Take both rosters from the registers.

    Args:
        session: a read session: both rosters are of one moment.
        order: what to draw.

    Raises:
        Problem: `not-found` when there is no checklist for the sector; `invalid-field` for rules that cannot be used.
    """
    if reason := check_rules(order.rules):
        raise Problem("invalid-field", field="rules", detail=reason)
    item, checklist = item_for(session, order.rules.sector, order.item)
    entities = entity_roster(candidates(session, order))
    return Basis(item, checklist, entities, officer_roster(inspectors(session, item.department, order.capacity)))


def draw_to_file(session: Session, rt: Runtime, order: DrawOrder, secret: str, out: Path) -> dict[str, Any]:
    """Draw entities and officers from the registers and write the published file.

    Args:
        session: a read session.
        rt: the runtime.
        order: what to draw.
        secret: what the announcement commits to, hexadecimal.
        out: the file; it appears whole or not at all.

    Returns:
        The figures of the draw.

    Raises:
        Problem: as :func:`gather` says.
    """
    basis = gather(session, order)
    announcement = announce(
        basis.plan(order), order.rules, basis.entities, basis.officers,
        committed=commitment(secret), beacon=None, announced_at=rt.now().isoformat(),
    )  # fmt: skip
    result = carry_out(order.rules, make_seed(secret, ""), basis.entities, basis.officers)
    partial = out.with_name(f".{out.name}.partial")
    reveal = Reveal(secret, "", rt.now().isoformat())
    try:
        with partial.open("wb") as stream:
            summary = write_file(stream, announcement, basis.entities, basis.officers, reveal, result)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return {"entities": basis.entities.count, "officers": basis.officers.count, **summary}


def secret_from_number(number: int) -> str:
    """Return the secret that a number stands for, so that a draw can be made again by whoever knows the number."""
    return hashlib.sha256(f"fieldproof-draw-secret-v1\n{number}".encode()).hexdigest()


def fresh_secret(rt: Runtime) -> str:
    """Return a secret that nobody can guess."""
    return rt.random_bytes(SECRET_BYTES).hex()


def item_for(session: Session, sector: str, item: str = "") -> tuple[SupervisionItem, Checklist]:
    """Return an item, or the sector's first by code, with its checklist in force.

    Raises:
        Problem: `not-found`: without a published list there is no inspection.
    """
    query = (
        select(SupervisionItem, Checklist)
        .join(Checklist, Checklist.item == SupervisionItem.id)
        .where(SupervisionItem.sector == sector, Checklist.status == "published")
        .order_by(SupervisionItem.code, Checklist.version.desc())
        .limit(1)
    )
    if item:
        query = query.where(SupervisionItem.id == item)
    found = session.execute(query).first()
    if found is None:
        detail = f"no checklist for the sector {sector!r}: enter one, or try `fieldproof seed --entities 1000`"
        raise Problem("not-found", field="sector", detail=detail)
    return found[0], found[1]


def candidates(session: Session, order: DrawOrder) -> Iterator[Candidate]:
    """Return the entity roster: every entity of sector and place, in order of id, closed and merged ones with why."""
    visits = visits_in_year(session, int(order.rules.visits_from[:4]))
    query = (
        select(Entity.id, Entity.region, Entity.risk, Entity.credit, Entity.status)
        .where(Entity.sector == order.rules.sector)
        .where(Entity.region.startswith(region_prefix(order.region), autoescape=True))
        .order_by(Entity.id)
        .execution_options(yield_per=FETCH_ROWS)
    )
    for entity, region, risk, credit, status in session.execute(query):
        reason = "" if status == "active" else str(status)
        yield Candidate((entity, region, risk, credit, visits.get(entity, 0), reason))


def _loads(session: Session, department: str) -> dict[str, int]:
    """How many tasks each officer of a department has to do."""
    query = (
        select(RecordAssignee.officer, func.count())
        .join(Task, (Task.id == RecordAssignee.id) & (RecordAssignee.kind == "task"))
        .where(Task.department == department, Task.status != "done")
        .group_by(RecordAssignee.officer)
    )
    return {str(officer): int(count) for officer, count in session.execute(query)}


def inspectors(session: Session, department: str, capacity: int = CAPACITY) -> Iterable[Inspector]:
    """Return the officer roster of a department, in order of id, with the work and the avoidances of each."""
    avoids: dict[str, set[str]] = {}
    loads = _loads(session, department)
    for officer, other in session.execute(select(OfficerAvoidance.officer, OfficerAvoidance.other)):
        avoids.setdefault(officer, set()).add(other)
    rows = session.execute(select(Officer).where(Officer.department == department).order_by(Officer.id)).scalars()
    return [
        Inspector(
            id=one.id, region=region_prefix(one.region),
            valid_from=one.certificate_valid_from.date().isoformat(),
            valid_until=one.certificate_valid_until.date().isoformat(),
            scope=frozenset(one.scope), load=loads.get(one.id, 0), capacity=capacity,
            avoids=frozenset(avoids.get(one.id, ())),
        )
        for one in rows
    ]  # fmt: skip
