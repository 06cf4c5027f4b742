"""What people decide, on both databases: conflicts, undoing, rulings on quarantined and overdue acts, the history."""

import json
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from server.fieldsync.overdue import surface_overdue
from server.records.models import Act, Conflict
from server.runtime import Runtime
from server.verifying import check_journals, check_records
from tests.conftest import FakeClock, SignIn
from tests.field_device import FieldDevice, World, body, lines, live_dots, make_world

REASON = "现场照片为证"


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def pair(rt: Runtime, world: World) -> tuple[FieldDevice, FieldDevice]:
    """The two officers' handhelds."""
    return FieldDevice(rt, world.officers[0], 1), FieldDevice(rt, world.officers[1], 2)


class Desk:
    """An operator's desk."""

    def __init__(self, client: FlaskClient, headers: dict[str, str]) -> None:
        """Sit down."""
        self.client, self.headers = client, headers

    def get(self, path: str, expect: int = 200, /, **query: Any) -> dict[str, Any]:  # noqa: ANN401 - query members
        """Read."""
        reply = self.client.get(f"/api/v1{path}", query_string=query, headers=self.headers)
        assert reply.status_code == expect, reply.text
        return body(reply)

    def post(self, path: str, expect: int = 200, /, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - body members
        """Change."""
        reply = self.client.post(f"/api/v1{path}", json={"reason": REASON, **members}, headers=self.headers)
        assert reply.status_code == expect, reply.text
        return body(reply)

    def decide(self, conflict: dict[str, Any], value: object) -> dict[str, Any]:
        """Choose the side with this value."""
        sides = self.get(f"/conflicts/{conflict['id']}")["sides"]
        choice = next(side["dot"] for side in sides if side["value"] == value)
        return self.post(f"/conflicts/{conflict['id']}/resolve", sides=[side["dot"] for side in sides], choice=choice)


@pytest.fixture
def desk(client: FlaskClient, sign_in: SignIn) -> Desk:
    """An operator of the whole province."""
    return Desk(client, sign_in("operator"))


def record_of(device: FieldDevice, client: FlaskClient, record: str) -> dict[str, Any]:
    """A record as the device pulls it."""
    return next(line for line in device.pull(client) if line["id"] == record)


def disagree(client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice]) -> list[str]:
    """Both officers write another conclusion; returns what they had seen."""
    seen = live_dots(record_of(pair[0], client, world.inspection))
    for device, value in zip(pair, ("合格", "不合格"), strict=True):
        device.write("inspection", world.inspection, {"conclusion": value}, seen)
        device.verdicts(client)
    return seen


def sound(rt: Runtime) -> None:
    """Journals are whole, and every record is what its acts amount to."""
    with rt.db.read() as session:
        assert [check.findings for check in (check_journals(session), check_records(session))] == [[], []]


def test_filter_and_counts(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, sign_in: SignIn, rt: Runtime
) -> None:
    """Conflicts are found by region, department, kind, field, record, age and status, and counted by region."""
    disagree(client, world, pair)
    now = rt.now()
    right = {"region": "420100", "department": "market", "kind": "inspection", "field": "conclusion"}
    whole = right | {"record": world.inspection, "opened_from": now.isoformat()}
    assert len(desk.get("/conflicts", **whole)["conflicts"]) == 1
    other = {
        "region": "420200", "department": "other", "kind": "answer", "field": "result", "record": world.task,
        "opened_from": (now + timedelta(seconds=1)).isoformat(), "opened_before": now.isoformat(), "status": "decided",
    }  # fmt: skip
    for name, value in other.items():
        assert desk.get("/conflicts", **{name: value})["conflicts"] == [], name
    counts = desk.get("/conflicts/counts")["counts"]
    assert [(row["region"], row["department"], row["count"]) for row in counts] == [("420106001", "market", 1)]
    outside = Desk(client, sign_in("operator", region="4202"))
    assert outside.get("/conflicts")["conflicts"] == outside.get("/conflicts/counts")["counts"] == []


