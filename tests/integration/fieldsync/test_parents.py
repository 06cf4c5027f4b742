"""Journals that continue another one say so in every segment, and always the same."""

import pytest
from flask.testing import FlaskClient

from server.runtime import Runtime
from sync.journal import Fork, SegmentHead
from tests.field_device import FieldDevice, body, encode_key, make_world


def segment(device: FieldDevice, first: int, parent: Fork | None) -> bytes:
    """One act of the device's journal as a segment with a parent."""
    act = device.acts[first - 1]
    head = SegmentHead(
        journal=device.journal, first=first, last=first, head=act.hash(), boot=device.boot,
        wall_ms=device.rt.now_ms(), mono_ms=1_000, parent=parent,
    )  # fmt: skip
    signature = encode_key(device.key.sign(head.statement()))
    return SegmentHead(**{**vars(head), "signature": signature}).line() + act.line()


@pytest.mark.parametrize("other", ["none", "seq"])
def test_the_parent_never_changes(client: FlaskClient, rt: Runtime, other: str) -> None:
    """A later segment that names no parent, or another place in it, is refused and stores nothing."""
    world = make_world(rt)
    device = FieldDevice(rt, world.officers[0])
    device.write("inspection", world.inspection, {"notes": "一"})
    device.write("inspection", world.inspection, {"notes": "二"})
    assert device.push(client).status_code == 200
    old, seconds = device.journal, list(device.acts)
    parent = Fork(old, 2, seconds[1].hash())
    device.journal, device.acts = rt.new_id(), []
    device.write("inspection", world.inspection, {"notes": "三"})
    device.write("inspection", world.inspection, {"notes": "四"})
    assert device.push(client, segment(device, 1, parent)).status_code == 200
    wrong = None if other == "none" else Fork(old, 1, seconds[0].hash())
    refused = device.push(client, segment(device, 2, wrong))
    assert (refused.status_code, body(refused)["field"]) == (422, "parent")
    assert device.push(client, segment(device, 2, parent)).status_code == 200
