"""Runs of journals in a bundle: each act under the signature and the key that vouched for it."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from sqlalchemy import select

from server.casefile.journals import journal_runs
from server.casefile.verify_bundle import check_journals
from server.devices.keys import change_key
from server.devices.models import Device
from server.prooflog.service import sequence_step
from server.records.models import Act
from server.runtime import Runtime
from sync.statements import key_statement
from tests.field_device import FieldDevice, encode_key, make_world


@pytest.fixture
def device(rt: Runtime) -> FieldDevice:
    """A device with four acts on its inspection, none of them pushed."""
    world = make_world(rt)
    made = FieldDevice(rt, world.officers[0])
    for number in range(1, 5):
        made.write("inspection", world.inspection, {"notes": f"样例 {number}"})
    return made


def change_key_of(rt: Runtime, device: FieldDevice) -> bytes:
    """Put another key in the place of the device's; returns the former public key."""
    former, new = device.key, Ed25519PrivateKey.from_private_bytes(device.random.randbytes(32))
    before, after = (encode_key(key.public_key().public_bytes_raw()) for key in (former, new))
    statement = key_statement(device.id, before, after, [])
    with rt.db.write() as session:
        row = session.get_one(Device, device.id)
        signature, proof = (encode_key(key.sign(statement)) for key in (former, new))
        change_key(session, rt, row, after, [], signature=signature, proof=proof)
    device.key = new
    return former.public_key().public_bytes_raw()


def runs_of(rt: Runtime, device: FieldDevice) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs of everything that the device wrote, and its acts as a bundle lists them."""
    with rt.db.write() as session:
        sequence_step(session, rt)
    with rt.db.read() as session:
        acts = list(session.execute(select(Act).where(Act.device == device.id).order_by(Act.seq)).scalars())
        return journal_runs(session, acts), [_listed(act) for act in acts]


def _listed(act: Act) -> dict[str, Any]:
    return {
        "journal": act.journal, "seq": act.seq, "office": False, "body": act.body.decode(), "personal": None,
        "receipt": act.receipt.decode(),
    }  # fmt: skip


def test_segments_from_before_a_change_of_the_key(rt: Runtime, client: FlaskClient, device: FieldDevice) -> None:
    """Each run carries the key that signed it, and the bundle is sound."""
    device.verdicts(client, device.segment(1, 2))
    former = change_key_of(rt, device)
    device.verdicts(client, device.segment(3, 4))
    runs, acts = runs_of(rt, device)
    present = device.key.public_key().public_bytes_raw()
    assert [base64.b64decode(run["public_key"]) for run in runs] == [former, present]
    assert all(holds for holds, _ in check_journals(runs, acts))


@pytest.mark.parametrize("order", [((3, 4), (1, 2)), ((4, 4), (1, 1), (2, 3))])
def test_segments_that_arrived_out_of_order(
    rt: Runtime, client: FlaskClient, device: FieldDevice, order: Sequence[tuple[int, int]]
) -> None:
    """One head of the log may cover several segments; each act is still under the signature of its own."""
    for first, last in order:
        device.verdicts(client, device.segment(first, last))
    runs, acts = runs_of(rt, device)
    signed = [int(run["statement"].split("\n")[4]) for run in runs]
    assert signed == sorted(last for _, last in order)
    assert all(holds for holds, _ in check_journals(runs, acts))


def test_an_act_beyond_the_signed_one_is_not_vouched_for(rt: Runtime, client: FlaskClient, device: FieldDevice) -> None:
    """Chained to it alone, anybody who keeps the log could have added it."""
    device.verdicts(client, device.segment(3, 4))
    device.verdicts(client, device.segment(1, 2))
    runs, acts = runs_of(rt, device)
    [first] = [run for run in runs if run["first"] == 1]
    assert [json.loads(header)["seq"] for header in first["headers"]] == [1, 2, 3, 4]
    assert [finding for holds, finding in check_journals([first], acts) if not holds] == [
        f"act {device.journal}:{seq}: is in no signed journal" for seq in (3, 4)
    ]
