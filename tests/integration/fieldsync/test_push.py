"""Pushing: verdicts, idempotence, holding and releasing, forks, quarantine, conflicts and their decision."""

from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.officers.models import Officer
from server.officers.service import add_officers
from server.records.models import Act
from server.runtime import Runtime
from sync.acts import ActParts
from tests.conftest import SignIn
from tests.field_device import FieldDevice, World, body, lines, live_dots, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def pair(rt: Runtime, world: World) -> tuple[FieldDevice, FieldDevice]:
    """The two officers' handhelds."""
    return FieldDevice(rt, world.officers[0], 1), FieldDevice(rt, world.officers[1], 2)


def _opened(device: FieldDevice, client: FlaskClient, world: World) -> list[str]:
    """What a person sees who opens the inspection: the dots of its live values."""
    records = {(record["kind"], record["id"]): record for record in device.pull(client)}
    return live_dots(records["inspection", world.inspection])


def test_pull_brings_the_scope(client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]) -> None:
    """A handheld pulls directory, entity, officers, its task and its inspection, each once."""
    records = pair[0].pull(client)
    kinds = sorted(record["kind"] for record in records)
    assert kinds == ["checklist", "entity", "inspection", "item", "officer", "officer", "task"]


def test_applied_merged_and_conflict(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], rt: Runtime
) -> None:
    """Different fields merge, a contradiction in the conclusion is a conflict on both sides, whole."""
    first, second = pair
    seen = _opened(first, client, world)
    first.write("inspection", world.inspection, {"scene": "干净"}, seen)
    first.write("inspection", world.inspection, {"conclusion": "合格"}, [*seen, f"{first.journal}:1"])
    second.write("inspection", world.inspection, {"method": "现场"}, seen)
    second.write("inspection", world.inspection, {"conclusion": "不合格"}, [*seen, f"{second.journal}:1"])
    assert first.verdicts(client) == ["applied", "applied"]
    assert second.verdicts(client) == ["merged", "conflict"]
    with rt.db.read() as session:
        statuses = {
            (act.journal, act.seq): act.status for act in session.query(Act).filter(Act.device.is_not(None)).all()
        }
    assert statuses[first.journal, 1] == "merged"
    assert statuses[first.journal, 2] == "conflict"
    record = next(r for r in first.pull(client) if r["id"] == world.inspection)
    assert {entry["value"] for entry in record["fields"]["conclusion"]} == {"合格", "不合格"}
    assert record["conflicts"] == ["conclusion"]


def test_a_person_decides(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], sign_in: SignIn
) -> None:
    """The conflict shows base and both sides; a decision with a reason ends it and reaches the handhelds."""
    first, second = pair
    seen = _opened(first, client, world)
    first.write("inspection", world.inspection, {"conclusion": "合格"}, seen)
    second.write("inspection", world.inspection, {"conclusion": "不合格"}, seen)
    first.verdicts(client)
    second.verdicts(client)
    headers = sign_in("operator")
    conflict = body(client.get("/api/v1/conflicts", headers=headers))["conflicts"][0]
    shown = body(client.get(f"/api/v1/conflicts/{conflict['id']}", headers=headers))
    assert shown["base"] == []
    assert {side["value"] for side in shown["sides"]} == {"合格", "不合格"}
    assert {side["author"] for side in shown["sides"]} == set(world.officers)
    dots = [side["dot"] for side in shown["sides"]]
    choice = next(side["dot"] for side in shown["sides"] if side["value"] == "不合格")
    path = f"/api/v1/conflicts/{conflict['id']}/resolve"
    stale = client.post(path, json={"sides": dots[:1], "choice": choice, "reason": "照片为证"}, headers=headers)
    assert (stale.status_code, body(stale)["field"]) == (409, "sides")
    mute = client.post(path, json={"sides": dots, "choice": choice, "reason": ""}, headers=headers)
    assert (mute.status_code, body(mute)["field"]) == (422, "reason")
    done = client.post(path, json={"sides": dots, "choice": choice, "reason": "照片为证"}, headers=headers)
    assert (done.status_code, body(done)["status"]) == (200, "decided")
    again = client.post(path, json={"sides": dots, "choice": choice, "reason": "照片为证"}, headers=headers)
    assert again.status_code == 409
    record = next(r for r in first.pull(client) if r["id"] == world.inspection)
    assert [entry["value"] for entry in record["fields"]["conclusion"]] == ["不合格"]
    assert record["conflicts"] == []
    after = body(client.get(f"/api/v1/conflicts/{conflict['id']}", headers=headers))
    assert {side["value"] for side in after["sides"]} == {"合格", "不合格"}


