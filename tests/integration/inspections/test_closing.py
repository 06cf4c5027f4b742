"""Closing: nothing closes before all is decided and arrived, and what closes becomes one behavior."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from schemas.kinds.field_work import UNSIGNED_FIELDS
from server.behaviors.models import Behavior
from server.evidence.models import VERIFIED, Evidence
from server.inspections.closing import close_ready
from server.inspections.models import Inspection
from server.records.lines import decode_state
from server.records.models import SyncedRecord
from server.runtime import Runtime
from sync.signing import covered, signed_digest
from tests.conftest import FakeClock, SignIn
from tests.field_device import FieldDevice, World, body, by_field, live_dots, make_world

COMPLETE: dict[str, Any] = {
    "inspected_at": "2026-03-01T10:00:00+08:00",
    "form": "01",
    "category": "03",
    "method": "01",
    "result": "01",
    "conclusion": "未发现问题",
}


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def pair(rt: Runtime, world: World) -> tuple[FieldDevice, FieldDevice]:
    """The two officers' handhelds."""
    return FieldDevice(rt, world.officers[0], 1), FieldDevice(rt, world.officers[1], 2)


def _line(rt: Runtime, world: World) -> bytes:
    with rt.db.read() as session:
        return session.get_one(SyncedRecord, ("inspection", world.inspection)).line


def _write(device: FieldDevice, client: FlaskClient, world: World, fields: dict[str, Any]) -> None:
    """Open the form, change it, push the newest act."""
    seen = live_dots(json.loads(_line(device.rt, world)))
    device.write("inspection", world.inspection, fields, seen)
    device.verdicts(client, device.segment(len(device.acts)))


def _sign(device: FieldDevice, client: FlaskClient, world: World) -> None:
    pairs = covered(decode_state(_line(device.rt, world)), UNSIGNED_FIELDS)
    dots = sorted({str(dot) for _, dot in pairs})
    signature = {"officer": device.officer, "role": "lead", "dots": dots, "digest": signed_digest(pairs)}
    _write(device, client, world, {"signatures": {"add": [signature]}})


def _close(rt: Runtime, clock: FakeClock) -> int:
    clock.advance(10)
    with rt.db.write() as session:
        return close_ready(session, rt)


def _blockers(rt: Runtime, world: World) -> list[str]:
    with rt.db.read() as session:
        return sorted({blocker["reason"] for blocker in session.get_one(Inspection, world.inspection).blockers})