def test_undoing_a_decision(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, rt: Runtime
) -> None:
    """An undone decision lets both sides stand again, on the handhelds too; who wrote them first is still shown."""
    disagree(client, world, pair)
    first = desk.get("/conflicts")["conflicts"][0]
    desk.decide(first, "合格")
    assert record_of(pair[0], client, world.inspection)["conflicts"] == []
    desk.post(f"/conflicts/{first['id']}/revert", 422, reason=" ")
    opened = desk.post(f"/conflicts/{first['id']}/revert")
    assert (opened["status"], opened["follows"], opened["field"]) == ("open", first["id"], "conclusion")
    line = record_of(pair[0], client, world.inspection)
    assert line["conflicts"] == ["conclusion"]
    assert {entry["value"] for entry in line["fields"]["conclusion"]} == {"合格", "不合格"}
    shown = desk.get(f"/conflicts/{opened['id']}")
    assert {side["author"] for side in shown["sides"]} == set(world.officers)
    assert {side["device"] for side in shown["sides"]} == {pair[0].id, pair[1].id}
    undone = desk.get(f"/conflicts/{first['id']}")["conflict"]
    assert (undone["status"], undone["revert_reason"], undone["reason"]) == ("reverted", REASON, REASON)
    desk.post(f"/conflicts/{first['id']}/revert", 409)
    desk.decide(opened, "不合格")
    assert [entry["value"] for entry in record_of(pair[1], client, world.inspection)["fields"]["conclusion"]] == [
        "不合格"
    ]
    sound(rt)


def test_a_decision_that_was_written_over_cannot_be_undone(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk
) -> None:
    """Somebody saw the decision and wrote on: there is nothing left to undo."""
    disagree(client, world, pair)
    first = desk.get("/conflicts")["conflicts"][0]
    desk.decide(first, "合格")
    seen = live_dots(record_of(pair[0], client, world.inspection))
    pair[0].write("inspection", world.inspection, {"conclusion": "基本合格"}, seen)
    pair[0].verdicts(client)
    assert desk.post(f"/conflicts/{first['id']}/revert", 409)["field"] == "decision"


@pytest.mark.parametrize("kept", [True, False])
def test_undoing_a_decision_on_a_deletion(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, rt: Runtime, *, kept: bool
) -> None:
    """A deletion and an edit that met stand against each other again, whichever was decided for."""
    answer = rt.new_id()
    pair[0].write("answer", answer, {"inspection": world.inspection, "number": "1", "finding": "一"})
    pair[0].verdicts(client)
    seen = live_dots(record_of(pair[0], client, answer))
    pair[0].write("answer", answer, {}, seen, op="delete")
    pair[1].write("answer", answer, {"finding": "二"}, seen)
    pair[0].verdicts(client)
    pair[1].verdicts(client)
    conflict = desk.get("/conflicts")["conflicts"][0]
    desk.decide(conflict, {"finding": "二"} if kept else None)
    assert record_of(pair[0], client, answer)["deleted"] is not kept
    opened = desk.post(f"/conflicts/{conflict['id']}/revert")
    assert opened["field"] == "_deleted"
    line = record_of(pair[0], client, answer)
    assert (line["deleted"], line["conflicts"]) == (False, ["_deleted"])
    desk.decide(opened, None)
    assert record_of(pair[0], client, answer)["deleted"]
    sound(rt)


def test_a_deletion_again_and_what_it_spares_are_both_in_conflict(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, rt: Runtime
) -> None:
    """The edit was written over since: the undone decision itself is what the deletion stands against."""
    seen = live_dots(record_of(pair[0], client, world.inspection))
    pair[0].write("inspection", world.inspection, {}, seen, op="delete")
    pair[1].write("inspection", world.inspection, {"scene": "二"}, seen)
    assert [device.verdicts(client) for device in pair] == [["applied"], ["conflict"]]
    conflict = desk.get("/conflicts")["conflicts"][0]
    decision = desk.decide(conflict, {"scene": "二"})["decision"]["dot"]
    pair[1].write(
        "inspection", world.inspection, {"scene": "三"}, live_dots(record_of(pair[1], client, world.inspection))
    )
    pair[1].verdicts(client)
    desk.post(f"/conflicts/{conflict['id']}/revert")
    entries = desk.get(f"/records/inspection/{world.inspection}/history")["entries"]
    statuses = {entry["dot"]: entry["status"] for entry in entries}
    again = entries[-1]["dot"]
    assert (statuses[decision], statuses[again]) == ("conflict", "conflict")
    sound(rt)


