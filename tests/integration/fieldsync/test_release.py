"""What the simulation found: held acts that were not released, and statuses that stood at another record's place."""

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from server.records.models import Act, SyncedRecord
from server.runtime import Runtime
from tests.field_device import FieldDevice, World, lines, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def device(rt: Runtime, world: World) -> FieldDevice:
    """The first officer's handheld."""
    return FieldDevice(rt, world.officers[0], 1)


def _statuses(rt: Runtime, device: FieldDevice) -> list[str]:
    with rt.db.read() as session:
        query = select(Act.status).where(Act.journal == device.journal).order_by(Act.seq)
        return list(session.scalars(query))


def _open_dot(device: FieldDevice, client: FlaskClient, world: World) -> str:
    record = next(one for one in device.pull(client) if one["id"] == world.inspection)
    return str(record["fields"]["status"][0]["dot"])


def test_what_waits_inside_a_segment_is_released_with_it(
    client: FlaskClient, rt: Runtime, world: World, device: FieldDevice
) -> None:
    """Act 2 came ahead and was held; the whole journal brings its cause, and what had seen act 2 does not wait on."""
    dot = _open_dot(device, client, world)
    device.write("inspection", world.inspection, {"scene": "1"}, [dot])
    device.write("inspection", world.inspection, {"scene": "2"}, [dot, f"{device.journal}:1"])
    device.write("inspection", world.inspection, {"scene": "3"}, [dot, f"{device.journal}:2"])
    assert device.verdicts(client, device.segment(2, 2)) == ["held"]
    assert device.verdicts(client) == ["applied", "held", "applied"]
    assert _statuses(rt, device) == ["applied"] * 3


def test_a_bad_act_beyond_a_gap_does_not_hold_what_follows_it(
    client: FlaskClient, rt: Runtime, world: World, device: FieldDevice
) -> None:
    """Act 2 came ahead and is quarantined; act 3 waits for the gap before it and for nothing else."""
    dot = _open_dot(device, client, world)
    device.write("inspection", world.inspection, {"scene": "1"}, [dot])
    device.write("inspection", world.inspection, {"scene": 5}, [dot])
    device.write("inspection", world.inspection, {"notes": "3"}, [dot])
    device.verdicts(client, device.segment(2, 2))
    assert device.verdicts(client, device.segment(2, 3))[1:] == ["held"]
    device.verdicts(client)
    statuses = _statuses(rt, device)
    assert statuses[1] == "quarantined"
    assert "held" not in statuses


def test_a_status_rises_at_the_place_of_its_record(
    client: FlaskClient, rt: Runtime, world: World, device: FieldDevice
) -> None:
    """Devices take a status's position for that of the line which holds the act, whatever else the push changed."""
    other = FieldDevice(rt, world.officers[1], 2)
    dot = _open_dot(device, client, world)
    device.write("inspection", world.inspection, {"scene": "1"}, [dot])
    device.verdicts(client)
    other.write("inspection", world.inspection, {"scene": "2"}, [dot])
    other.write("task", world.task, {"status": "signed_for"}, [])
    assert other.verdicts(client)[0] == "merged"
    with rt.db.read() as session:
        position = session.get_one(SyncedRecord, ("inspection", world.inspection)).position
    reply = client.get(f"/api/v1/sync/status?journal={device.journal}&after=0", headers=device.headers)
    assert [(act["status"], act["position"]) for act in lines(reply)[1:]] == [("merged", position)]


def test_released_acts_count_among_those_written_beside(
    client: FlaskClient, rt: Runtime, world: World, device: FieldDevice
) -> None:
    """Two acts that contradict each other come ahead and are released by one push: both are in conflict."""
    dot = _open_dot(device, client, world)
    device.write("inspection", world.inspection, {"scene": "1"}, [dot])
    device.write("inspection", world.inspection, {"result": "01"}, [dot, f"{device.journal}:1"])
    device.write("inspection", world.inspection, {"result": "03"}, [dot, f"{device.journal}:1"])
    assert device.verdicts(client, device.segment(2, 3)) == ["held", "held"]
    device.verdicts(client)
    assert _statuses(rt, device) == ["applied", "conflict", "conflict"]


def test_a_device_hears_that_a_held_act_turned_out_bad(
    client: FlaskClient, rt: Runtime, world: World, device: FieldDevice
) -> None:
    """The act came ahead and was held, and goes back on a state it has seen: its status says so."""
    dot = _open_dot(device, client, world)
    device.write("inspection", world.inspection, {"status": "submitted"}, [dot])
    device.write("inspection", world.inspection, {"status": "open"}, [dot, f"{device.journal}:1"])
    assert device.verdicts(client, device.segment(2, 2)) == ["held"]
    url = f"/api/v1/sync/status?journal={device.journal}&after="
    after = lines(client.get(f"{url}0", headers=device.headers))[0]["after"]
    device.verdicts(client)
    told = {act["seq"]: act["status"] for act in lines(client.get(f"{url}{after}", headers=device.headers))[1:]}
    assert told[2] == _statuses(rt, device)[1] == "quarantined"
