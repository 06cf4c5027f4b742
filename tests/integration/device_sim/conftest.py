"""A platform in this process with officers, entities and tasks, and handhelds that reach it by WSGI."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from flask import Flask

from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Backoff
from device_sim.handheld.outside import Outside
from device_sim.sample.mapping import MappedInspection, MappedWorld, map_world
from device_sim.sample.sources import open_data
from server.audit.service import SYSTEM
from server.inspections.service import DispatchOrder, dispatch
from server.runtime import Runtime
from server.seed import seed
from tests.conftest import FakeClock, SignIn

DEPARTMENT = "市场监督管理"


@dataclass
class Platform:
    """The platform's ids, and ways to reach it."""

    rt: Runtime
    app: Flask
    operator: dict[str, str]
    officers: list[str]
    accounts: list[dict[str, str]]
    checklists: dict[str, str]
    """Checklist id by the key of the mapped one."""
    world: MappedWorld
    entity_ids: dict[str, str]

    def client(self) -> httpx.Client:
        """A client that calls the application in this process."""
        return httpx.Client(transport=httpx.WSGITransport(self.app), base_url="http://platform.example")

    def dispatch(self, inspections: list[MappedInspection], officers: list[str] | None = None) -> list[str]:
        """Give one task for each mapped inspection to two officers."""
        orders = [
            DispatchOrder(
                origin="plan",
                entity=self.entity_ids[inspection.entity],
                checklist=self.checklists[inspection.checklist],
                officers=tuple(officers or self.officers[:2]),
                due_at=self.rt.now() + timedelta(days=5),
                title=f"样例任务 {inspection.key}",
                plan="样例计划",
            )
            for inspection in inspections
        ]
        with self.rt.db.write() as session:
            return dispatch(session, self.rt, orders, author=SYSTEM)

    def approve(self, device: str) -> None:
        """Approve an enrolled device as the operator."""
        answer = self.client().post(f"/api/v1/devices/{device}/approve", headers=self.operator)
        assert answer.status_code == 200, answer.text


@pytest.fixture(scope="session")
def world() -> MappedWorld:
    """A part of the mapped sample, with the checklists of the whole: the fleet numbers its answers by those."""
    data = open_data(None)
    whole = map_world(data.businesses, data.stations, data.divisions)
    part = map_world(data.businesses[:30], data.stations, data.divisions)
    return replace(
        part, checklists=whole.checklists, inspections={key: whole.inspections[key] for key in part.inspections}
    )


@pytest.fixture
def platform(rt: Runtime, app: Flask, sign_in: SignIn, world: MappedWorld, tmp_path: Path) -> Platform:
    """A seeded platform with four officers of one department and the entities of the mapped sample."""
    officers = [rt.new_id() for _ in range(4)]
    accounts = [{"login": f"officer-{n}", "password": "a sample pass phrase"} for n in range(4)]
    items = {key: rt.new_id() for key in world.checklists}
    checklists = {key: rt.new_id() for key in world.checklists}
    entity_ids = {key: rt.new_id() for key in world.entities}
    document = {
        "items": [{"id": items[key], **mapped.item_fields()} for key, mapped in world.checklists.items()],
        "checklists": [
            {"id": checklists[key], **mapped.checklist_fields(), "item": items[key]}
            for key, mapped in world.checklists.items()
        ],
        "officers": [
            {
                "id": officer, "name": f"张样例{n}", "certificate_number": f"样例证{n:04d}", "region": "420000",
                "certificate_valid_until": "2036-01-01T00:00:00+00:00", "department": DEPARTMENT,
            }
            for n, officer in enumerate(officers)
        ],
        "entities": [
            {key: value for key, value in world.entities[name].fields().items() if key != "status"} | {"id": ident}
            for name, ident in entity_ids.items()
        ],
        "accounts": [
            {**account, "role": "officer", "name": "样例", "region": "420000", "department": DEPARTMENT, "officer": one}
            for account, one in zip(accounts, officers, strict=True)
        ],
    }  # fmt: skip
    path = tmp_path / "seed.json"
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    seed(rt, path, lambda _name, _count: None)
    return Platform(rt, app, sign_in("operator"), officers, accounts, checklists, world, entity_ids)


MakeHandheld = Callable[..., Handheld]


@pytest.fixture
def device_clock(clock: FakeClock) -> Callable[[], int]:
    """The wall clock of the handhelds: the platform's own."""
    return lambda: round(clock.now().timestamp() * 1000)


@pytest.fixture
def handheld(platform: Platform, tmp_path: Path, device_clock: Callable[[], int]) -> Iterator[MakeHandheld]:
    """Make the enrolled and approved handheld of the n-th officer."""
    opened: list[Handheld] = []

    def make(officer: int = 0, *, name: str = "", client: httpx.Client | None = None, enrol: bool = True) -> Handheld:
        outside = Outside(wall_ms=device_clock, sleep=lambda _seconds: None, jitter=lambda: 0.5)
        made = Handheld(
            tmp_path / (name or f"handheld-{officer}"), client or platform.client(), outside=outside,
            backoff=Backoff(base_s=0.0, attempts=30),
        )  # fmt: skip
        opened.append(made)
        if enrol and not made.device:
            answer = platform.client().post("/api/v1/sign-in", json=platform.accounts[officer])
            made.enrol(answer.json()["token"], platform.officers[officer], f"样例终端{officer}")
            platform.approve(made.device)
        return made

    yield make
    for one in opened:
        one.close()
