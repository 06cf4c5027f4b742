"""The double-random draw (双随机): entities and officers drawn by lot, reproducible from what is published. Pure.

Every entity of the roster holds as many tickets as its credit grade gives it. A ticket is a number that SHA-512 makes
from the seed and the entity's id; the entity's best ticket counts, and each stratum draws its quota of best tickets.
The best of n equal tickets is how weighted sampling without replacement works (Efraimidis and Spirakis, 2006, with
whole weights), and it needs whole numbers only: every machine and language comes to the same result.

Officers are drawn for each entity from those who may go: certified for the whole period and for the sector, of the
place, not avoiding the entity or one another, below their capacity. Those with the least work come first, and among
them the best ticket. `draw_file.py` has the published form; `draw_verifier.py` reproduces it on its own.
"""

import hashlib
import struct
from array import array
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from itertools import combinations

MAX_TICKETS = 8
"""Most tickets of one entity: SHA-512 makes eight of 64 bits."""
MIN_OFFICERS = 2
"""At least two officers carry out an inspection."""
MAX_STRATA = 64

CAP, NO_STRATUM, NO_TICKETS = "frequency-cap", "no-stratum", "no-tickets"
"""Why an entity is left out, beside the reasons that the roster itself gives."""
DRAWN, PASSED_OVER, EXCLUDED = "drawn", "passed-over", "excluded"


