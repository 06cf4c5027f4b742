"""Whether an officer may act: a certificate valid then, covering the sector, and nobody to keep away from. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import combinations

from schemas import field_rules
from server.officers.models import Officer

Avoidances = Mapping[str, frozenset[str]]
"""By officer id: the ids of the entities and officers that the officer must keep away from."""


def certificate_fault(officer: Officer, at: datetime, sector: str) -> str | None:
    """Return why a certificate does not cover an instant and a sector (empty: any), or None."""
    return field_rules.certificate_fault(
        officer.certificate_valid_from, officer.certificate_valid_until, officer.scope or (), at, sector
    )


def avoided(officers: Iterable[str], entity: str, avoidances: Avoidances) -> tuple[str, str] | None:
    """Return the first officer of a team who must keep away from the entity or a colleague, and from whom; or None."""
    team = list(officers)
    for officer in team:
        if entity in avoidances.get(officer, ()):
            return officer, entity
    for one, other in combinations(team, 2):
        if other in avoidances.get(one, ()) or one in avoidances.get(other, ()):
            return one, other
    return None
