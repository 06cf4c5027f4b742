"""Lawful erasure on both databases: what goes, what stays, who must agree, late arrivals, and a restored backup."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, update

from server.fieldsync import erasure_ledger, snapshots
from server.fieldsync.erasure import erase, replay_ledger
from server.fieldsync.models import ErasedAct, ErasedRecord, ErasureNotice, ErasureOrder
from server.prooflog.models import PendingLeaf
from server.records.batch import RecordBatch
from server.records.models import Act, ServerState, SyncedRecord
from server.runtime import Runtime
from server.verifying import verify_everything
from server.web.principal import Principal
from sync.acts import ActParts, commitment
from tests.conftest import SignIn
from tests.contract.test_decisions import Desk, record_of
from tests.field_device import FieldDevice, World, body, lines, live_dots, make_world

SECRET = "当事人陈述甲乙丙"
BASIS = "个人信息保护法第四十七条"


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def device(rt: Runtime, world: World) -> FieldDevice:
    """The first officer's handheld."""
    return FieldDevice(rt, world.officers[0], 1)


@pytest.fixture
def desk(client: FlaskClient, sign_in: SignIn) -> Desk:
    """An operator."""
    return Desk(client, sign_in("operator"))


@pytest.fixture
def second(client: FlaskClient, sign_in: SignIn) -> Desk:
    """Another operator."""
    return Desk(client, sign_in("operator"))


def written(client: FlaskClient, world: World, device: FieldDevice) -> list[str]:
    """A statement and a scene in one act, a contact quarantined in the wrong part; returns what was seen before."""
    seen = live_dots(record_of(device, client, world.inspection))
    device.write("inspection", world.inspection, {"statement": SECRET, "scene": "仓库"}, seen)
    device.verdicts(client)
    return seen


def ordered(desk: Desk, second: Desk, world: World, rt: Runtime) -> str:
    """Order the erasure of the inspection, approve and execute it; returns the order."""
    records = [{"kind": "inspection", "id": world.inspection}]
    order: str = desk.post("/erasures", 201, records=records, basis=BASIS)["id"]
    second.post(f"/erasures/{order}/approve")
    assert erase(rt) == 1
    return order


def faults(rt: Runtime) -> list[str]:
    """Everything that verification finds."""
    return [finding for check in verify_everything(rt) for finding in check.findings]


def stored(rt: Runtime) -> bytes:
    """All bytes of acts and records on the server."""
    with rt.db.read() as session:
        acts = [act.header + act.body + act.personal for act in session.query(Act)]
        return b"".join([*acts, *(row.line for row in session.query(SyncedRecord))])


