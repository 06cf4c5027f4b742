"""The demonstration's platform: which officers, accounts, entities, checklists and sensors, as one seed file."""

from __future__ import annotations

import json
import os
import random
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_sim.sample.checklists import ECOLOGY, MARKET_SUPERVISION, NUMBERED, SECTOR_OF, STATION, MappedChecklist
from device_sim.sample.mapping import MappedInspection, MappedWorld, map_station
from device_sim.sample.results import COMPLAINT, RECHECK
from device_sim.sample.sources import DataSet
from schemas.visit_rules import DEFAULT_RISK, visit_caps
from sync.ids import RANDOM_BYTES, uuid7

MIN_DEVICES = 2
"""An inspection takes two officers."""
ECOLOGY_SHARE = 5
"""One officer in so many works for ecology (at least two), from four officers on; the others for the market."""
SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨朱秦尤许何吕施张孔曹严华金魏陶姜"
CERTIFICATE_FROM = "2010-01-01T00:00:00+08:00"
"""Before the first of the real visits."""
CERTIFICATE_UNTIL = "2099-12-31T00:00:00+08:00"
ID_MS = 1_767_225_600_000
"""Ids of the seed carry the first instant of 2026, so that a seed always gives the same ids."""
EXPIRED_UNTIL = "2025-12-31T00:00:00+08:00"
FURTHER_FIRMS = 40
"""Firms without a planned visit, from which some are drawn."""
FOLLOW_UP_REASONS = {RECHECK: "04", COMPLAINT: "02"}
"""Codes of the table `visit_reason` by category: such visits do not count towards the yearly cap."""
ORDERED_FROM_ABOVE = "06"
CAP = visit_caps()[DEFAULT_RISK]
STATION_CHANNELS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
PROVINCE = "420000"


@dataclass(frozen=True)
class OfficerEntry:
    """An officer with an account and a handheld."""

    id: str
    name: str
    department: str
    login: str
    password: str


@dataclass(frozen=True)
class DemoWorld:
    """What the demonstration plays on."""

    seed: str
    data: DataSet
    mapped: MappedWorld
    inspections: tuple[MappedInspection, ...]
    officers: tuple[OfficerEntry, ...]
    passwords: Mapping[str, str]
    """Passwords of the accounts operator, approver, auditor and central."""
    entity_ids: Mapping[str, str]
    checklist_ids: Mapping[str, str]
    item_ids: Mapping[str, str]
    sensors: Mapping[str, str]
    """Sensor id by station name."""

    @property
    def firms(self) -> frozenset[str]:
        """The keys of the entities that have a door with a code: all but the outlets where sensors stand."""
        return frozenset(self.entity_ids) - {map_station(one, self.data.divisions).key for one in self.data.stations}

    @property
    def market(self) -> tuple[OfficerEntry, ...]:
        """The officers who carry out planned inspections."""
        return tuple(one for one in self.officers if one.department == MARKET_SUPERVISION)

    @property
    def lead_department(self) -> str:
        """The department that leads go to."""
        return self.officers[0].department


def make_world(data: DataSet, mapped: MappedWorld, *, seed: str, devices: int, inspections: int) -> DemoWorld:
    """Choose inspections and make officers, accounts and ids, all but the passwords from the seed."""
    rng = random.Random(f"world:{seed}")
    chosen = mapped.choose(inspections, seed)
    stations = [map_station(station, data.divisions).key for station in data.stations]
    visited = {one.entity for one in chosen} | set(stations)
    further = [key for key in sorted(mapped.entities) if key not in visited]
    rng.shuffle(further)
    entities = sorted({*visited, *further[:FURTHER_FIRMS]})
    keys = [one.key for one in mapped.checklists.values()]
    return DemoWorld(
        seed=seed,
        data=data,
        mapped=mapped,
        inspections=chosen,
        officers=_officers(rng, devices),
        passwords={login: secrets.token_urlsafe(18) for login in ("operator", "approver", "auditor", "central")},
        entity_ids={key: _id(rng) for key in entities},
        checklist_ids={key: _id(rng) for key in keys},
        item_ids={key: _id(rng) for key in keys},
        sensors={station: f"air-{index + 1:02d}" for index, station in enumerate(data.stations)},
    )


