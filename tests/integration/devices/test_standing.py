"""What devices may do: keys and how far they vouch, officers, revocation and wipe, rate, versions, secrets."""

from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from sqlalchemy import select

from server import rates
from server.audit.models import AuditEvent
from server.cli import main
from server.config import load_secret, rotate_secret
from server.devices import clocks, pushing, sharing, standing
from server.devices.models import Device
from server.errors import Problem
from server.officers.models import Officer
from server.runtime import Runtime
from server.web.auth import issue_token, read_token
from sync.clocks import Exchange
from sync.journal import SEGMENT_TYPE
from sync.statements import JournalHead, key_statement, share_statement, sign_in_statement, wiped_statement
from tests.conftest import FakeClock, SignIn
from tests.field_device import FieldDevice, World, body, encode_key, lines, make_world


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def device(rt: Runtime, world: World) -> FieldDevice:
    """The first officer's device."""
    return FieldDevice(rt, world.officers[0])


def public(key: Ed25519PrivateKey) -> str:
    """The public key in base64url."""
    return encode_key(key.public_key().public_bytes_raw())


def sign_in_device(http: FlaskClient, device: FieldDevice, **more: object) -> Any:  # noqa: ANN401 - a test response
    """Sign a device in."""
    at_ms, nonce = device.rt.now_ms(), encode_key(device.random.randbytes(18))
    signature = encode_key(device.key.sign(sign_in_statement(device.id, at_ms, nonce)))
    request = {"device": device.id, "at_ms": at_ms, "nonce": nonce, "signature": signature, **more}
    return http.post("/api/v1/sign-in/device", json=request)


def change(device: FieldDevice, new: Ed25519PrivateKey, heads: list[JournalHead] | None = None) -> dict[str, Any]:
    """The request by which a device changes its key."""
    named = [JournalHead(device.journal, len(device.acts), device.acts[-1].hash())] if heads is None else heads
    statement = key_statement(device.id, public(device.key), public(new), named)
    return {
        "public_key": public(new),
        "heads": [vars(head) for head in named],
        "signature": encode_key(device.key.sign(statement)),
        "proof": encode_key(new.sign(statement)),
    }


def test_how_far_an_old_key_vouches(client: FlaskClient, device: FieldDevice, world: World, sign_in: SignIn) -> None:
    """Up to the heads in the statement, act for act, and no further; the statement is there for everyone to check."""
    for number in range(3):
        device.write("inspection", world.inspection, {"scene": f"样例{number}"})
    old, new = device.key, Ed25519PrivateKey.generate()
    early = device.segment(1, 2)
    device.write("inspection", world.inspection, {"scene": "later"})
    late = device.segment(4, 4)
    head = JournalHead(device.journal, 3, device.acts[2].hash())
    reply = client.post(f"/api/v1/devices/{device.id}/key", json=change(device, new, [head]), headers=device.headers)
    assert (reply.status_code, body(reply)["key_number"]) == (200, 2)
    assert device.verdicts(client, early) == ["merged", "merged"]
    assert device.push(client, late).status_code == 400
    device.key = new
    assert device.verdicts(client, device.segment(3, 4)) == ["merged", "merged"]
    device.key = old
    assert sign_in_device(client, device).status_code == 401
    keys = body(client.get(f"/api/v1/devices/{device.id}/keys", headers=sign_in("auditor")))
    assert keys["former"][0]["statement"].startswith(f"fieldproof-key-v1\n{device.id}\n{public(old)}\n{public(new)}\n")


def test_changes_of_keys_are_checked(client: FlaskClient, device: FieldDevice, world: World, rt: Runtime) -> None:
    """Both signatures, a key that nobody has or had, and the device's own address; repeating it changes nothing."""
    device.write("inspection", world.inspection, {"scene": "样例"})
    other = FieldDevice(rt, world.officers[1], 2)
    path, new = f"/api/v1/devices/{device.id}/key", Ed25519PrivateKey.generate()
    good = change(device, new)

    def status(request: dict[str, Any], at: str = path) -> int:
        return client.post(at, json=request, headers=device.headers).status_code

    assert status(good | {"signature": good["proof"]}) == 400
    assert status(good | {"proof": good["signature"]}) == 400
    assert status(good | {"heads": []}) == 400
    assert status(change(device, other.key)) == 409
    assert status(good, f"/api/v1/devices/{other.id}/key") == 404
    assert status(good) == 200
    assert status(good) == 200
    assert status(good | {"proof": good["signature"]}) == 409
    old, device.key = device.key, new
    assert status(change(device, old)) == 409, "a former key never comes back"
    assert sign_in_device(client, device).status_code == 200