def test_retry_returns_identical_receipts(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """A retry after a lost reply, cut differently, returns the same bytes and changes nothing."""
    device = pair[0]
    for number in range(1, 6):
        device.write("inspection", world.inspection, {"notes": f"第 {number} 条"})
    first = device.push(client, device.segment(1, 3)).data.splitlines()[1:]
    again = device.push(client).data.splitlines()[1:]
    assert again[:3] == first
    assert device.push(client).data.splitlines()[1:] == again
    record = next(r for r in device.pull(client) if r["id"] == world.inspection)
    assert len(record["fields"]["notes"]) == 5


def test_gap_is_held_and_released(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], rt: Runtime
) -> None:
    """Acts beyond a gap are held with their receipts, and merged when the missing ones arrive."""
    device = pair[0]
    for number in range(1, 5):
        device.write("inspection", world.inspection, {"notes": str(number)})
    assert device.verdicts(client, device.segment(3)) == ["held", "held"]
    reply = lines(device.push(client, device.segment(1, 2)))
    assert reply[0]["head_seq"] == 4
    assert device.verdicts(client) == ["merged", "merged", "held", "held"]
    status = client.get("/api/v1/sync/status", query_string={"journal": device.journal}, headers=device.headers)
    assert [line["status"] for line in lines(status)[1:]] == ["merged"] * 4
    record = next(r for r in device.pull(client) if r["id"] == world.inspection)
    assert len(record["fields"]["notes"]) == 4


def test_act_waits_for_what_it_saw(client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]) -> None:
    """An act that saw another handheld's act waits for that one only, and its neighbours do not wait."""
    first, second = pair
    first.write("inspection", world.inspection, {"scene": "旧"})
    second.write("inspection", world.inspection, {"scene": "新"}, [f"{first.journal}:1"])
    second.write("inspection", world.inspection, {"notes": "无关"})
    assert second.verdicts(client) == ["held", "merged"]
    assert first.verdicts(client) == ["merged"]
    record = next(r for r in first.pull(client) if r["id"] == world.inspection)
    assert [entry["value"] for entry in record["fields"]["scene"]] == ["新"]