def test_erasure_destroys_and_breaks_nothing(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """Personal bytes are gone from acts, lines and files; dots, chains and other fields stay; verify passes."""
    written(client, world, device)
    assert SECRET.encode() in stored(rt)
    order = ordered(desk, second, world, rt)
    assert SECRET.encode() not in stored(rt)
    line = record_of_other(rt, client, world)
    assert line["fields"]["statement"][0] | {"at_ms": 0} == {"dot": f"{device.journal}:1", "value": None, "at_ms": 0}
    assert line["fields"]["scene"][0]["value"] == "仓库"
    assert faults(rt) == []
    entry = next(e for e in desk.get(f"/records/inspection/{world.inspection}/history")["entries"] if e["device"])
    assert (entry["erased"], entry["erasure"], entry["fields"]) == (["statement"], order, {"scene": "仓库"})
    with rt.db.read() as session:
        leaf = session.query(PendingLeaf).filter(PendingLeaf.kind == "erasure").one()
        assert (leaf.ref, json.loads(leaf.data)["count"]) == (order, 1)
    if rt.db.is_sqlite:
        files = rt.settings.home.glob("fieldproof.db*")
        assert not any(SECRET.encode() in path.read_bytes() for path in files)


def record_of_other(rt: Runtime, client: FlaskClient, world: World) -> dict[str, Any]:
    """The inspection as the second officer's new handheld pulls it."""
    return record_of(FieldDevice(rt, world.officers[1], 9), client, world.inspection)


def test_two_people_are_needed(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime, sign_in: SignIn
) -> None:
    """Nobody approves an order of their own; refused and executed orders are final; scope and limits hold."""
    written(client, world, device)
    records = [{"kind": "inspection", "id": world.inspection}]
    order = desk.post("/erasures", 201, records=records, basis=BASIS)["id"]
    desk.post(f"/erasures/{order}/approve", 403)
    assert erase(rt) == 0
    second.post(f"/erasures/{order}/refuse")
    second.post(f"/erasures/{order}/approve", 409)
    assert erase(rt) == 0
    assert SECRET.encode() in stored(rt)
    assert [one["status"] for one in desk.get("/erasures")["orders"]] == ["refused"]
    desk.post("/erasures", 404, records=[{"kind": "inspection", "id": world.task}], basis=BASIS)
    desk.post("/erasures", 422, records=[], basis=BASIS)
    desk.post("/erasures", 422, records=records, basis=" ")
    outside = Desk(client, sign_in("operator", region="4202"))
    outside.post("/erasures", 404, records=records, basis=BASIS)
    outside.get(f"/erasures/{order}", 404)
    assert outside.get("/erasures")["orders"] == []


def test_handhelds_are_told_until_they_say_so(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """The device that wrote it gets an erase line with every pull until it acknowledges; others get none.

    Restored from a copy, it stands before what was erased: then it is told once more.
    """
    written(client, world, device)
    page = {"limit": 2_000}
    copied = lines(client.get("/api/v1/sync/pull", query_string=page, headers=device.headers))[0]["cursor"]
    order = ordered(desk, second, world, rt)
    for _ in range(2):
        told = [line for line in lines(client.get("/api/v1/sync/pull", headers=device.headers)) if line.get("erase")]
        assert [(line["kind"], line["id"]) for line in told] == [("inspection", world.inspection)]
    assert desk.get(f"/erasures/{order}")["waiting_devices"] == [device.id]
    done = {"records": [{"kind": "inspection", "id": world.inspection}]}
    for count in (1, 0):
        reply = client.post("/api/v1/sync/erasures", json=done, headers=device.headers)
        assert reply.json == {"acknowledged": count}
    assert desk.get(f"/erasures/{order}")["waiting_devices"] == []
    assert not any("erase" in line for line in lines(client.get("/api/v1/sync/pull", headers=device.headers)))
    again = lines(client.get("/api/v1/sync/pull", query_string=page | {"cursor": copied}, headers=device.headers))
    assert [line["id"] for line in again if line.get("erase")] == [world.inspection]
    query = page | {"cursor": again[0]["cursor"]}
    assert len(lines(client.get("/api/v1/sync/pull", query_string=query, headers=device.headers))) == 1


def test_an_erased_record_takes_no_personal_data(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """Acts that arrive later lose their personal part on arrival, held ones too, and are merged all the same."""
    written(client, world, device)
    ordered(desk, second, world, rt)
    late = FieldDevice(rt, world.officers[1], 2)
    late.write("inspection", world.inspection, {"statement": SECRET + "一", "scene": "门口"})
    late.write("inspection", world.inspection, {"contact": SECRET + "二"}, [f"{late.journal}:1"])
    late.write("inspection", world.inspection, {"statement": SECRET + "三"}, [f"{late.journal}:1"])
    assert late.verdicts(client, late.segment(2)) == ["held", "held"]
    assert late.verdicts(client)[0] == "merged"
    assert SECRET.encode() not in stored(rt)
    line = record_of(device, client, world.inspection)
    assert {entry["value"] for entry in line["fields"]["statement"]} == {None}
    assert [entry["dot"] for entry in line["fields"]["contact"]] == [f"{late.journal}:2"]
    assert faults(rt) == []
    assert desk.get("/erasures")["orders"][0]["status"] == "executed"


def test_held_and_quarantined_acts_are_erased_too(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """Personal data in the wrong part of a quarantined act, and in acts that wait, goes as well; they can go on."""
    seen = written(client, world, device)
    salt = "A" * 22
    wrong = json.dumps({"salt": salt, "fields": {"contact": SECRET, "form": "99"}}, ensure_ascii=False).encode()
    parts = device.write("inspection", world.inspection, {"form": "99"}, seen)
    header = parts.header.replace(commitment(parts.body).encode(), commitment(wrong).encode())
    device.acts[-1] = ActParts(header, wrong)
    assert device.verdicts(client)[1:] == ["quarantined"]
    other = FieldDevice(rt, world.officers[1], 2)
    other.write("inspection", world.inspection, {"scene": "一"})
    other.write("inspection", world.inspection, {"contact": SECRET}, [f"{other.journal}:1"])
    assert other.verdicts(client, other.segment(2)) == ["held"]
    ordered(desk, second, world, rt)
    assert SECRET.encode() not in stored(rt)
    assert other.verdicts(client)[0] == "merged"
    assert faults(rt) == []
    reply = client.get("/api/v1/sync/status", query_string={"journal": other.journal}, headers=other.headers)
    assert [line["status"] for line in lines(reply)[1:]] == ["merged", "merged"], reply.text


def test_bad_acts_that_arrive_later_keep_nothing_either(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """An act on an erased record that is quarantined for personal data in the wrong part is stored without it."""
    written(client, world, device)
    ordered(desk, second, world, rt)
    wrong = json.dumps({"salt": "A" * 22, "fields": {"contact": SECRET}}, ensure_ascii=False).encode()
    late = FieldDevice(rt, world.officers[1], 2)
    parts = late.write("inspection", world.inspection, {"scene": "一"})
    late.acts[-1] = ActParts(parts.header.replace(commitment(parts.body).encode(), commitment(wrong).encode()), wrong)
    assert late.verdicts(client) == ["quarantined"]
    assert SECRET.encode() not in stored(rt)
    assert faults(rt) == []


def test_a_missing_personal_part_needs_an_erasure(client: FlaskClient, world: World, device: FieldDevice) -> None:
    """Nobody leaves out a personal part on a record that was not erased."""
    parts = device.write("inspection", world.inspection, {"statement": SECRET, "scene": "一"})
    device.acts[-1] = ActParts(parts.header, parts.body)
    reply = lines(device.push(client))
    assert (reply[1]["verdict"], reply[1]["problem"]["field"]) == ("quarantined", "personal")


def test_a_restored_backup_erases_again(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """The ledger outside the database erases again what a restored backup still has; twice changes nothing."""
    written(client, world, device)
    with rt.db.read() as session:
        personal = {(act.journal, act.seq): act.personal for act in session.query(Act)}
        line = session.get_one(SyncedRecord, ("inspection", world.inspection)).line
    order = ordered(desk, second, world, rt)
    with rt.db.write() as session:  # what a backup from before the order holds
        for (journal, seq), part in personal.items():
            session.execute(update(Act).where(Act.journal == journal, Act.seq == seq).values(personal=part))
        session.execute(update(SyncedRecord).where(SyncedRecord.id == world.inspection).values(line=line))
        for table in (ErasedAct, ErasedRecord, ErasureNotice, ErasureOrder, PendingLeaf):
            session.execute(delete(table))
        session.execute(update(ServerState).values(erasures=0))
    assert SECRET.encode() in stored(rt)
    for count in (1, 0):
        with rt.db.write() as session:
            assert replay_ledger(session, rt) == count
    assert SECRET.encode() not in stored(rt)
    assert [one["id"] for one in desk.get("/erasures")["orders"]] == [order]
    assert desk.get(f"/erasures/{order}")["waiting_devices"] == [device.id]
    with rt.db.read() as session:
        assert [row.fields for row in session.query(ErasedAct)] == [["statement"]]


def test_what_a_mended_act_had_said_goes_with_it(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """An act that named a wrong record was mended into the right one: erasing that erases what the act had said."""
    wrong = rt.new_id()
    device.write("rectification", wrong, {"inspection": world.inspection, "contact": SECRET, "statement": SECRET})
    assert device.verdicts(client) == ["quarantined"]
    fields = {"contact": SECRET}
    desk.post(
        f"/acts/{device.journal}:1/mend", kind="inspection", record=world.inspection, fields=fields,
    )  # fmt: skip
    ordered(desk, second, world, rt)
    assert SECRET.encode() not in stored(rt)
    assert faults(rt) == []
    told = [line for line in lines(client.get("/api/v1/sync/pull", headers=device.headers)) if line.get("erase")]
    assert [(line["kind"], line["id"]) for line in told] == [("rectification", wrong)]


def test_an_act_that_named_another_record_goes_alone(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime
) -> None:
    """Its device is told of that act by its dot, and keeps what else it wrote to the record named by mistake."""
    other = rt.new_id()
    fields = {"inspection": world.inspection, "requirement": "限期改正", "status": "ordered"}
    device.write("rectification", other, fields)
    assert device.verdicts(client) == ["applied"]
    device.write("rectification", other, {"contact": SECRET, "status": "no such"})
    assert device.verdicts(client)[1:] == ["quarantined"]
    mistaken = f"{device.journal}:2"
    desk.post(f"/acts/{mistaken}/mend", kind="inspection", record=world.inspection, fields={"contact": SECRET})
    ordered(desk, second, world, rt)
    assert SECRET.encode() not in stored(rt)
    told = [line for line in lines(client.get("/api/v1/sync/pull", headers=device.headers)) if line.get("erase")]
    assert [(line["kind"], line["id"]) for line in told] == [("act", mistaken)]
    said = {"records": [{"kind": "act", "id": mistaken}]}
    assert body(client.post("/api/v1/sync/erasures", json=said, headers=device.headers)) == {"acknowledged": 1}
    assert faults(rt) == []


def test_acts_on_a_record_that_never_was_can_be_erased(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime, sign_in: SignIn
) -> None:
    """They name no record that has a place: the order goes by the place of the device; others see nothing there."""
    nowhere = rt.new_id()
    device.write("inspection", nowhere, {"entity": world.entity, "statement": SECRET, "status": "no such"})
    assert device.verdicts(client) == ["quarantined"]
    records = [{"kind": "inspection", "id": nowhere}]
    Desk(client, sign_in("operator", region="4101")).post("/erasures", 404, records=records, basis=BASIS)
    order = desk.post("/erasures", 201, records=records, basis=BASIS)["id"]
    second.post(f"/erasures/{order}/approve")
    assert erase(rt) == 1
    assert SECRET.encode() not in stored(rt)
    assert faults(rt) == []
    assert desk.get(f"/erasures/{order}")["waiting_devices"] == [device.id]


@pytest.mark.parametrize("kept", [True, False])
def test_undoing_a_decision_against_an_edit_that_was_erased(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime, *, kept: bool
) -> None:
    """An edit of which nothing is left is still no deletion: it cannot be said again, a deletion against it can."""
    other = FieldDevice(rt, world.officers[1], 2)
    seen = live_dots(record_of(device, client, world.inspection))
    device.write("inspection", world.inspection, {}, seen, op="delete")
    other.write("inspection", world.inspection, {"statement": SECRET}, seen)
    assert [device.verdicts(client), other.verdicts(client)] == [["applied"], ["conflict"]]
    conflict = desk.get("/conflicts")["conflicts"][0]
    desk.decide(conflict, {"statement": SECRET} if kept else None)
    ordered(desk, second, world, rt)
    if kept:
        assert desk.post(f"/conflicts/{conflict['id']}/revert")["field"] == "_deleted"
    else:
        assert desk.post(f"/conflicts/{conflict['id']}/revert", 409)["field"] == "decision"
    assert faults(rt) == []


@pytest.mark.parametrize("rt", ["postgresql"], indirect=True)
def test_an_erasure_while_a_push_is_under_way(
    client: FlaskClient, world: World, device: FieldDevice, desk: Desk, second: Desk, rt: Runtime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Where there are several writers: what is pushed before is erased, what comes later is destroyed on arrival."""
    written(client, world, device)
    load, executed = RecordBatch.load, list[str]()

    def load_after_erasing(batch: RecordBatch, keys: Iterable[tuple[str, str]]) -> None:
        if not executed:
            executed.append("now")
            ordered(desk, second, world, rt)
        load(batch, keys)

    late = FieldDevice(rt, world.officers[1], 2)
    late.write("inspection", world.inspection, {"contact": SECRET})
    monkeypatch.setattr(RecordBatch, "load", load_after_erasing)
    late.verdicts(client)
    assert executed
    assert SECRET.encode() not in stored(rt)
    assert faults(rt) == []


def test_a_snapshot_made_during_an_erasure_is_not_kept(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was read before the erasure and would hold what was erased; the feed serves in its place."""
    make_world(rt)
    fill = snapshots._fill

    def fill_and_erase(*arguments: Any) -> None:  # noqa: ANN401 - handed on
        fill(*arguments)
        with rt.db.write() as session:
            session.execute(update(ServerState).values(erasures=ServerState.erasures + 1))

    monkeypatch.setattr(snapshots, "MIN_RECORDS", 1)
    monkeypatch.setattr(snapshots, "_fill", fill_and_erase)
    caller = Principal("x", "device", "420106", "market", ())
    assert snapshots.snapshot_for(rt, caller) is None
    assert not [path for path in (rt.settings.home / "snapshots").iterdir() if path.suffix != ".lock"]


def test_ledger_is_chained(tmp_path: Path) -> None:
    """A torn last line does not count, an order is entered once, and a changed line is noticed."""
    ledger = tmp_path / "erasures.ndjson"
    for number in ("a", "b", "a"):
        erasure_ledger.append(ledger, {"order": number})
    assert [entry["order"] for entry in erasure_ledger.read(ledger)] == ["a", "b"]
    ledger.write_bytes(ledger.read_bytes() + b'{"order":')
    assert len(erasure_ledger.read(ledger)) == 2
    ledger.write_bytes(ledger.read_bytes().replace(b'"a"', b'"c"'))
    with pytest.raises(ValueError, match="line 2"):
        erasure_ledger.read(ledger)
