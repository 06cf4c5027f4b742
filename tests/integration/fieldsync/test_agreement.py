"""What the protocol promises about deletions, statuses and gaps, over HTTP and in more than one order of arrival."""

from __future__ import annotations

import random
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.app import create_app
from server.config import load_settings
from server.db.engine import Database
from server.evidence.service import manifest
from server.inspections.closing import close_ready
from server.inspections.models import Inspection
from server.records.models import Act
from server.records.service import start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from tests.conftest import FakeClock, SignIn
from tests.field_device import FieldDevice, World, body, lines, live_dots, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def pair(rt: Runtime, world: World) -> tuple[FieldDevice, FieldDevice]:
    """The two officers' handhelds."""
    return FieldDevice(rt, world.officers[0], 1), FieldDevice(rt, world.officers[1], 2)


def pulled(device: FieldDevice, client: FlaskClient, record: str) -> dict[str, Any]:
    """The pulled line of a record."""
    return next(line for line in device.pull(client) if line["id"] == record)


def deleted_and_edited(client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]) -> tuple[str, str]:
    """Delete the inspection on one handheld while the other edits it; returns the dots of deletion and edit."""
    first, second = pair
    seen = live_dots(pulled(first, client, world.inspection))
    first.write("inspection", world.inspection, {}, seen, op="delete")
    second.write("inspection", world.inspection, {"scene": "干净"}, seen)
    assert first.verdicts(client) == ["applied"]
    assert pulled(first, client, world.inspection)["deleted"] is True
    assert second.verdicts(client) == ["conflict"]
    return f"{first.journal}:1", f"{second.journal}:1"


def decide(client: FlaskClient, headers: dict[str, str], choice: str) -> None:
    """Decide the only open conflict."""
    (conflict,) = body(client.get("/api/v1/conflicts", headers=headers))["conflicts"]
    shown = body(client.get(f"/api/v1/conflicts/{conflict['id']}", headers=headers))
    dots = [side["dot"] for side in shown["sides"]]
    decision = {"sides": dots, "choice": choice, "reason": "已核实"}
    reply = client.post(f"/api/v1/conflicts/{conflict['id']}/resolve", json=decision, headers=headers)
    assert reply.status_code == 200, reply.text


def test_a_deletion_beside_an_edit_has_two_sides(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], sign_in: SignIn
) -> None:
    """The deletion and the edit, and nothing that the deletion had seen."""
    deletion, edit = deleted_and_edited(client, world, pair)
    headers = sign_in("operator")
    (conflict,) = body(client.get("/api/v1/conflicts", headers=headers))["conflicts"]
    shown = body(client.get(f"/api/v1/conflicts/{conflict['id']}", headers=headers))
    assert {side["dot"] for side in shown["sides"]} == {deletion, edit}
    line = pulled(pair[0], client, world.inspection)
    assert (line["deleted"], line["conflicts"]) == (False, ["_deleted"])


def test_a_record_that_people_keep_is_whole(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], sign_in: SignIn
) -> None:
    """Every field is there again, and whoever has pulled the decision writes on without being concurrent to it."""
    before = pulled(pair[0], client, world.inspection)["fields"].keys()
    _, edit = deleted_and_edited(client, world, pair)
    decide(client, sign_in("operator"), edit)
    line = pulled(pair[1], client, world.inspection)
    assert (line["deleted"], line["conflicts"]) == (False, [])
    assert line["fields"].keys() == before | {"scene"}
    pair[1].write("inspection", world.inspection, {"method": "现场"}, live_dots(line))
    assert pair[1].verdicts(client) == ["conflict", "applied"]


def test_a_record_that_people_delete_is_gone(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], sign_in: SignIn
) -> None:
    """The decision covers both sides; whoever has seen it may still revive the record."""
    deletion, _ = deleted_and_edited(client, world, pair)
    decide(client, sign_in("operator"), deletion)
    line = pulled(pair[0], client, world.inspection)
    assert (line["deleted"], line["conflicts"]) == (True, [])
    pair[0].write("inspection", world.inspection, {"method": "现场"}, live_dots(line))
    assert pair[0].verdicts(client) == ["applied", "applied"]
    assert pulled(pair[0], client, world.inspection)["deleted"] is False


def test_deleted_evidence_can_be_decided(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], sign_in: SignIn, rt: Runtime
) -> None:
    """The office does not capture evidence, but it decides what devices disagree on."""
    first, second = pair
    photo = rt.new_id()
    first.write("evidence", photo, {"inspection": world.inspection, "caption": "配电箱"})
    first.verdicts(client)
    first.write("evidence", photo, {}, [f"{first.journal}:1"], op="delete")
    first.verdicts(client)
    second.write("evidence", photo, {"caption": "配电箱，左侧"}, [f"{first.journal}:1"])
    assert second.verdicts(client) == ["conflict"]
    decide(client, sign_in("operator"), f"{second.journal}:1")
    assert pulled(first, client, photo)["conflicts"] == []


def test_deleted_evidence_does_not_block_and_revived_evidence_does(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], rt: Runtime
) -> None:
    """A deleted photo leaves the manifest of its inspection; one that is revived stands in it again."""

    def listed() -> tuple[int, int]:
        with rt.db.read() as session:
            found = manifest(session, world.inspection)
        return found.total, len(found.withdrawn)

    device, photo = pair[0], rt.new_id()
    device.write("evidence", photo, {"inspection": world.inspection, "sha256": "0" * 64})
    device.verdicts(client)
    assert listed() == (1, 0)
    device.write("evidence", photo, {}, [f"{device.journal}:1"], op="delete")
    device.verdicts(client)
    assert listed() == (0, 1)
    device.write("evidence", photo, {"caption": "配电箱"}, [f"{device.journal}:1", f"{device.journal}:2"])
    device.verdicts(client)
    assert listed() == (1, 0)


