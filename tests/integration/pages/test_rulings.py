"""The work desk: undoing a decision, and ruling on acts that are in no record."""

import json

import pytest
from flask.testing import FlaskClient

from server.records.models import Act
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import FieldDevice, World, body, live_dots, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def device(rt: Runtime, world: World, client: FlaskClient) -> FieldDevice:
    """A handheld with a quarantined act, and one that waits for it."""
    made = FieldDevice(rt, world.officers[0])
    seen = live_dots(next(line for line in made.pull(client) if line["id"] == world.inspection))
    made.write("inspection", world.inspection, {"conclusion": "合格", "form": "99"}, seen)
    made.write("inspection", world.inspection, {"scene": "其后"}, [*seen, f"{made.journal}:1"])
    assert made.verdicts(client) == ["quarantined", "held"]
    return made


def test_mending_on_the_desk(
    client: FlaskClient, world: World, device: FieldDevice, sign_in: SignIn, rt: Runtime
) -> None:
    """The list shows what is wrong; mending takes the corrected fields; a bad form comes back with its reason."""
    headers, dot = sign_in("operator"), f"{device.journal}:1"
    assert f"/acts/{dot}" in client.get("/acts", headers=headers).text
    assert f"/acts/{device.journal}:2" in client.get("/acts?state=held", headers=headers).text
    assert client.get("/acts?state=nonsense", headers=headers).status_code == 404
    page = client.get(f"/acts/{dot}?lang=zh", headers=headers)
    assert ("更正" in page.text, "驳回" in page.text, "99" in page.text) == (True, True, True)
    form = {"ruling": "mend", "reason": "笔误", "fields": "no json"}
    assert client.post(f"/acts/{dot}", data=form, headers=headers).status_code == 400
    assert client.post(f"/acts/{dot}", data=form | {"fields": "[]"}, headers=headers).status_code == 422
    right = json.dumps({"conclusion": "合格", "form": "01"})
    silent = client.post(f"/acts/{dot}", data=form | {"fields": right, "reason": ""}, headers=headers)
    assert (silent.status_code, "reason" in silent.text) == (422, True)
    done = client.post(f"/acts/{dot}", data=form | {"fields": right}, headers=headers)
    assert (done.status_code, done.location) == (303, f"/acts/{dot}")
    assert "笔误" in client.get(f"/acts/{dot}", headers=headers).text
    with rt.db.read() as session:
        assert [session.get_one(Act, (device.journal, seq)).status for seq in (1, 2)] == ["mended", "merged"]


def test_dismissing_on_the_desk(client: FlaskClient, device: FieldDevice, sign_in: SignIn, rt: Runtime) -> None:
    """Operators dismiss; auditors read and have no forms."""
    dot = f"{device.journal}:1"
    auditor = sign_in("auditor")
    assert "<textarea" not in client.get(f"/acts/{dot}", headers=auditor).text
    form = {"ruling": "dismiss", "reason": "重复填写"}
    assert client.post(f"/acts/{dot}", data=form, headers=auditor).status_code == 403
    assert client.post(f"/acts/{dot}", data=form, headers=sign_in("operator")).status_code == 303
    with rt.db.read() as session:
        assert session.get_one(Act, (device.journal, 1)).status == "dismissed"


def test_undoing_on_the_desk(client: FlaskClient, world: World, sign_in: SignIn, rt: Runtime) -> None:
    """A decided conflict has a form to undo it; the new conflict says what was undone, and the old one by whom."""
    headers = sign_in("operator")
    for number, value in enumerate(("合格", "不合格")):
        side = FieldDevice(rt, world.officers[number], number + 3)
        side.write("inspection", world.inspection, {"conclusion": value})
        side.verdicts(client)
    conflict = body(client.get("/api/v1/conflicts", headers=headers))["conflicts"][0]["id"]
    sides = [side["dot"] for side in body(client.get(f"/api/v1/conflicts/{conflict}", headers=headers))["sides"]]
    choice = {"sides": sides, "choice": sides[0], "reason": "照片为证"}
    assert client.post(f"/conflicts/{conflict}", data=choice, headers=headers).status_code == 303
    assert f"/conflicts/{conflict}/revert" in client.get(f"/conflicts/{conflict}", headers=headers).text
    assert client.post(f"/conflicts/{conflict}/revert", data={"reason": ""}, headers=headers).status_code == 422
    done = client.post(f"/conflicts/{conflict}/revert", data={"reason": "另有新证据"}, headers=headers)
    assert done.status_code == 303
    assert f"/conflicts/{conflict}" in client.get(done.location, headers=headers).text
    old = client.get(f"/conflicts/{conflict}", headers=headers).text
    assert ("另有新证据" in old, done.location in old) == (True, True)
    assert conflict in client.get("/conflicts?state=reverted", headers=headers).text
    assert client.post(f"/conflicts/{conflict}/revert", data={"reason": "再次"}, headers=headers).status_code == 409