@dataclass(frozen=True)
class Stratum:
    """Entities drawn at one rate: those of these risk and credit grades."""

    name: str
    risks: tuple[str, ...]
    credits: tuple[str, ...]
    per_mille: int
    """How many of a thousand are drawn, rounded up."""
    minimum: int = 0
    """At least so many, if there are so many."""

    def quota(self, size: int) -> int:
        """Return how many of `size` entities are drawn."""
        return min(size, max(self.minimum, -(-size * self.per_mille // 1000)))


@dataclass(frozen=True)
class Rules:
    """How a batch is drawn; published before the seed is known."""

    strata: tuple[Stratum, ...]
    """An entity belongs to the first that has its grades."""
    tickets: Mapping[str, int]
    """Tickets by credit grade, 0 to 8."""
    visits_cap: int
    """An entity inspected so often this year already is left out."""
    officers: int
    """How many officers go, at least two."""
    load_slack: int
    """Officers within so many tasks of the least loaded count as equally free."""
    sector: str
    """What the officers' certificates must cover."""
    visits_from: str
    """First day of the visits, ISO; certificates must cover all days."""
    visits_until: str


class Candidate(tuple[str, str, str, str, int, str]):
    """A line of the entity roster: id, region, risk, credit, visits this year, reason to be left out (or empty)."""

    __slots__ = ()


@dataclass
class Inspector:
    """A line of the officer roster."""

    id: str
    region: str
    """Division-code prefix of where the officer may work."""
    valid_from: str
    valid_until: str
    scope: frozenset[str]
    """Sectors of the certificate; empty: all of the department's."""
    load: int
    capacity: int
    avoids: frozenset[str]
    """Ids of the entities and officers that the officer must keep away from."""


@dataclass(frozen=True)
class StratumResult:
    """What a stratum came to."""

    name: str
    size: int
    quota: int
    cut: int
    """The lowest ticket that was drawn; 0 when none was."""


@dataclass
class EntityDraw:
    """The entities' draw. The arrays run along the roster."""

    strata: list[StratumResult]
    place: "array[int]"
    """Index of the stratum; from `len(strata)` on: index of the reason for being left out."""
    best: "array[int]"
    """Best ticket; 0 for those left out."""
    drawn: list[int]
    """Places in the roster of the drawn: stratum by stratum, best ticket first."""
    reasons: list[str] = field(default_factory=list)

    def outcome(self, index: int) -> tuple[str, str]:
        """Return outcome and stratum or reason of the entity at a place of the roster."""
        place = self.place[index]
        if place >= len(self.strata):
            return EXCLUDED, self.reasons[place - len(self.strata)]
        stratum = self.strata[place]
        taken = index in self._taken
        return (DRAWN if taken else PASSED_OVER), stratum.name

    def __post_init__(self) -> None:
        """Remember the drawn for quick look-up."""
        self._taken = frozenset(self.drawn)


@dataclass(frozen=True)
class Assignment:
    """The officers drawn for one entity; none when too few may go."""

    entity: str
    officers: tuple[str, ...]
    eligible: int
    refused: Mapping[str, int]
    """How many officers of the place could not be taken, by reason."""


def tickets_of(seed: bytes, entity: str, count: int) -> int:
    """Return the best of an entity's `count` tickets (1 to 8), a number of 64 bits."""
    digest = hashlib.sha512(b"fieldproof-draw-ticket-v1\n" + seed + entity.encode()).digest()
    best: int = max(struct.unpack_from(f">{count}Q", digest))
    return best


def draw_entities(rules: Rules, seed: bytes, roster: Iterable[Candidate]) -> EntityDraw:
    """Draw from the roster, which is read once.

    Args:
        rules: the published rules.
        seed: 32 bytes.
        roster: the lines, in the order of the published roster; among equal tickets the earlier line wins.

    Returns:
        Everything about every line.
    """
    strata = rules.strata
    where = {
        (risk, credit): i for i, s in reversed(list(enumerate(strata))) for risk in s.risks for credit in s.credits
    }
    reasons: dict[str, int] = {}
    place, best = array("H"), array("Q")
    members: list[array[int]] = [array("L") for _ in strata]
    for index, (entity, _, risk, credit, visits, own_reason) in enumerate(roster):
        stratum = where.get((risk, credit))
        count = rules.tickets.get(credit, 0)
        reason = own_reason or _reason(rules, stratum, count, visits)
        if reason or stratum is None:
            place.append(len(strata) + reasons.setdefault(reason, len(reasons)))
            best.append(0)
            continue
        members[stratum].append(index)
        place.append(stratum)
        best.append(tickets_of(seed, entity, count))
    drawn: list[int] = []
    results = []
    for rule, indices in zip(strata, members, strict=True):
        quota = rule.quota(len(indices))
        taken = nsmallest(quota, indices, key=lambda index: (-best[index], index))
        results.append(StratumResult(rule.name, len(indices), quota, best[taken[-1]] if taken else 0))
        drawn += taken
    return EntityDraw(results, place, best, drawn, list(reasons))


def _reason(rules: Rules, stratum: int | None, count: int, visits: int) -> str:
    if stratum is None:
        return NO_STRATUM
    if count == 0:
        return NO_TICKETS
    return CAP if visits >= rules.visits_cap else ""


class OfficerDraw:
    """Draws officers entity by entity; the work of those drawn grows as it goes."""

    def __init__(self, rules: Rules, seed: bytes, inspectors: Sequence[Inspector]) -> None:
        """Group the officers by the region they work in."""
        self._rules, self._seed = rules, seed
        self._load = {one.id: one.load for one in inspectors}
        self._inspectors = {one.id: one for one in inspectors}
        self._by_region: dict[str, list[Inspector]] = {}
        for one in inspectors:
            self._by_region.setdefault(one.region, []).append(one)

    def draw(self, entity: str, region: str) -> Assignment:
        """Draw the officers for one entity."""
        free: list[Inspector] = []
        refused: Counter[str] = Counter()
        for one in self._of_place(region):
            reason = self.refusal(one, entity)
            if reason:
                refused[reason] += 1
            else:
                free.append(one)
        chosen = self._choose(free, entity)
        self.assign(one.id for one in chosen)
        return Assignment(entity, tuple(one.id for one in chosen), len(free), dict(sorted(refused.items())))

    def assign(self, team: Iterable[str]) -> None:
        """Count a visit that was drawn already to the officers' work."""
        for officer in team:
            self._load[officer] += 1

    def replace(self, entity: str, region: str, team: Sequence[str], unable: Collection[str]) -> tuple[str, ...]:
        """Draw again for the officers of a team who became unable: the best tickets of the same draw, of who is left.

        Args:
            entity: whom the visit is to.
            region: its place.
            team: who goes so far; those of them in `unable` lose the visit from their work.
            unable: all who cannot do this visit, whether they were drawn or not.

        Returns:
            Who stays, then who is new; the team as it was when nobody could be found.
        """
        staying = [self._inspectors[officer] for officer in team if officer not in unable]
        free = [
            one
            for one in self._of_place(region)
            if one.id not in unable and one.id not in team and not self.refusal(one, entity)
        ]
        least = min((self._load[one.id] for one in free), default=0)
        ranked = sorted(free, key=lambda one: self._order(one, entity, least))
        added = combinations(ranked, self._rules.officers - len(staying))
        found = next((new for new in added if _may_go_together([*staying, *new])), None)
        if found is None:
            return tuple(team)
        for officer in team:
            self._load[officer] -= officer in unable
        self.assign(one.id for one in found)
        return tuple(one.id for one in (*staying, *found))

    def refusal(self, one: Inspector, entity: str) -> str:
        """Return why an officer of the place may not be drawn for an entity now, or nothing."""
        rules = self._rules
        if one.valid_from > rules.visits_from or one.valid_until < rules.visits_until:
            return "certificate-expired"
        if one.scope and rules.sector not in one.scope:
            return "out-of-scope"
        if entity in one.avoids:
            return "avoidance"
        return "at-capacity" if self._load[one.id] >= one.capacity else ""

    def _of_place(self, region: str) -> Iterator[Inspector]:
        for end in range(len(region) + 1):
            yield from self._by_region.get(region[:end], ())

    def _choose(self, free: Sequence[Inspector], entity: str) -> tuple[Inspector, ...]:
        if len(free) < self._rules.officers:
            return ()
        least = min(self._load[one.id] for one in free)
        ranked = sorted(free, key=lambda one: self._order(one, entity, least))
        return next((team for team in combinations(ranked, self._rules.officers) if _may_go_together(team)), ())

    def _order(self, one: Inspector, entity: str, least: int) -> tuple[int, int, str]:
        ahead = max(0, self._load[one.id] - least - self._rules.load_slack)
        return ahead, -tickets_of(self._seed, f"{entity}\n{one.id}", 1), one.id


def _may_go_together(team: Sequence[Inspector]) -> bool:
    return not any(a.id in b.avoids or b.id in a.avoids for a, b in combinations(team, 2))


def check_rules(rules: Rules) -> str | None:
    """Return why rules cannot be used, or None."""
    names = [stratum.name for stratum in rules.strata]
    if not 0 < len(names) <= MAX_STRATA or len(set(names)) != len(names) or any(not n or "\t" in n for n in names):
        return f"strata: 1 to {MAX_STRATA}, with distinct names"
    if any(not 0 <= stratum.per_mille <= 1000 or stratum.minimum < 0 for stratum in rules.strata):
        return "strata: per_mille is 0 to 1000, minimum not negative"
    if any(not 0 <= count <= MAX_TICKETS for count in rules.tickets.values()):
        return f"tickets: 0 to {MAX_TICKETS}"
    if rules.officers < MIN_OFFICERS:
        return f"officers: at least {MIN_OFFICERS}"
    if rules.visits_cap < 1 or rules.load_slack < 0:
        return "visits_cap is at least 1, load_slack not negative"
    return "visits_until is before visits_from" if rules.visits_until < rules.visits_from else None