def test_a_deleted_inspection_never_closes(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], rt: Runtime
) -> None:
    """Its fields are kept, but it is gone: the reason says so."""
    device = pair[0]
    seen = live_dots(pulled(device, client, world.inspection))
    device.write("inspection", world.inspection, {"status": "submitted"}, seen)
    device.write("inspection", world.inspection, {}, [*seen, f"{device.journal}:1"], op="delete")
    assert device.verdicts(client) == ["applied", "applied"]
    with rt.db.write() as session:
        assert close_ready(session, rt) == 0
        assert {"reason": "deleted"} in session.get_one(Inspection, world.inspection).blockers


def platform(folder: Path) -> tuple[Runtime, FlaskClient]:
    """A platform of its own; two of them in one state, since everything random is seeded."""
    settings = load_settings({"FIELDPROOF_HOME": str(folder)})
    settings.home.mkdir(parents=True)
    database = Database(settings.database_url)
    METADATA.create_all(database.engine)
    runtime = Runtime(settings, database, FakeClock(), random.Random(7).randbytes)
    with database.write() as session:
        start_epoch(session, runtime)
    return runtime, create_app(runtime).test_client()


def statuses_after(folder: Path, order: tuple[tuple[int, int], ...]) -> dict[tuple[int, int], str]:
    """Push acts in an order (device, number), and return the statuses they end with."""
    rt, client = platform(folder)
    world = make_world(rt)
    devices = (FieldDevice(rt, world.officers[0], 1), FieldDevice(rt, world.officers[1], 2))
    seen = live_dots(pulled(devices[0], client, world.inspection))
    one, two = devices
    one.write("inspection", world.inspection, {"result": "01"}, seen)
    one.write("inspection", world.inspection, {"result": "02"}, [*seen, f"{one.journal}:1"])
    one.write("inspection", world.inspection, {"scene": "干净"}, [*seen, f"{one.journal}:2"])
    two.write("inspection", world.inspection, {"result": "02"}, seen)
    two.write("inspection", world.inspection, {"notes": "有"}, [*seen, f"{two.journal}:1"])
    for index, number in order:
        assert devices[index].push(client, devices[index].segment(number, number)).status_code == 200
    found = {}
    with rt.db.read() as session:
        for index, device in enumerate(devices):
            for act in session.query(Act).filter(Act.journal == device.journal):
                found[index, act.seq] = act.status
    rt.db.dispose()
    return found


ACTS = ((0, 1), (0, 2), (0, 3), (1, 1), (1, 2))
ORDERS = [order for order in permutations(ACTS) if order.index((0, 1)) < order.index((0, 2)) < order.index((0, 3))]
ORDERS = [order for order in ORDERS if order.index((1, 1)) < order.index((1, 2))]
"""Every order in which both journals keep theirs."""


def test_statuses_do_not_depend_on_the_order_of_arrival(tmp_path: Path) -> None:
    """All ten ways in which two journals can interleave end alike, whatever the first verdicts were."""
    outcomes = [statuses_after(tmp_path / str(number), order) for number, order in enumerate(ORDERS)]
    assert len(outcomes) == 10
    expected = {(0, 1): "conflict", (0, 2): "merged", (0, 3): "merged", (1, 1): "conflict", (1, 2): "merged"}
    assert outcomes == [expected] * len(outcomes)


def test_statuses_come_in_pages_of_any_size(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """Acts whose statuses changed at one position are never cut off by the limit."""
    device = pair[0]
    for number in range(5):
        device.write("inspection", world.inspection, {"colour": number} if number % 2 else {"notes": str(number)})
    device.verdicts(client)
    found, after = list[int](), 0
    for _ in range(20):
        query = {"journal": device.journal, "after": after, "limit": 2}
        head, *page = lines(client.get("/api/v1/sync/status", query_string=query, headers=device.headers))
        if not page:
            break
        found += [line["seq"] for line in page]
        after = head["after"]
    assert sorted(found) == [1, 2, 3, 4, 5]


def test_acts_beyond_two_gaps_wait_for_both(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """Filling the nearer gap first releases nothing: the chain has to hold from the beginning."""
    device = pair[0]
    for number in range(1, 7):
        device.write("inspection", world.inspection, {"notes": str(number)})
    assert device.verdicts(client, device.segment(5, 6)) == ["held", "held"]
    assert device.verdicts(client, device.segment(3, 4)) == ["held", "held"]
    assert pulled(device, client, world.inspection)["fields"].get("notes", []) == []
    reply = lines(device.push(client, device.segment(1, 2)))
    assert reply[0]["head_seq"] == 6
    values = [entry["value"] for entry in pulled(device, client, world.inspection)["fields"]["notes"]]
    assert sorted(values) == ["1", "2", "3", "4", "5", "6"]


def test_an_act_that_sets_nothing_is_quarantined(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """It would leave no value that others could have seen."""
    pair[0].write("inspection", world.inspection, {})
    receipt = lines(pair[0].push(client))[1]
    assert (receipt["verdict"], receipt["problem"]["field"]) == ("quarantined", "body.fields")
