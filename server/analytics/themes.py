"""Theme views: what each of the nine sectors has in every register, with sums that come out exactly at the base.

A record that has no sector, or one outside the table, is counted as unclassified. Only officers can belong to several
sectors: a certificate without a scope covers all sectors of its department. How often a record is counted beyond once
stands beside the sums as `overlap`, so that for every register: total = sum of the sectors + unclassified - overlap.
The total is counted on its own, without looking at sectors.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, true
from sqlalchemy.orm import Session

from schemas.codes import code_table
from server.behaviors.models import Behavior
from server.complaints.models import Complaint
from server.credit.models import CreditRecord
from server.directory.lifecycle import PUBLISHED
from server.directory.models import SupervisionItem
from server.entities.models import Entity
from server.entities.service import MERGED
from server.errors import Problem
from server.knowledge.models import Knowledge
from server.leads.models import Lead
from server.officers.models import Officer
from server.platforms.models import KeySubject
from server.web.principal import Principal
from server.web.scope import in_region, in_scope

UNCLASSIFIED = "unclassified"
CITY_DIGITS = 4
Group = tuple[tuple[str, ...], str, int]
"""Sectors, division prefix of a city (empty: none), and how many records."""


@dataclass
class Theme:
    """What one register has, by sector."""

    register: str
    total: int
    sectors: dict[str, int]
    unclassified: int = 0
    overlap: int = 0
    cities: dict[str, Counter[str]] = field(default_factory=dict)
    """By sector (and `unclassified`): how many in which city."""

    @property
    def reconciled(self) -> bool:
        """Whether the sums come out at the base."""
        return self.total == sum(self.sectors.values()) + self.unclassified - self.overlap


def sectors() -> tuple[str, ...]:
    """Return the sectors in the order of their table."""
    return tuple(code_table("sector").current.entries)


def themes(session: Session, caller: Principal) -> list[Theme]:
    """Return every register's theme view of what the caller may see; all counts are of one moment."""
    return [_theme(session, name, base, groups, caller) for name, (base, groups) in REGISTERS.items()]


def theme(session: Session, caller: Principal, sector: str) -> list[dict[str, Any]]:
    """Return what one sector has in every register, in all and by city.

    Raises:
        Problem: `not-found` for what is neither a sector nor `unclassified`.
    """
    if sector not in (*sectors(), UNCLASSIFIED):
        raise Problem("not-found", field="sector", detail=f"the sectors are {', '.join(sectors())} and {UNCLASSIFIED}")
    found = []
    for one in themes(session, caller):
        count = one.unclassified if sector == UNCLASSIFIED else one.sectors[sector]
        cities = one.cities.get(sector, Counter())
        found.append({"register": one.register, "count": count, "cities": dict(sorted(cities.items()))})
    return found


def _theme(session: Session, name: str, base: "Base", groups: "Groups", caller: Principal) -> Theme:
    total = session.execute(select(func.count()).select_from(base.model).where(*base.where(caller))).scalar_one()
    made = Theme(name, total, dict.fromkeys(sectors(), 0))
    for belongs, city, count in groups(session, base, caller):
        known = [sector for sector in belongs if sector in made.sectors]
        for sector in known:
            made.sectors[sector] += count
        made.overlap += count * max(len(known) - 1, 0)
        if not known:
            made.unclassified += count
        for sector in known or (UNCLASSIFIED,):
            made.cities.setdefault(sector, Counter())[city] += count
    return made


@dataclass(frozen=True)
class Base:
    """The records of a register that are counted: a table, and which of its rows the caller may see."""

    model: type[Any]
    where: Callable[[Principal], tuple[ColumnElement[bool], ...]]


Groups = Callable[[Session, Base, Principal], Iterable[Group]]


def _city(region: Any) -> ColumnElement[str]:  # noqa: ANN401 - a mapped column
    return func.substr(region, 1, CITY_DIGITS)


def _by_own_sector(session: Session, base: Base, caller: Principal) -> Iterator[Group]:
    """Rows that say their sector themselves."""
    model, city = base.model, _city(base.model.region)
    query = select(model.sector, city, func.count()).where(*base.where(caller)).group_by(model.sector, city)
    return _read(session, query)


def _items(session: Session, base: Base, caller: Principal) -> Iterator[Group]:
    """Items are the whole province's: they lie in no city."""
    sector = SupervisionItem.sector
    for value, count in session.execute(select(sector, func.count()).where(*base.where(caller)).group_by(sector)):
        yield (value,), "", count


def _through_entity(link: Any) -> Groups:  # noqa: ANN401 - a condition between two tables
    """Rows that have the sector of the entity they are about; none where the entity is unknown."""

    def groups(session: Session, base: Base, caller: Principal) -> Iterator[Group]:
        sector, city = func.coalesce(Entity.sector, ""), _city(base.model.region)
        query = select(sector, city, func.count()).select_from(base.model).outerjoin(Entity, link)
        return _read(session, query.where(*base.where(caller)).group_by(sector, city))

    return groups


def _read(session: Session, query: Select[str, str, int]) -> Iterator[Group]:
    for sector, city, count in session.execute(query):
        yield (sector or "",), city, count


def _officers(session: Session, base: Base, caller: Principal) -> Iterator[Group]:
    """An officer belongs to the sectors of the certificate, else to those that the department has items of."""
    published = select(SupervisionItem.department, SupervisionItem.sector).where(SupervisionItem.status == PUBLISHED)
    duties: dict[str, set[str]] = {}
    for department, sector in session.execute(published.distinct()):
        duties.setdefault(department, set()).add(sector)
    city, groups = _city(Officer.region), Counter[Group]()
    query = select(Officer.department, Officer.scope, city).where(*base.where(caller))
    for department, scope, where in session.execute(query):
        belongs = tuple(sorted(set(scope) or duties.get(department, set())))
        groups[(belongs, where, 1)] += 1
    for (belongs, where, _), count in groups.items():
        yield belongs, where, count


def _scoped(model: type[Any], *conditions: Any) -> Base:  # noqa: ANN401 - conditions of a query
    return Base(model, lambda caller: (*conditions, in_scope(caller, model.region, model.department)))


REGISTERS: dict[str, tuple[Base, Groups]] = {
    "items": (Base(SupervisionItem, lambda _: (SupervisionItem.status == PUBLISHED,)), _items),
    "entities": (
        Base(Entity, lambda caller: (Entity.status != MERGED, in_region(caller, Entity.region))), _by_own_sector,
    ),
    "officers": (_scoped(Officer), _officers),
    "behaviors": (_scoped(Behavior, Behavior.status == "current"), _through_entity(Entity.id == Behavior.entity)),
    "complaints": (_scoped(Complaint), _by_own_sector),
    "leads": (_scoped(Lead), _through_entity(Entity.id == Lead.entity_id)),
    "credit-records": (_scoped(CreditRecord), _through_entity(Entity.uscc == CreditRecord.entity)),
    "key-subjects": (_scoped(KeySubject), _by_own_sector),
    "knowledge": (Base(Knowledge, lambda _: (true(),)), _by_own_sector),
}  # fmt: skip
"""What is counted, in the order in which it is shown. Merged entities count where they went."""