def test_sharing_is_checked(
    client: FlaskClient,
    device: FieldDevice,
    world: World,
    rt: Runtime,
    sign_in: SignIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The device must agree, the officer must be of its region and department, and there is a limit."""
    second = sign_in("officer", region="420106", department="market", officer=world.officers[1])
    path = f"/api/v1/devices/{device.id}/officers"
    proof = encode_key(device.key.sign(share_statement(device.id, world.officers[1])))
    assert client.post(path, json={"proof": "A" * 86}, headers=second).status_code == 400
    assert client.post(path, json={"proof": proof}, headers=sign_in("officer")).status_code == 403
    with rt.db.write() as session:
        officer = session.get_one(Officer, world.officers[1])
        officer.department = "fire"
    assert client.post(path, json={"proof": proof}, headers=second).status_code == 403
    with rt.db.write() as session:
        session.get_one(Officer, world.officers[1]).department = "market"
    monkeypatch.setattr(sharing, "MAX_OFFICERS_PER_DEVICE", 1)
    assert body(client.post(path, json={"proof": proof}, headers=second))["limit"] == 1
    monkeypatch.undo()
    assert client.post(path, json={"proof": proof}, headers=second).status_code == 200
    assert client.post(path, json={"proof": proof}, headers=second).status_code == 200
    assert body(client.get(f"/api/v1/devices/{device.id}", headers=second))["officers"] == list(world.officers)
    first = client.delete(f"{path}/{world.officers[0]}", headers=sign_in("operator"))
    assert (first.status_code, body(first)["code"]) == (409, "illegal-transition")


def test_a_push_under_way_stops_at_a_revocation(
    client: FlaskClient, device: FieldDevice, rt: Runtime, sign_in: SignIn
) -> None:
    """A token that was good when the request began is looked at again inside the writing transaction."""
    with rt.db.read() as session:
        caller = standing.load_principal(session, device.id)
    client.post(f"/api/v1/devices/{device.id}/revoke", headers=sign_in("operator"))
    with rt.db.write() as session, pytest.raises(Problem, match="may not push"):
        pushing.lock_for_push(session, caller)
    assert client.get("/api/v1/sync/pull", headers=device.headers).status_code == 401


def test_a_push_stops_when_the_key_changed_under_it(rt: Runtime, device: FieldDevice) -> None:
    """The signature was checked by the key that the caller had; with another one in force it proves nothing."""
    with rt.db.read() as session:
        caller = standing.load_principal(session, device.id)
    with rt.db.write() as session:
        assert pushing.lock_for_push(session, caller).id == device.id
        session.get_one(Device, device.id).key_number += 1
        session.flush()
        with pytest.raises(Problem) as refused:
            pushing.lock_for_push(session, caller)
    assert refused.value.code == "unauthenticated"


def hand_in(client: FlaskClient, device: FieldDevice, data: bytes | None = None) -> Any:  # noqa: ANN401 - a test response
    """Sign in, which gives a token for handing in, and push."""
    token = body(sign_in_device(client, device))
    assert token["purpose"] == "hand-in"
    headers = {"Authorization": f"Bearer {token['token']}"}
    sent = device.segment() if data is None else data
    return client.post("/api/v1/sync/push", data=sent, headers=headers, content_type=SEGMENT_TYPE)


def test_sealed_acts_have_a_limit(
    client: FlaskClient, device: FieldDevice, world: World, sign_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revoked device hands in so many acts and no more; a retry of what it handed in is answered as before."""
    device.write("inspection", world.inspection, {"scene": "样例"})
    client.post(f"/api/v1/devices/{device.id}/revoke", headers=sign_in("operator"))
    monkeypatch.setattr(pushing, "MAX_SEALED_ACTS", 1)
    first = hand_in(client, device)
    assert [line["problem"]["code"] for line in lines(first)[1:]] == ["device-revoked"]
    assert hand_in(client, device).data == first.data
    device.write("inspection", world.inspection, {"scene": "one more"})
    assert body(hand_in(client, device))["limit"] == 1


def test_acts_held_before_a_revocation_are_released_after_it(
    client: FlaskClient, device: FieldDevice, world: World, rt: Runtime, sign_in: SignIn, clock: FakeClock
) -> None:
    """They had arrived in good time; those that arrive later are quarantined although they wait for the same cause."""
    other = FieldDevice(rt, world.officers[1], 2)
    cause = f"{other.journal}:1"
    other.write("inspection", world.inspection, {"scene": "cause"})
    device.write("inspection", world.inspection, {"scene": "effect"}, [cause])
    assert device.verdicts(client) == ["held"]
    clock.advance(1)
    client.post(f"/api/v1/devices/{device.id}/revoke", headers=sign_in("operator"))
    device.write("inspection", world.inspection, {"scene": "late"}, [cause])
    device.write("inspection", world.inspection, {"scene": "later"})
    assert [line["verdict"] for line in lines(hand_in(client, device, device.segment(3)))[1:]] == ["held"]
    assert [line["verdict"] for line in lines(hand_in(client, device))[1:]] == ["held", "quarantined", "held"]
    assert other.verdicts(client) == ["merged"]
    listed = body(client.get("/api/v1/acts", headers=sign_in("operator")))["acts"]
    late = [(f"{device.journal}:{seq}", "device-revoked") for seq in (2, 3)]
    assert [(act["dot"], act["problem"]["code"]) for act in listed] == late
    assert body(client.get("/api/v1/acts?status=held", headers=sign_in("operator")))["acts"] == []


def test_a_wipe_is_ordered_acknowledged_and_audited(
    client: FlaskClient, device: FieldDevice, rt: Runtime, sign_in: SignIn
) -> None:
    """Only the device itself can say that it is wiped, only by that order; then it is nobody any more."""
    operator, path = sign_in("operator"), f"/api/v1/devices/{device.id}"
    assert client.post(f"{path}/wipe", json={}, headers=operator).status_code == 422
    assert client.post(f"{path}/wipe", json={"reason": "丢失"}, headers=sign_in("auditor")).status_code == 403
    assert body(client.post(f"{path}/wipe", json={"reason": "丢失"}, headers=operator))["status"] == "wiping"
    assert client.get("/api/v1/sync/pull", headers=device.headers).status_code == 401
    token = body(sign_in_device(client, device, pending_acts=4, pending_files=2))
    headers = {"Authorization": f"Bearer {token['token']}"}
    refused = client.get("/api/v1/sync/pull", headers=headers)
    assert (refused.status_code, body(refused)["code"]) == (403, "device-wiping")
    shown = body(client.get(path, headers=operator))
    assert (shown["pending_acts"], shown["pending_files"]) == (4, 2)
    statement = wiped_statement(device.id, token["wipe_ordered_at_ms"], 4, 2)
    word = {"acts_lost": 4, "files_lost": 2, "signature": encode_key(device.key.sign(statement))}
    assert client.post(f"{path}/wiped", json=word | {"acts_lost": 0}, headers=headers).status_code == 400
    assert body(client.post(f"{path}/wiped", json=word, headers=headers))["status"] == "wiped"
    assert client.post(f"{path}/wiped", json=word, headers=headers).status_code == 401
    assert "wiped_at_ms" in body(sign_in_device(client, device))
    with rt.db.read() as session:
        events = session.scalars(select(AuditEvent).where(AuditEvent.subject_id == device.id))
        audited = [(event.actor == device.id, event.action) for event in events]
    assert audited == [
        (False, "device.wipe"),
        (True, "device.wiped"),
    ]


def test_a_device_asks_too_often(client: FlaskClient, device: FieldDevice, clock: FakeClock, rt: Runtime) -> None:
    """429 with Retry-After; after that wait it is served again, and other devices are served all along."""
    per_s = rt.settings.device_requests_per_s
    other = FieldDevice(rt, device.officer, 2)
    headers, path = device.headers, f"/api/v1/devices/{device.id}"
    for _ in range(per_s * rates.BURST_S):
        rt.rates.take(device.id, rt.now_ms(), per_s)
    refused = client.get(path, headers=headers)
    assert (refused.status_code, body(refused)["code"], refused.headers["Retry-After"]) == (429, "rate-limited", "1")
    assert sign_in_device(client, device).status_code == 429
    assert client.get(f"/api/v1/devices/{other.id}", headers=other.headers).status_code == 200
    clock.advance(1)
    assert client.get(path, headers=headers).status_code == 200


def test_rates_forget_who_has_paid_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, nobody gets a fresh burst by it, and 0 turns the limit off."""
    monkeypatch.setattr(rates, "MAX_CALLERS", 2)
    kept = rates.Rates()
    for _ in range(rates.BURST_S):
        kept.take("busy", 1_000, 1)
    kept.take("quiet", 0, 1)
    kept.take("third", 2_000, 1)
    with pytest.raises(Problem):
        kept.take("busy", 1_000, 1)
    assert "quiet" not in kept._paid_off_ms
    for _ in range(100):
        kept.take("anyone", 0, 0)


def test_versions_are_named_and_announcements_checked(client: FlaskClient, device: FieldDevice) -> None:
    """Every sign-in says what the server speaks; a client that announces nonsense is told so."""
    said = body(sign_in_device(client, device))
    assert (said["purpose"], said["problem"], said["protocol"]) == ("sync", None, {"oldest": 1, "newest": 1})
    assert said["kinds"]["inspection"] == 1
    good = {"name": "test", "version": "9", "protocol": 2, "kinds": {"inspection": 7}}
    assert body(sign_in_device(client, device, client=good))["purpose"] == "sync"
    for bad in (good | {"protocol": -1}, good | {"kinds": {"x": "1"}}, {"name": "x"}, good | {"name": "x" * 65}):
        assert sign_in_device(client, device, client=bad).status_code == 422
    old = body(sign_in_device(client, device, client=good | {"protocol": 0}))
    assert (old["purpose"], old["problem"]["code"], old["problem"]["limit"]) == ("hand-in", "client-too-old", 1)


def test_what_goes_along_with_a_push_is_checked(client: FlaskClient, device: FieldDevice, world: World) -> None:
    """A broken clock or count is refused and nothing is stored; a sound one is kept."""
    device.write("inspection", world.inspection, {"scene": "样例"})
    exchange = Exchange(device.boot, 0, device.rt.now_ms() - 900, 100).text()

    def push(**headers: str) -> int:
        sent = device.headers | {name.replace("_", "-"): value for name, value in headers.items()}
        return client.post(
            "/api/v1/sync/push", data=device.segment(), headers=sent, content_type=SEGMENT_TYPE
        ).status_code

    for bad in ("", "x", exchange + " 1", exchange.replace(" 100", " -1")):
        assert push(Fieldproof_Clock=bad) == 400
    for bad in ("", "1", "1 2 3", "-1 0", "1e3 0", "99999999999 0", "１ 2"[1:] + "x"):
        assert push(Fieldproof_Pending=bad) == 400
    assert push(Fieldproof_Clock=exchange, Fieldproof_Pending="3 9999999999") == 200
    with device.rt.db.read() as session:
        row = session.get_one(Device, device.id)
        assert (row.boot, row.pending_acts, row.pending_files) == (device.boot, 3, 2**31 - 1)


def test_times_and_boots_are_shown_in_scope_only(
    client: FlaskClient, device: FieldDevice, world: World, sign_in: SignIn
) -> None:
    """Another region's people do not learn that there is such a journal."""
    device.write("inspection", world.inspection, {"scene": "样例"})
    device.verdicts(client)
    path, stranger = f"/api/v1/journals/{device.journal}/times", sign_in("auditor", region="4205")
    [act] = body(client.get(path, headers=sign_in("auditor")))["acts"]
    assert (act["basis"], act["at_ms"], act["error_ms"]) == ("arrival", device.rt.now_ms(), 0)
    assert body(client.get(f"{path}?after=1", headers=sign_in("auditor")))["acts"] == []
    for hidden in (path, f"/api/v1/journals/{device.id}/times", f"/api/v1/devices/{device.id}/boots",
                   f"/api/v1/devices/{device.id}/keys"):  # fmt: skip
        assert client.get(hidden, headers=stranger).status_code == 404


def test_secrets_are_read_once_and_rotated(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens signed before a rotation stay good until the next one; after one at once they do not."""
    token = issue_token(rt, "account", "someone", 60).text
    first = load_secret(rt.settings, "jwt")
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.read_text", lambda *_: pytest.fail("read again"))
        assert load_secret(rt.settings, "jwt") == first
    rotate_secret(rt.settings, "jwt")
    assert load_secret(rt.settings, "jwt") != first
    assert read_token(rt, token)["sub"] == "someone"
    assert read_token(rt, issue_token(rt, "account", "other", 60).text)["sub"] == "other"
    rotate_secret(rt.settings, "jwt", keep_previous=False)
    with pytest.raises(Problem, match="refused"):
        read_token(rt, token)
    assert {path.stat().st_mode & 0o777 for path in rt.settings.keys_dir.iterdir()} == {0o600}


def test_wrong_clocks_are_listed(
    client: FlaskClient, device: FieldDevice, world: World, rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`fieldproof clocks` names the handheld set to 2035 and the one that was put back, and no sound one."""
    devices = [device, FieldDevice(rt, world.officers[1], 2), FieldDevice(rt, world.officers[1], 3)]
    for number, (one, off_ms) in enumerate(zip(devices, (9 * 365 * 86_400_000, 0, 0), strict=True)):
        for step_ms in (0, -86_400_000 if number == 1 else 0):
            one.write("inspection", world.inspection, {"scene": f"样例{number}"})
            data = one.segment(len(one.acts), len(one.acts), wall_ms=rt.now_ms() + off_ms + step_ms)
            assert one.push(client, data).status_code == 200
    with rt.db.read() as session:
        found = [(boot.device, boot.steps, boot.largest_step_ms) for _, boot in clocks.wrong_clocks(session)]
    assert found == [(device.id, 0, 0), (devices[1].id, 1, -86_400_000)]
    monkeypatch.setenv("FIELDPROOF_HOME", str(rt.settings.home))
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(main, ["clocks"]).output
    assert "+283,824,000" in shown
    assert "-86,400" in shown