def test_complete_inspection_closes_once(
    client: FlaskClient, rt: Runtime, clock: FakeClock, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """With everything given and both signatures fresh it closes into one behavior with the national fields."""
    _write(pair[0], client, world, COMPLETE)
    _sign(pair[0], client, world)
    _sign(pair[1], client, world)
    assert _close(rt, clock) == 0, "nobody has submitted it yet"
    _write(pair[0], client, world, {"status": "submitted"})
    assert _close(rt, clock) == 1
    assert _close(rt, clock) == 0
    with rt.db.read() as session:
        behavior = session.execute(select(Behavior)).scalar_one()
        content = json.loads(behavior.line)
    assert content["result"] == "01"
    assert content["item_code"] == "42010000000001"
    assert [officer["certificate_number"] for officer in content["officers"]] == ["HB-0000", "HB-0001"]
    assert content["certificate_type"] == "001"
    assert content["region"] == "420106"
    record = by_field(json.loads(_line(rt, world)))
    assert {entry["value"] for entry in record["fields"]["status"]} == {"closed"}


def test_closed_is_closed(
    client: FlaskClient, rt: Runtime, clock: FakeClock, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """Late changes of result, findings or evidence are kept as bytes and change nothing; notes may follow."""
    answer = rt.new_id()
    _write(pair[0], client, world, COMPLETE)
    pair[0].write("answer", answer, {"inspection": world.inspection, "number": "1", "outcome": "pass"})
    pair[0].verdicts(client, pair[0].segment(len(pair[0].acts)))
    _sign(pair[0], client, world)
    _sign(pair[1], client, world)
    _write(pair[0], client, world, {"status": "submitted"})
    assert _close(rt, clock) == 1
    late = FieldDevice(rt, world.officers[1], 7)
    late.write("inspection", world.inspection, {"result": "03"})
    late.write("answer", answer, {"outcome": "fail"})
    late.write("evidence", rt.new_id(), _evidence(world))
    late.write("inspection", world.inspection, {"notes": "补记"})
    late.write("rectification", rt.new_id(), {"inspection": world.inspection, "status": "ordered"})
    assert late.verdicts(client) == ["quarantined", "quarantined", "quarantined", "merged", "applied"]
    record = by_field(json.loads(_line(rt, world)))
    assert {entry["value"] for entry in record["fields"]["result"]} == {"01"}
    with rt.db.read() as session:
        assert len(session.execute(select(Behavior)).all()) == 1


def test_what_blocks(
    client: FlaskClient, rt: Runtime, clock: FakeClock, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """Missing fields and signatures, conflicts, held acts and missing evidence each keep it open, by name."""
    _write(pair[0], client, world, {"status": "submitted"})
    assert _close(rt, clock) == 0
    assert _blockers(rt, world) == ["missing", "signature-missing"]
    _write(pair[0], client, world, COMPLETE)
    pair[1].write("inspection", world.inspection, {"result": "03"})
    pair[1].write("evidence", rt.new_id(), _evidence(world))
    pair[1].write("inspection", world.inspection, {"notes": "等"}, [f"{rt.new_id()}:1"])
    pair[1].verdicts(client)
    assert _close(rt, clock) == 0
    assert _blockers(rt, world) == ["conflict", "evidence-missing", "held", "missing", "signature-missing"]


def _evidence(world: World) -> dict[str, Any]:
    return {
        "inspection": world.inspection,
        "sha256": "a" * 64,
        "sm3": "b" * 64,
        "size_bytes": 1,
        "media_type": "image/jpeg",
        "captured_at": "2026-03-01T10:00:00+08:00",
    }


def test_signed_content_that_changes_makes_the_signature_stale(
    client: FlaskClient,
    rt: Runtime,
    clock: FakeClock,
    world: World,
    pair: tuple[FieldDevice, FieldDevice],
) -> None:
    """Superseding a signed value blocks until both sign again; adding beside it does not."""
    _write(pair[0], client, world, COMPLETE)
    _sign(pair[0], client, world)
    _sign(pair[1], client, world)
    _write(pair[1], client, world, {"conclusion": "改了"})
    _write(pair[0], client, world, {"status": "submitted"})
    assert _close(rt, clock) == 0
    assert _blockers(rt, world) == ["signature-stale"]
    _sign(pair[0], client, world)
    _sign(pair[1], client, world)
    _write(pair[1], client, world, {"scene": "补充"})
    assert _close(rt, clock) == 1


def test_verified_evidence_does_not_block(
    client: FlaskClient, rt: Runtime, clock: FakeClock, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """Evidence blocks until it is verified, and no longer."""
    _write(pair[0], client, world, COMPLETE)
    evidence = rt.new_id()
    pair[0].write("evidence", evidence, _evidence(world))
    pair[0].verdicts(client, pair[0].segment(len(pair[0].acts)))
    _sign(pair[0], client, world)
    _sign(pair[1], client, world)
    _write(pair[0], client, world, {"status": "submitted"})
    assert _close(rt, clock) == 0
    assert _blockers(rt, world) == ["evidence-missing"]
    with rt.db.write() as session:
        session.get_one(Evidence, evidence).status = VERIFIED
    assert _close(rt, clock) == 1


def test_inspection_dated_in_the_future_waits(
    client: FlaskClient, rt: Runtime, clock: FakeClock, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """A handheld whose clock stands at 2035 cannot have its visit reported before it happened."""
    _write(pair[0], client, world, COMPLETE | {"inspected_at": "2035-01-01T00:00:00Z"})
    _sign(pair[0], client, world)
    _sign(pair[1], client, world)
    _write(pair[0], client, world, {"status": "submitted"})
    assert _close(rt, clock) == 0
    assert _blockers(rt, world) == ["in-the-future"]


def test_figures_and_lists(client: FlaskClient, world: World, sign_in: SignIn) -> None:
    """Operators see tasks, inspections and figures of their scope; those of another region see nothing."""
    here, elsewhere = sign_in("operator"), sign_in("operator", region="4205")
    assert [row["id"] for row in body(client.get("/api/v1/tasks", headers=here))["tasks"]] == [world.task]
    assert body(client.get("/api/v1/tasks", headers=elsewhere))["tasks"] == []
    shown = body(client.get("/api/v1/inspections", headers=here))["inspections"]
    assert [row["id"] for row in shown] == [world.inspection]
    assert body(client.get("/api/v1/inspections", headers=elsewhere))["inspections"] == []
    assert body(client.get("/api/v1/analytics/figures", headers=here))["tasks"] == {"assigned": 1}
    assert body(client.get("/api/v1/analytics/figures", headers=elsewhere))["tasks"] == {}


def test_dispatch_is_checked(client: FlaskClient, world: World, sign_in: SignIn) -> None:
    """Two different officers, known ones, within one's scope: else a problem that names the field."""
    order = {
        "entity": world.entity,
        "checklist": world.checklist,
        "officers": list(world.officers),
        "due_at": "2026-04-01T00:00:00Z",
        "title": "样例",
        "plan": "P2",
    }
    headers = sign_in("operator")

    def post(**changes: Any) -> tuple[int, str]:  # noqa: ANN401 - any JSON
        reply = client.post("/api/v1/tasks", json={"orders": [order | changes]}, headers=headers)
        return reply.status_code, body(reply).get("field", "")

    assert post()[0] == 201
    assert post(officers=[world.officers[0]] * 2) == (422, "officers")
    assert post(officers=[world.officers[0]])[0] == 422
    assert post(officers=[world.officers[0], world.entity]) == (404, "officers")
    assert post(entity=world.checklist)[0] == 404
    assert post(due_at="tomorrow")[0] == 422
    outside = client.post("/api/v1/tasks", json={"orders": [order]}, headers=sign_in("operator", region="4205"))
    assert outside.status_code == 404