def _officers(rng: random.Random, count: int) -> tuple[OfficerEntry, ...]:
    ecology = max(2, count // ECOLOGY_SHARE) if count >= 2 * MIN_DEVICES else 0
    return tuple(
        OfficerEntry(
            id=_id(rng),
            name=f"{SURNAMES[index % len(SURNAMES)]}样例{index // len(SURNAMES) + 1}",
            department=ECOLOGY if index < ecology else MARKET_SUPERVISION,
            login=f"officer-{index + 1:03d}",
            password=secrets.token_urlsafe(18),
        )
        for index in range(count)
    )


def _id(rng: random.Random) -> str:
    return uuid7(ID_MS, rng.randbytes(RANDOM_BYTES))


def write_seed(world: DemoWorld, path: Path) -> None:
    """Write the seed file of the platform; it holds passwords, so only its owner may read it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        json.dump(seed_content(world), out, ensure_ascii=False)


def seed_content(world: DemoWorld) -> dict[str, list[dict[str, Any]]]:
    """Return the content of the seed file, list by list."""
    checklists = world.mapped.checklists
    return {
        "items": [_item(world, key, one) for key, one in checklists.items()],
        "checklists": [_checklist(world, key, one) for key, one in checklists.items()],
        "officers": [*(_officer(world, index, one) for index, one in enumerate(world.officers)), _expired(world)],
        "entities": _entities(world),
        "sensors": [_sensor(world, station) for station in world.data.stations],
        "accounts": _accounts(world),
    }


def _item(world: DemoWorld, key: str, checklist: MappedChecklist) -> dict[str, Any]:
    fields = checklist.item_fields()
    if not any(one.department == fields["department"] for one in world.officers):
        fields["department"] = world.lead_department
    return {"id": world.item_ids[key], **fields}


def _checklist(world: DemoWorld, key: str, checklist: MappedChecklist) -> dict[str, Any]:
    return {**checklist.checklist_fields(), "id": world.checklist_ids[key], "item": world.item_ids[key]}


def _officer(world: DemoWorld, index: int, officer: OfficerEntry) -> dict[str, Any]:
    """The certificate covers the sectors of the department's items, and nothing else."""
    items = [_item(world, key, one) for key, one in world.mapped.checklists.items()]
    return {
        "id": officer.id,
        "name": officer.name,
        "certificate_number": f"样例证-{index + 1:05d}",
        "certificate_valid_from": CERTIFICATE_FROM,
        "certificate_valid_until": CERTIFICATE_UNTIL,
        "scope": sorted({item["sector"] for item in items if item["department"] == officer.department}),
        "region": PROVINCE,
        "department": officer.department,
    }


def _expired(world: DemoWorld) -> dict[str, Any]:
    """An officer whose certificate has run out: known to the others' handhelds, never drawn, never on a visit."""
    rng = random.Random(f"expired:{world.seed}")
    one = OfficerEntry(_id(rng), "过期样例", MARKET_SUPERVISION, "", "")
    return _officer(world, len(world.officers), one) | {"certificate_valid_until": EXPIRED_UNTIL}


def _entities(world: DemoWorld) -> list[dict[str, Any]]:
    stations = {map_station(station, world.data.divisions).key for station in world.data.stations}
    found = []
    for key in sorted(world.entity_ids):
        fields = world.mapped.entities[key].fields()
        fields.pop("status", None)
        sector = SECTOR_OF[STATION if key in stations else NUMBERED]
        found.append({"id": world.entity_ids[key], **fields, "sector": sector})
    return found


def _sensor(world: DemoWorld, station: str) -> dict[str, Any]:
    entity = map_station(station, world.data.divisions)
    return {
        "id": world.sensors[station],
        "name": entity.name,
        "entity_id": world.entity_ids[entity.key],
        "region": entity.region,
        "department": world.lead_department,
        "lat": entity.point.latitude,
        "lon": entity.point.longitude,
        "datum": "WGS-84",
        "channels": {factor: {} for factor in STATION_CHANNELS},
    }


def _accounts(world: DemoWorld) -> list[dict[str, Any]]:
    names = {"operator": "值班样例", "approver": "复核样例", "auditor": "审计样例", "central": "国家平台样例"}
    roles = {"approver": "operator"}
    people = [
        {
            "login": login, "password": password, "role": roles.get(login, login), "name": names[login],
            "region": PROVINCE,
        }
        for login, password in world.passwords.items()
    ]  # fmt: skip
    officers = [
        {
            "login": one.login, "password": one.password, "role": "officer", "name": one.name, "region": PROVINCE,
            "department": one.department, "officer": one.id,
        }
        for one in world.officers
    ]  # fmt: skip
    return people + officers


def planned_orders(world: DemoWorld) -> list[tuple[str, dict[str, Any]]]:
    """Return (inspection key, dispatch order) for every planned inspection; one entity always has the same pair.

    Visits of several years are given out in one: what passes an entity's number for a year has a coded reason, as it
    must have for anybody.
    """
    people: Sequence[OfficerEntry] = world.market
    order_of: dict[str, int] = {}
    planned: Counter[str] = Counter()
    orders = []
    for index, inspection in enumerate(world.inspections):
        turn = order_of.setdefault(inspection.entity, len(order_of))
        lead = turn % len(people)
        second = (lead + 1 + turn // len(people) % (len(people) - 1)) % len(people)
        entity = world.mapped.entities[inspection.entity]
        order = {
            "entity": world.entity_ids[inspection.entity],
            "checklist": world.checklist_ids[inspection.checklist],
            "officers": [people[lead].id, people[second].id],
            "due_at": "2027-12-31T10:00:00+08:00",
            "title": f"监督检查 Inspection: {entity.name}",
            "plan": f"2026-PLAN-{index + 1:05d}",
        }
        if reason := _visit_reason(inspection, planned):
            order["visit_reason"] = reason
        orders.append((inspection.key, order))
    return orders


def _visit_reason(inspection: MappedInspection, planned: Counter[str]) -> str:
    """The coded reason of a visit that does not count towards the cap; empty for one that does, which is counted."""
    reason = FOLLOW_UP_REASONS.get(inspection.category, "")
    if not reason and planned[inspection.entity] >= CAP:
        reason = ORDERED_FROM_ABOVE
    planned[inspection.entity] += not reason
    return reason
