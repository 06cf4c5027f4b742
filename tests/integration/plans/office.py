"""Two operators with a plan of double-random inspection, on a platform with forty firms and four officers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from schemas.identifiers import make_uscc
from server.directory.models import Checklist, SupervisionItem
from server.entities.models import Entity
from server.entities.service import add_entities
from server.officers.models import Officer
from server.officers.service import add_officers
from server.runtime import Runtime
from tests.conftest import FakeClock, SignIn
from tests.field_device import DEPARTMENT, REGION, World, body, make_world

FIRMS = 40
PLAN: dict[str, Any] = {
    "number": "鄂市监抽〔2026〕1号", "title": "食品经营单位年度抽查", "year": 2026, "region": "420100",
    "item_code": "42010000000001", "joint": ["卫生健康"],
    "rules": {
        "strata": [{"name": "all", "risks": ["A", "B", "C", "D"], "credits": ["A", "B", "C", "D"], "per_mille": 50}],
        "visits_cap": 1,
    },
}  # fmt: skip
BATCH = {"visits_from": "2026-03-02", "visits_until": "2026-03-31", "draw_not_before": "2026-03-02T01:30:00+00:00"}


class Office:
    """Two operators of a seeded platform with forty firms and four officers."""

    def __init__(self, client: FlaskClient, rt: Runtime, clock: FakeClock, sign_in: SignIn) -> None:
        """Enter what a draw needs beside the first world."""
        self.client, self.rt, self.clock = client, rt, clock
        self.world: World = make_world(rt)
        self.headers, self.other = sign_in(), sign_in()
        with rt.db.write() as session:
            item = session.get_one(Checklist, self.world.checklist).item
            session.get_one(SupervisionItem, item).sector = "market"
            self.firms = [rt.new_id() for _ in range(FIRMS)]
            add_entities(session, rt, [self._firm(number) for number in range(FIRMS)], author="test")
            self.staff = [*self.world.officers, rt.new_id(), rt.new_id()]
            add_officers(session, rt, [self._officer(number) for number in (2, 3)], author="test")

    def _firm(self, number: int) -> Entity:
        return Entity(
            id=self.firms[number], name=f"样例面馆{number:02d}", nature="2",
            uscc=make_uscc("91", REGION, f"{number + 2:08d}"), registered_address="样例路 2 号",
            operating_address="样例路 2 号", region="420106001", lat=30.5, lon=114.3, datum="WGS-84", sector="market",
        )  # fmt: skip

    def _officer(self, number: int) -> Officer:
        return Officer(
            id=self.staff[number], name=f"王样例{number}", certificate_number=f"HB-{number:04}", region=REGION,
            department=DEPARTMENT, certificate_valid_until=self.rt.now() + timedelta(days=365),
        )  # fmt: skip

    def get(self, path: str, *, anonymous: bool = False) -> Any:  # noqa: ANN401 - a JSON body
        """Ask for something."""
        reply = self.client.get(f"/api/v1{path}", headers={} if anonymous else self.headers)
        assert reply.status_code == 200, reply.text
        return body(reply)

    def post(self, path: str, members: dict[str, Any], *, other: bool = False) -> TestResponse:
        """Do something as one of the two operators."""
        return self.client.post(f"/api/v1{path}", json=members, headers=self.other if other else self.headers)

    def plan(self) -> str:
        """An approved plan."""
        made = self.post("/draw-plans", PLAN)
        assert made.status_code == 201, made.text
        path = f"/draw-plans/{body(made)['id']}/actions"
        assert self.post(path, {"action": "approve"}).status_code == 403, "somebody else approves"
        assert body(self.post(path, {"action": "approve"}, other=True))["state"] == "approved"
        return str(body(made)["id"])

    def announce(self, plan: str, **change: Any) -> str:  # noqa: ANN401 - any member
        """An announced batch."""
        made = self.post(f"/draw-plans/{plan}/batches", BATCH | change)
        assert made.status_code == 201, made.text
        return str(body(made)["id"])

    def act(self, batch: str, action: str, **members: str) -> TestResponse:
        """Take an action of a batch."""
        return self.post(f"/draw-batches/{batch}/actions", {"action": action, **members})

    def drawn(self) -> str:
        """A batch that was drawn."""
        batch = self.announce(self.plan())
        self.clock.advance(1_860)
        assert body(self.act(batch, "draw"))["state"] == "drawn"
        return batch

    def visits(self, batch: str) -> list[dict[str, Any]]:
        """The drawn visits."""
        return list(self.get(f"/draw-batches/{batch}/visits")["visits"])

    def save(self, batch: str, path: Path) -> Path:
        """Download the file."""
        reply = self.client.get(f"/api/v1/draw-batches/{batch}/file", headers=self.headers)
        path.write_bytes(reply.data)
        return path

    def step(self, step: Any) -> int:  # noqa: ANN401 - a step of the worker
        """Let the worker take a step."""
        with self.rt.db.write() as session:
            return int(step(session, self.rt))