def test_fork_is_refused_with_the_last_common_act(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """A restored device that writes other acts under used numbers is told where its journal parted."""
    device = pair[0]
    for number in range(1, 4):
        device.write("inspection", world.inspection, {"notes": str(number)})
    device.verdicts(client)
    device.acts = device.acts[:1]
    device.write("inspection", world.inspection, {"notes": "另一个 2"})
    reply = device.push(client)
    assert (reply.status_code, body(reply)["code"], body(reply)["last_common_seq"]) == (409, "journal-fork", 1)


@pytest.mark.parametrize(
    ("kind", "fields", "header", "field"),
    [
        ("unheard-of", {"a": 1}, {}, "kind"),
        ("entity", {"name": "x"}, {}, "kind"),
        ("inspection", {"no_such_field": 1}, {}, "no_such_field"),
        ("inspection", {"status": 7}, {}, "status"),
        ("inspection", {"scene": "x" * 4_001}, {}, "scene"),
        ("inspection", {"scene": "x"}, {"schema": "one"}, "schema"),
        ("inspection", {"scene": "x"}, {"officer": "01890000-0000-7000-8000-000000000000"}, "officer"),
    ],
)
def test_fault_inside_an_act_quarantines_only_it(
    client: FlaskClient,
    world: World,
    pair: tuple[FieldDevice, FieldDevice],
    kind: str,
    fields: dict[str, object],
    header: dict[str, Any],
    field: str,
) -> None:
    """The bad act is kept with its problem; the acts before and after it are applied."""
    device = pair[0]
    device.write("inspection", world.inspection, {"notes": "前"})
    device.write(kind, world.inspection, fields, **header)
    device.write("inspection", world.inspection, {"notes": "后"})
    receipts = lines(device.push(client))[1:]
    assert [receipt["verdict"] for receipt in receipts] == ["merged", "quarantined", "merged"]
    assert receipts[1]["problem"]["field"] == field


@pytest.mark.parametrize(
    "broken", [b'{"salt":"x","fields":{"a":NaN}}', b"[" * 100_000, b"\xff\xfe", b"{}", b'{"a":1,"a":2}']
)
def test_malformed_body_is_quarantined(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], broken: bytes
) -> None:
    """What is no strict JSON in an act's body quarantines the act, not the segment."""
    device = pair[0]
    good = device.write("inspection", world.inspection, {"notes": "前"})
    header = good.header.replace(sha256(good.body).hexdigest().encode(), sha256(broken[:60_000]).hexdigest().encode())
    device.acts[-1] = ActParts(header, broken[:60_000], b"")
    device.write("inspection", world.inspection, {"notes": "后"})
    assert device.verdicts(client) == ["quarantined", "merged"]


def test_states_are_not_for_everyone_to_set(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """A handheld cannot close an inspection, nor take back a state it had seen; a late earlier state is no fault."""
    first, second = pair
    seen = _opened(first, client, world)
    first.write("inspection", world.inspection, {"status": "closed"}, seen)
    first.write("inspection", world.inspection, {"status": "submitted"}, seen)
    first.write("inspection", world.inspection, {"status": "open"}, [*seen, f"{first.journal}:2"])
    receipts = lines(first.push(client))[1:]
    assert [receipt["verdict"] for receipt in receipts] == ["quarantined", "applied", "quarantined"]
    assert [receipt["problem"]["code"] for receipt in receipts if receipt["problem"]] == ["illegal-transition"] * 2
    second.write("inspection", world.inspection, {"status": "open"}, seen)
    assert second.verdicts(client) == ["merged"]
    record = next(r for r in first.pull(client) if r["id"] == world.inspection)
    assert "submitted" in {entry["value"] for entry in record["fields"]["status"]}


def test_people_see_what_is_not_merged(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], sign_in: SignIn, rt: Runtime
) -> None:
    """Quarantined and held acts are listed with their reasons, page by page, within one's scope."""
    device = pair[0]
    device.write("unheard-of", world.inspection, {"a": 1})
    device.write("inspection", world.inspection, {"scene": "x"}, [f"{rt.new_id()}:1"])
    device.write("inspection", world.inspection, {"nothing": 1})
    device.verdicts(client)
    headers = sign_in("auditor")

    def listed(**query: str | int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = body(client.get("/api/v1/acts", query_string=query, headers=headers))["acts"]
        return rows

    bad = listed()
    assert [row["dot"] for row in bad] == [f"{device.journal}:1", f"{device.journal}:3"]
    assert [row["problem"]["field"] for row in bad] == ["kind", "nothing"]
    assert [row["dot"] for row in listed(after=bad[0]["dot"], limit=1)] == [f"{device.journal}:3"]
    assert listed(status="held")[0]["waiting_for"].endswith(":1")
    assert client.get("/api/v1/acts", query_string={"after": "x"}, headers=headers).status_code == 422
    elsewhere = client.get("/api/v1/acts", headers=sign_in("auditor", region="4205"))
    assert body(elsewhere)["acts"] == []


def test_newer_fields_make_the_round_trip(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]
) -> None:
    """A field of a newer declared schema version is kept and served untouched."""
    device = pair[0]
    device.write("inspection", world.inspection, {"future": {"a": [1, 2.5, "三"]}}, schema=2)
    assert device.verdicts(client) == ["merged"]
    record = next(r for r in device.pull(client) if r["id"] == world.inspection)
    assert record["fields"]["future"][0]["value"] == {"a": [1, 2.5, "三"]}


