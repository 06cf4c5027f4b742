"""Acts damaged on the way, on both databases: they keep nothing waiting, and can be sent again whole."""

import json

import pytest
from flask.testing import FlaskClient

from server.fieldsync.erasure import decide_order, erase, order_erasure
from server.records.models import Act
from server.runtime import Runtime
from server.verifying import verify_everything
from server.web.principal import Principal
from sync.acts import ActParts
from tests.field_device import FieldDevice, World, lines, live_dots, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def device(rt: Runtime, world: World) -> FieldDevice:
    """A handheld."""
    return FieldDevice(rt, world.officers[0], 1)


def statuses(client: FlaskClient, device: FieldDevice, after: int = 0) -> list[str]:
    """What has become of the device's acts, of those that moved since a position."""
    query = {"journal": device.journal, "after": after}
    reply = client.get("/api/v1/sync/status", query_string=query, headers=device.headers)
    return [act["status"] for act in lines(reply)[1:]]


def damaged(act: ActParts) -> ActParts:
    """The act with other words in its parts, of the same length."""
    return ActParts(act.header, act.body.replace("甲".encode(), "乙".encode()), act.personal.replace(b"A", b"B"))


def written(client: FlaskClient, world: World, device: FieldDevice, **fields: str) -> None:
    """An act, and one that has seen it."""
    seen = live_dots(next(line for line in device.pull(client) if line["id"] == world.inspection))
    device.write("inspection", world.inspection, fields, seen)
    device.write("inspection", world.inspection, {"notes": "其后"}, [*seen, f"{device.journal}:1"])


@pytest.mark.parametrize("fields", [{"scene": "甲"}, {"statement": "A"}])
def test_a_damaged_act_is_sent_again(
    client: FlaskClient, world: World, device: FieldDevice, rt: Runtime, fields: dict[str, str]
) -> None:
    """Whole, it is merged and what had waited for it with it; the first receipts stay byte for byte."""
    written(client, world, device, **fields)
    first = device.push(client, device.segment(acts=[damaged(device.acts[0]), device.acts[1]]))
    assert [receipt["verdict"] for receipt in lines(first)[1:]] == ["quarantined", "held"]
    position = lines(client.get(
        "/api/v1/sync/status", query_string={"journal": device.journal, "after": 0}, headers=device.headers
    ))[0]["after"]  # fmt: skip
    again = device.push(client, device.segment(1, 1))
    assert again.data.split(b"\n")[1] == first.data.split(b"\n")[1]
    assert statuses(client, device, position) == ["applied", "applied"]
    line = next(line for line in device.pull(client) if line["id"] == world.inspection)
    name, value = next(iter(fields.items()))
    assert [entry["value"] for entry in line["fields"][name]] == [value]
    assert [finding for check in verify_everything(rt) for finding in check.findings] == []


def test_damaged_again_and_bad_as_it_was_written(
    client: FlaskClient, world: World, device: FieldDevice, rt: Runtime
) -> None:
    """Damage does not replace damage; an act that is whole and bad is quarantined for what is wrong with it."""
    written(client, world, device, scene="甲", form="99")
    spoiled = damaged(device.acts[0])
    for _ in range(2):
        assert device.verdicts(client, device.segment(acts=[spoiled])) == ["quarantined"]
    with rt.db.read() as session:
        row = session.get_one(Act, (device.journal, 1))
        assert (row.body, (row.problem or {})["field"]) == (spoiled.body, "body")
    receipt = lines(device.push(client, device.segment(1, 1)))[1]
    assert receipt["problem"]["field"] == "body"
    with rt.db.read() as session:
        row = session.get_one(Act, (device.journal, 1))
        assert (row.body, row.status, (row.problem or {})["field"]) == (device.acts[0].body, "quarantined", "form")


def test_what_waits_for_something_else_is_told(
    client: FlaskClient, world: World, device: FieldDevice, rt: Runtime
) -> None:
    """Sent again, an act whose own cause is missing is held, and its device hears of that."""
    device.write("answer", rt.new_id(), {"inspection": rt.new_id(), "number": "1", "finding": "甲"})
    assert device.verdicts(client, device.segment(acts=[damaged(device.acts[0])])) == ["quarantined"]
    device.push(client)
    assert statuses(client, device) == ["held"]


def test_beyond_a_gap_it_is_judged_when_the_gap_is_filled(
    client: FlaskClient, world: World, device: FieldDevice, rt: Runtime
) -> None:
    """Damaged, it is held like others there; once it is quarantined, it can be sent again."""
    written(client, world, device, scene="甲")
    device.write("inspection", world.inspection, {"scene": "甲甲"}, [f"{device.journal}:1"])
    spoiled = damaged(device.acts[2])
    assert device.verdicts(client, device.segment(3, acts=[spoiled])) == ["held"]
    device.push(client, device.segment(1, 2))
    assert "quarantined" in statuses(client, device)
    assert [finding for check in verify_everything(rt) for finding in check.findings] == []
    assert device.verdicts(client, device.segment(3, 3)) == ["held"]
    assert "quarantined" not in statuses(client, device)


def test_what_was_erased_does_not_come_back(
    client: FlaskClient, world: World, device: FieldDevice, rt: Runtime
) -> None:
    """The record takes no content any more: a person rules on the act."""
    written(client, world, device, statement="A")
    device.push(client, device.segment(acts=[damaged(device.acts[0])]))
    one, other = Principal("asking", "operator", "42", ""), Principal("approving", "operator", "42", "")
    with rt.db.write() as session:
        order = order_erasure(session, rt, one, [("inspection", world.inspection)], "样例法条", "样例理由")
        decide_order(session, rt, other, order.id, approve=True)
    assert erase(rt) == 1
    device.push(client)
    with rt.db.read() as session:
        row = session.get_one(Act, (device.journal, 1))
        assert (row.status, row.personal) == ("quarantined", b"")
    assert json.loads(row.receipt)["verdict"] == "quarantined"
