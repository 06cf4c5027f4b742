"""Drawing from the registers: the rosters as they stand, the announcement, and the published file."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior
from server.directory.models import Checklist, SupervisionItem
from server.entities.models import Entity
from server.errors import Problem
from server.inspections.draw import MAX_TICKETS, MIN_OFFICERS, Candidate, Inspector, Rules, Stratum, check_rules
from server.inspections.draw_file import (
    SECRET_BYTES,
    Reveal,
    announce,
    carry_out,
    commitment,
    entity_roster,
    make_seed,
    officer_roster,
    write_file,
)
from server.officers.models import Officer, OfficerAvoidance
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
    """What to draw: the sector, within which place, and for visits on which days."""

    sector: str
    region: str
    """Division code; 420000 for the whole province."""
    visits_from: date
    visits_until: date
    strata: tuple[Stratum, ...] = STRATA
    tickets: Mapping[str, int] | None = None

    @classmethod
    def from_today(cls, rt: Runtime, sector: str, region: str) -> "DrawOrder":
        """Return an order by the usual rules for the coming weeks."""
        today = rt.now().date()
        return cls(sector, region, today, today + timedelta(days=PERIOD_DAYS))

    @property
    def rules(self) -> Rules:
        """The rules as they are published."""
        return Rules(
            strata=self.strata, tickets=dict(self.tickets or TICKETS), visits_cap=VISITS_CAP, officers=MIN_OFFICERS,
            load_slack=1, sector=self.sector, visits_from=self.visits_from.isoformat(),
            visits_until=self.visits_until.isoformat(),
        )  # fmt: skip


def draw_to_file(session: Session, rt: Runtime, order: DrawOrder, secret: str, out: Path) -> dict[str, Any]:
    """Draw entities and officers from the registers and write the published file.

    Args:
        session: a read session: both rosters are of one moment.
        rt: the runtime.
        order: what to draw.
        secret: what the announcement commits to, hexadecimal.
        out: the file; it appears whole or not at all.

    Returns:
        The figures of the draw.

    Raises:
        Problem: `not-found` when there is no checklist for the sector; `invalid-field` for rules that cannot be used.
    """
    if reason := check_rules(order.rules):
        raise Problem("invalid-field", field="rules", detail=reason)
    item, checklist = item_for(session, order.sector)
    entities = entity_roster(candidates(session, order))
    officers = officer_roster(inspectors(session, item.department))
    plan = {
        "number": f"{order.visits_from:%Y%m%d}-{order.sector}-{order.region}",
        "sector": order.sector, "region": order.region, "item_code": item.code, "item": item.name,
        "checklist_code": checklist.code, "checklist_version": checklist.version, "department": item.department,
    }  # fmt: skip
    announcement = announce(
        plan, order.rules, entities, officers,
        committed=commitment(secret), beacon=None, announced_at=rt.now().isoformat(),
    )  # fmt: skip
    result = carry_out(order.rules, make_seed(secret, ""), entities, officers)
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("wb") as stream:
            summary = write_file(
                stream, announcement, entities, officers, Reveal(secret, "", rt.now().isoformat()), result
            )
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return {"entities": entities.count, "officers": officers.count, **summary}


def secret_from_number(number: int) -> str:
    """Return the secret that a number stands for, so that a draw can be made again by whoever knows the number."""
    return hashlib.sha256(f"fieldproof-draw-secret-v1\n{number}".encode()).hexdigest()


def fresh_secret(rt: Runtime) -> str:
    """Return a secret that nobody can guess."""
    return rt.random_bytes(SECRET_BYTES).hex()


def item_for(session: Session, sector: str) -> tuple[SupervisionItem, Checklist]:
    """Return a sector's first item by code with its checklist in force.

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
    found = session.execute(query).first()
    if found is None:
        detail = f"no checklist for the sector {sector!r}: enter one, or try `fieldproof seed --entities 1000`"
        raise Problem("not-found", field="sector", detail=detail)
    return found[0], found[1]


def candidates(session: Session, order: DrawOrder) -> Iterator[Candidate]:
    """Return the entity roster: every entity of sector and place, in order of id, closed and merged ones with why."""
    visits = _visits(session, order.visits_from.year)
    query = (
        select(Entity.id, Entity.region, Entity.risk, Entity.credit, Entity.status)
        .where(Entity.sector == order.sector, Entity.region.startswith(region_prefix(order.region), autoescape=True))
        .order_by(Entity.id)
        .execution_options(yield_per=FETCH_ROWS)
    )
    for entity, region, risk, credit, status in session.execute(query):
        reason = "" if status == "active" else str(status)
        yield Candidate((entity, region, risk, credit, visits.get(entity, 0), reason))


def _visits(session: Session, year: int) -> dict[str, int]:
    """How often each entity was inspected in a year (UTC)."""
    start = _new_year(year)
    query = (
        select(Behavior.entity, func.count())
        .where(
            Behavior.kind == "inspection", Behavior.status == "current", Behavior.entity.is_not(None),
            Behavior.inspected_at >= start, Behavior.inspected_at < _new_year(year + 1),
        )
        .group_by(Behavior.entity)
    )  # fmt: skip
    return {str(entity): int(count) for entity, count in session.execute(query)}


def _new_year(year: int) -> datetime:
    return datetime(year, 1, 1, tzinfo=UTC)


def inspectors(session: Session, department: str) -> Iterable[Inspector]:
    """Return the officer roster of a department, in order of id, with whom each must keep away from."""
    avoids: dict[str, set[str]] = {}
    for officer, other in session.execute(select(OfficerAvoidance.officer, OfficerAvoidance.other)):
        avoids.setdefault(officer, set()).add(other)
    rows = session.execute(select(Officer).where(Officer.department == department).order_by(Officer.id)).scalars()
    return [
        Inspector(
            id=one.id, region=region_prefix(one.region),
            valid_from=one.certificate_valid_from.date().isoformat(),
            valid_until=one.certificate_valid_until.date().isoformat(),
            scope=frozenset(one.scope), load=0, capacity=CAPACITY, avoids=frozenset(avoids.get(one.id, ())),
        )
        for one in rows
    ]  # fmt: skip