def test_history_keeps_everything(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, clock: FakeClock
) -> None:
    """Every value anyone wrote is there, with who, when, on which device, and who decided what; per field and paged."""
    seen = disagree(client, world, pair)
    clock.advance(60)
    pair[0].write("inspection", world.inspection, {"nonsense": 1}, seen)
    assert pair[0].verdicts(client)[-1] == "quarantined"
    conflict = desk.get("/conflicts")["conflicts"][0]
    desk.decide(conflict, "合格")
    path = f"/records/inspection/{world.inspection}/history"
    entries = desk.get(path)["entries"]
    by_value = {entry["fields"].get("conclusion"): entry for entry in entries if entry["device"]}
    mine = by_value["合格"]
    assert (mine["author"], mine["device"], mine["status"]) == (world.officers[0], pair[0].id, "conflict")
    assert mine["seen"] == seen
    assert mine["wall_ms"] == json.loads(pair[0].acts[0].header)["wall_ms"]
    assert by_value[None]["problem"]["field"] == "nonsense"
    decision = [entry for entry in entries if entry["decision"]]
    assert [(entry["decision"]["id"], entry["decision"]["reason"]) for entry in decision] == [(conflict["id"], REASON)]
    only = desk.get(path, field="conclusion")["entries"]
    assert [entry["fields"]["conclusion"] for entry in only].count("合格") == 2
    paged, after = [], ""
    while True:
        page = desk.get(path, limit=1, after=after)
        paged += page["entries"]
        after = page["after"]
        if not after:
            break
    assert [entry["dot"] for entry in paged] == [entry["dot"] for entry in entries]
    desk.get(path, 422, after="nonsense")
    desk.get(f"/records/inspection/{world.task}/history", 404)


def test_history_stays_in_scope(client: FlaskClient, world: World, sign_in: SignIn) -> None:
    """Another region's operator does not learn that the record exists."""
    Desk(client, sign_in("auditor", region="4202")).get(f"/records/inspection/{world.inspection}/history", 404)


def test_an_overdue_act_becomes_a_conflict_and_never_a_decision(
    client: FlaskClient,
    world: World,
    pair: tuple[FieldDevice, FieldDevice],
    sign_in: SignIn,
    rt: Runtime,
    clock: FakeClock,
) -> None:
    """Past the timeout a held conclusion is put before a person; whatever they decide, its cause may still arrive."""
    device = pair[0]
    seen = live_dots(record_of(device, client, world.inspection))
    device.write("inspection", world.inspection, {"scene": "一"}, seen)
    device.write("inspection", world.inspection, {"conclusion": "不合格"}, [*seen, f"{device.journal}:1"])
    assert device.verdicts(client, device.segment(2)) == ["held"]
    pair[1].write("inspection", world.inspection, {"conclusion": "合格"}, seen)
    pair[1].verdicts(client)

    def surface() -> int:
        with rt.db.write() as session:
            return surface_overdue(session, rt)

    assert surface() == 0
    clock.advance(rt.settings.held_timeout_s + 1)
    assert surface() == 1
    assert surface() == 0
    desk = Desk(client, sign_in("operator"))
    overdue = desk.get("/acts", status="held", overdue=True)["acts"]
    assert [act["dot"] for act in overdue] == [f"{device.journal}:2"]
    conflict = desk.get("/conflicts")["conflicts"][0]
    assert (conflict["held"], conflict["field"]) == (f"{device.journal}:2", "conclusion")
    assert record_of(device, client, world.inspection)["conflicts"] == []
    sides = desk.get(f"/conflicts/{conflict['id']}")["sides"]
    assert {(side["value"], side["held"]) for side in sides} == {("合格", False), ("不合格", True)}
    desk.decide(conflict, "合格")
    assert surface() == 0
    device.verdicts(client)
    line = record_of(device, client, world.inspection)
    assert line["conflicts"] == ["conclusion"]
    assert {entry["value"] for entry in line["fields"]["conclusion"]} == {"合格", "不合格"}
    surface()
    assert desk.get("/acts", status="held", overdue=True)["acts"] == []
    assert [row["held"] for row in desk.get("/conflicts")["conflicts"]] == [None]
    sound(rt)