def test_frame_faults_refuse_the_request(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], rt: Runtime
) -> None:
    """A broken frame, chain or signature refuses the whole request, and nothing is stored."""
    device, other = pair
    device.write("inspection", world.inspection, {"notes": "1"})
    device.write("inspection", world.inspection, {"notes": "2"})
    whole = device.segment()
    assert body(device.push(client, b""))["code"] == "bad-request"
    assert body(device.push(client, whole[:-1]))["code"] == "bad-request"
    assert device.push(client, whole.replace(b'"notes"', b'"scene"')).status_code == 200  # body faults: quarantined
    assert body(other.push(client, whole))["code"] == "bad-signature"
    third = FieldDevice(rt, world.officers[0], 3)
    third.write("inspection", world.inspection, {"notes": "1"})
    third.write("inspection", world.inspection, {"notes": "2"})
    swapped = third.segment(acts=[third.acts[1], third.acts[0]])
    assert third.push(client, swapped).status_code == 400
    forged = third.segment().replace(b'"signature":"', b'"signature":"A')
    assert third.push(client, forged).status_code == 400
    with rt.db.read() as session:
        assert session.query(Act).filter(Act.device == third.id).count() == 0


def test_content_type_and_token_are_needed(client: FlaskClient, pair: tuple[FieldDevice, FieldDevice]) -> None:
    """A push needs its content type and a device's token."""
    assert client.post("/api/v1/sync/push", data=b"x").status_code == 401
    wrong = client.post("/api/v1/sync/push", data=b"x", headers=pair[0].headers, content_type="application/json")
    assert wrong.status_code == 415


def test_stale_and_foreign_cursors(client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]) -> None:
    """Another device's cursor, a forged one and plain text answer stale-cursor."""
    reply = client.get("/api/v1/sync/pull", query_string={"limit": 1}, headers=pair[0].headers)
    cursor = lines(reply)[0]["cursor"]
    for text in ("x", cursor[:-2] + "AA", "é" * 10):
        bad = client.get("/api/v1/sync/pull", query_string={"cursor": text}, headers=pair[0].headers)
        assert (bad.status_code, body(bad)["code"]) == (410, "stale-cursor")
    foreign = client.get("/api/v1/sync/pull", query_string={"cursor": cursor}, headers=pair[1].headers)
    assert foreign.status_code == 410


def test_scope(client: FlaskClient, world: World, rt: Runtime) -> None:
    """An officer who is not assigned neither sees the inspection nor can write to it."""
    stranger = rt.new_id()
    with rt.db.write() as session:
        valid = rt.now() + timedelta(days=9)
        person = Officer(
            id=stranger, name="王样例", certificate_number="HB-9", certificate_valid_until=valid, region="420106",
            department="market",
        )  # fmt: skip
        add_officers(session, rt, [person], author="test")
    device = FieldDevice(rt, stranger, 9)
    assert not [record for record in device.pull(client) if record["kind"] in ("task", "inspection")]
    device.write("inspection", world.inspection, {"scene": "闯入"})
    receipts = lines(device.push(client))[1:]
    assert (receipts[0]["verdict"], receipts[0]["problem"]["code"]) == ("quarantined", "forbidden")


def test_answers_belong_to_their_inspection(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], rt: Runtime
) -> None:
    """An answer takes region and assignees from its inspection; one whose inspection is unknown waits for it."""
    first, second = pair
    answer, lost = rt.new_id(), rt.new_id()
    first.write("answer", answer, {"inspection": world.inspection, "number": "1", "outcome": "fail"})
    first.write("answer", lost, {"inspection": rt.new_id(), "number": "1", "outcome": "fail"})
    assert first.verdicts(client) == ["applied", "held"]
    assert answer in {record["id"] for record in second.pull(client)}
