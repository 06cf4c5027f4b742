"""From real inspection histories to regulated entities, checklists and inspections of a Hubei platform. Pure.

The rules, all deterministic:

- A business falls on the township that a hash of its key points at (`Divisions.township_for`) and stands within
  `ENTITY_RADIUS_KM` of that township's synthetic point. Its own coordinates are never used.
- Name, address and firm code are synthetic in all cases (`naming`).
- A violation becomes an answer `fail` on the sub-item with its text; critical, major and minor keep their severity and
  any other severity becomes None. Up to `OTHER_ANSWERS` further sub-items, drawn by the inspection's key, get pass,
  not_applicable or not_checked; what has no answer was not checked.
- Days are real. The hour is drawn by hash between 09:00 and 15:59 Beijing time.
- A follow-up refers to the newest earlier inspection of the same business that found violations.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from device_sim.sample.checklists import MappedChecklist, checklists_from, form_of
from device_sim.sample.divisions import Divisions, Point, offset_point, unit_interval
from device_sim.sample.inspections import RealBusiness, RealInspection
from device_sim.sample.naming import business_address, business_key, business_name, synthetic_uscc
from device_sim.sample.results import (
    RECHECK,
    classify,
    conclusion_for,
    is_visit,
    result_for,
)
from device_sim.sample.telemetry import BEIJING_TIME

ENTITY_RADIUS_KM = 1.5
OTHER_ANSWERS = 6
CHOSEN_PER_ENTITY = 3
DATUM = "WGS-84"


@dataclass(frozen=True, slots=True)
class MappedEntity:
    """A regulated entity with synthetic identity: key, names, firm code, nine-digit region and WGS-84 point."""

    key: str
    name: str
    uscc: str
    address: str
    region: str
    point: Point

    @property
    def position(self) -> dict[str, object]:
        """The point in the wire form of a position."""
        return {"lat": self.point.latitude, "lon": self.point.longitude, "datum": DATUM}

    def fields(self) -> dict[str, object]:
        """The entity as fields of the kind `entity`."""
        return {
            "name": self.name, "nature": "2", "uscc": self.uscc, "registered_address": self.address,
            "operating_address": self.address, "region": self.region, "position": self.position, "status": "active",
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class MappedAnswer:
    """The finding on one sub-item: its number, the outcome code, a severity for failures, and a text."""

    number: str
    outcome: str
    severity: str | None
    finding: str


@dataclass(frozen=True, slots=True)
class MappedInspection:
    """One real inspection in the platform's terms. `key`: the entity's key and the ordinal; instants are aware UTC."""

    key: str
    entity: str
    checklist: str
    started_at: datetime
    ended_at: datetime
    form: str
    category: str
    result: str
    conclusion: str
    answers: tuple[MappedAnswer, ...]
    recheck_of: str | None

    @property
    def failures(self) -> tuple[MappedAnswer, ...]:
        """The answers that come from real violations."""
        return tuple(answer for answer in self.answers if answer.outcome == "fail")


@dataclass(frozen=True)
class MappedWorld:
    """Everything mapped: entities and inspections by key, checklists by key, and what was left out by reason."""

    entities: dict[str, MappedEntity]
    checklists: dict[str, MappedChecklist]
    inspections: dict[str, MappedInspection]
    left_out: Counter[str]

    def choose(self, count: int, seed: str) -> tuple[MappedInspection, ...]:
        """`count` inspections for a run, businesses in an order fixed by `seed`; all of them when there are fewer.

        At first `CHOSEN_PER_ENTITY` of each business: re-checks with what they re-check, then visits that found
        violations, then the rest. The result is in order of time within each business.
        """
        by_entity: dict[str, list[MappedInspection]] = {}
        for inspection in self.inspections.values():
            by_entity.setdefault(inspection.entity, []).append(inspection)
        entities = sorted(by_entity, key=lambda entity: unit_interval("choose", seed, entity))
        first: list[MappedInspection] = []
        later: list[MappedInspection] = []
        for entity in entities:
            rechecked = {one.recheck_of for one in by_entity[entity]}
            order = sorted(
                by_entity[entity],
                key=lambda one: (one.recheck_of is None and one.key not in rechecked, not one.failures, one.key),
            )
            first += sorted(order[:CHOSEN_PER_ENTITY], key=lambda one: one.key)
            later += sorted(order[CHOSEN_PER_ENTITY:], key=lambda one: one.key)
        return tuple((first + later)[:count])


def map_entity(key: str, divisions: Divisions, *, name: str | None = None) -> MappedEntity:
    """The entity of a business or station key. Raises `LookupError` when there is no township to place it on."""
    township = divisions.township_for(key)
    point = offset_point(township.point, ENTITY_RADIUS_KM, key)
    uscc = synthetic_uscc(key, township.county_code)
    return MappedEntity(key, name or business_name(key), uscc, business_address(key, township), township.code, point)


def map_station(station: str, divisions: Divisions) -> MappedEntity:
    """The regulated firm whose outlet a telemetry station stands for. Raises `LookupError` as `map_entity`."""
    key = business_key(f"station\n{station}")
    return map_entity(key, divisions, name=f"样例{station}排放口监测点有限公司（虚构）")


def _visit_times(key: str, inspection: RealInspection) -> tuple[datetime, datetime]:
    minutes = 9 * 60 + int(unit_interval("hour", key) * 7 * 60)
    start = datetime.combine(inspection.day, time(minutes // 60, minutes % 60), BEIJING_TIME).astimezone(UTC)
    return start, start + timedelta(minutes=30 + int(unit_interval("length", key) * 120))


def _other_answer(rng: random.Random, number: str) -> MappedAnswer:
    draw = rng.random()
    if draw < 0.8:
        return MappedAnswer(number, "pass", None, "符合要求 / complies")
    if draw < 0.9:
        return MappedAnswer(number, "not_applicable", None, "不涉及 / not applicable")
    return MappedAnswer(number, "not_checked", None, "本次未检查 / not checked this time")


def _answers(key: str, inspection: RealInspection, checklist: MappedChecklist) -> tuple[MappedAnswer, ...]:
    failed: dict[str, MappedAnswer] = {}
    for violation in inspection.violations:
        number = checklist.number_of(violation.item)
        severity = violation.severity if violation.severity in ("critical", "major", "minor") else None
        corrected = "（当场改正 / corrected on site）" if violation.status == "corrected_on_site" else ""
        failed.setdefault(number, MappedAnswer(number, "fail", severity, violation.item + corrected))
    rng = random.Random(f"answers:{key}")
    rest = [line.number for line in checklist.sub_items if line.number not in failed]
    others = rng.sample(rest, min(OTHER_ANSWERS, len(rest)))
    return (*failed.values(), *(_other_answer(rng, number) for number in others))


def _map_history(
    entity: str, history: Sequence[RealInspection], checklists: dict[str, MappedChecklist], left_out: Counter[str]
) -> list[MappedInspection]:
    mapped: list[MappedInspection] = []
    with_violations: str | None = None
    for ordinal, inspection in enumerate(history):
        key = f"{entity}:{ordinal:03d}"
        if not is_visit(inspection):
            left_out["not-a-visit"] += 1
            continue
        checklist = checklists[form_of(inspection)]
        started_at, ended_at = _visit_times(key, inspection)
        form, category = classify(inspection)
        recheck_of = with_violations if category == RECHECK else None
        result = result_for(inspection)
        mapped.append(
            MappedInspection(
                key,
                entity,
                checklist.key,
                started_at,
                ended_at,
                form,
                category,
                result,
                conclusion_for(inspection, result),
                _answers(key, inspection, checklist),
                recheck_of,
            )
        )
        if inspection.violations:
            with_violations = key
    return mapped


def map_world(businesses: Sequence[RealBusiness], stations: Sequence[str], divisions: Divisions) -> MappedWorld:
    """Map businesses and stations. Raises `LookupError` when the divisions have no township to place them on."""
    visits = [one for business in businesses for one in business.inspections if is_visit(one)]
    checklists = checklists_from(visits)
    left_out: Counter[str] = Counter()
    entities = {entity.key: entity for entity in (map_station(station, divisions) for station in stations)}
    inspections: dict[str, MappedInspection] = {}
    for business in businesses:
        key = business_key(business.source_id)
        if key in entities:
            left_out["business-twice"] += 1
            continue
        mapped = _map_history(key, business.inspections, checklists, left_out)
        if not mapped:
            left_out["business-without-visits"] += 1
            continue
        entities[key] = map_entity(key, divisions)
        inspections |= {inspection.key: inspection for inspection in mapped}
    return MappedWorld(entities, checklists, inspections, left_out)