def test_an_overdue_act_that_arrives_undecided(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], rt: Runtime, clock: FakeClock
) -> None:
    """Its conflict dissolves by itself when the act is merged without contradiction."""
    device = pair[0]
    device.write("inspection", world.inspection, {"scene": "一"})
    device.write("inspection", world.inspection, {"conclusion": "合格"}, [f"{device.journal}:1"])
    device.verdicts(client, device.segment(2))
    clock.advance(rt.settings.held_timeout_s + 1)
    with rt.db.write() as session:
        surface_overdue(session, rt)
    device.verdicts(client)
    with rt.db.write() as session:
        assert surface_overdue(session, rt) == 1
    with rt.db.read() as session:
        assert [row.status for row in session.query(Conflict)] == ["dissolved"]


def test_mending_a_quarantined_act(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, rt: Runtime
) -> None:
    """The office says right what was wrong; the bytes stay, the device learns, and what waited is released."""
    device = pair[0]
    seen = live_dots(record_of(device, client, world.inspection))
    bad = device.write("inspection", world.inspection, {"conclusion": "合格", "form": "99"}, seen)
    device.write("inspection", world.inspection, {"scene": "其后"}, [*seen, f"{device.journal}:1"])
    assert device.verdicts(client) == ["quarantined", "held"]
    dot = f"{device.journal}:1"
    assert desk.get(f"/acts/{dot}")["fields"] == {"conclusion": "合格", "form": "99"}
    assert desk.post(f"/acts/{dot}/mend", 422)["field"] == "form"
    ruling = desk.post(f"/acts/{dot}/mend", fields={"conclusion": "合格", "form": "01"})
    assert ruling["ruling"] == "mended"
    line = record_of(device, client, world.inspection)
    assert {name: [entry["value"] for entry in line["fields"][name]] for name in ("conclusion", "form", "scene")} == {
        "conclusion": ["合格"], "form": ["01"], "scene": ["其后"],
    }  # fmt: skip
    assert line["fields"]["conclusion"][0]["dot"] == ruling["mended_by"]
    status = client.get("/api/v1/sync/status", query_string={"journal": device.journal}, headers=device.headers)
    assert [act["status"] for act in lines(status)[1:]] == ["mended", "merged"]
    with rt.db.read() as session:
        row = session.get_one(Act, (device.journal, 1))
        assert (row.header, row.body, row.verdict) == (bad.header, bad.body, "quarantined")
    desk.post(f"/acts/{dot}/mend", 409)
    assert desk.get("/acts", status="mended")["acts"][0]["ruling"]["reason"] == REASON
    assert device.verdicts(client) == ["quarantined", "held"]
    sound(rt)


def test_mending_makes_the_record_that_was_missing(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, rt: Runtime
) -> None:
    """Mending the first act of a record makes it where it belongs, and later acts on it are merged."""
    device, answer = pair[0], rt.new_id()
    device.write("answer", answer, {"inspection": world.inspection, "number": "1", "outcome": "perfect"})
    device.write("answer", answer, {"finding": "其后"})
    assert device.verdicts(client) == ["quarantined", "held"]
    fields = {"inspection": world.inspection, "number": "1", "outcome": "pass"}
    desk.post(f"/acts/{device.journal}:1/mend", 422, fields={"outcome": "pass"})
    desk.post(f"/acts/{device.journal}:1/mend", fields=fields)
    line = record_of(pair[1], client, answer)
    assert [entry["value"] for entry in line["fields"]["outcome"]] == ["pass"]
    assert [entry["value"] for entry in line["fields"]["finding"]] == ["其后"]
    sound(rt)


def test_dismissing_a_quarantined_act(
    client: FlaskClient, world: World, pair: tuple[FieldDevice, FieldDevice], desk: Desk, rt: Runtime, sign_in: SignIn
) -> None:
    """A dismissed act stays without effect; what waited for it goes on; strangers and readers cannot rule."""
    device = pair[0]
    device.write("inspection", world.inspection, {"form": "99"})
    device.write("inspection", world.inspection, {"scene": "其后"}, [f"{device.journal}:1"])
    device.verdicts(client)
    path = f"/acts/{device.journal}:1/dismiss"
    Desk(client, sign_in("auditor")).post(path, 403)
    Desk(client, sign_in("operator", region="4202")).post(path, 404)
    desk.post(f"/acts/{device.journal}:2/dismiss", 409)
    desk.post("/acts/nonsense/dismiss", 404)
    assert desk.post(path)["ruling"] == "dismissed"
    line = record_of(device, client, world.inspection)
    assert "form" not in line["fields"]
    assert [entry["value"] for entry in line["fields"]["scene"]] == ["其后"]
    sound(rt)
