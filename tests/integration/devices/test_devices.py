"""Handhelds: enrolment with proof, approval, signed sign-in, revocation at once."""

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient

from server.devices.service import MAX_DEVICES_PER_OFFICER, SIGN_IN_WINDOW_S
from server.runtime import Runtime
from sync.statements import enrol_statement, sign_in_statement
from tests.conftest import FakeClock, SignIn
from tests.field_device import World, body, encode_key, make_world


class Key:
    """A device's key pair."""

    def __init__(self) -> None:
        """Make a fresh one."""
        self.private = Ed25519PrivateKey.generate()
        self.public = encode_key(self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    def sign(self, statement: bytes) -> str:
        """Return the signature in base64url."""
        return encode_key(self.private.sign(statement))


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def officer(world: World, sign_in: SignIn) -> dict[str, str]:
    """The first officer, signed in."""
    return sign_in("officer", region="420106", department="market", officer=world.officers[0])


def _enrol(client: FlaskClient, headers: dict[str, str], officer: str, key: Key) -> tuple[int, dict[str, object]]:
    proof = key.sign(enrol_statement(key.public, officer))
    reply = client.post(
        "/api/v1/devices", json={"public_key": key.public, "proof": proof, "name": "终端"}, headers=headers
    )
    return reply.status_code, body(reply)


def _request(rt: Runtime, key: Key, device: object, *, off_s: int = 0, nonce: str = "") -> dict[str, object]:
    at_ms, nonce = rt.now_ms() + off_s * 1000, nonce or secrets.token_hex(16)
    signature = key.sign(sign_in_statement(str(device), at_ms, nonce))
    return {"device": device, "at_ms": at_ms, "nonce": nonce, "signature": signature}


def test_life_of_a_device(
    client: FlaskClient, rt: Runtime, world: World, officer: dict[str, str], sign_in: SignIn
) -> None:
    """Pending until approved, then it signs in and syncs; revoked, its token is dead at once."""
    key = Key()
    status, device = _enrol(client, officer, world.officers[0], key)
    assert (status, device["status"]) == (201, "pending")
    assert _enrol(client, officer, world.officers[0], key)[1]["device"] == device["device"], "a retry is harmless"
    early = client.post("/api/v1/sign-in/device", json=_request(rt, key, device["device"]))
    assert early.status_code == 401
    operator = sign_in("operator")
    path = f"/api/v1/devices/{device['device']}"
    assert client.post(f"{path}/approve", headers=sign_in("operator", region="4205")).status_code == 404
    assert body(client.post(f"{path}/approve", headers=operator))["status"] == "active"
    again = client.post(f"{path}/approve", headers=operator)
    assert (again.status_code, body(again)["legal"]) == (409, ["revoked"])
    request = _request(rt, key, device["device"])
    token = body(client.post("/api/v1/sign-in/device", json=request))["token"]
    headers = {"Authorization": f"Bearer {token}"}
    assert client.get("/api/v1/sync/pull", headers=headers).status_code == 200
    assert body(client.get(path, headers=headers))["status"] == "active"
    assert client.post("/api/v1/sign-in/device", json=request).status_code == 401, "a signed request counts once"
    assert body(client.post(f"{path}/revoke", headers=operator))["status"] == "revoked"
    assert client.get("/api/v1/sync/pull", headers=headers).status_code == 401
    listed = body(client.get("/api/v1/devices", headers=operator))["devices"]
    assert [row["status"] for row in listed] == ["revoked"]


def test_clock_is_told(
    client: FlaskClient, rt: Runtime, world: World, officer: dict[str, str], sign_in: SignIn
) -> None:
    """A device whose clock is far off is told the server's time and can sign in with it."""
    key = Key()
    device = _enrol(client, officer, world.officers[0], key)[1]["device"]
    client.post(f"/api/v1/devices/{device}/approve", headers=sign_in("operator"))
    off = client.post("/api/v1/sign-in/device", json=_request(rt, key, device, off_s=SIGN_IN_WINDOW_S + 60))
    assert (off.status_code, body(off)["server_ms"]) == (401, rt.now_ms())
    assert client.post("/api/v1/sign-in/device", json=_request(rt, key, device)).status_code == 200


def test_forged_sign_in(
    client: FlaskClient, rt: Runtime, world: World, officer: dict[str, str], sign_in: SignIn
) -> None:
    """A request signed with another key, or for another device, is refused."""
    key, other = Key(), Key()
    device = _enrol(client, officer, world.officers[0], key)[1]["device"]
    client.post(f"/api/v1/devices/{device}/approve", headers=sign_in("operator"))
    assert client.post("/api/v1/sign-in/device", json=_request(rt, other, device)).status_code == 401
    assert client.post("/api/v1/sign-in/device", json=_request(rt, key, rt.new_id())).status_code == 401


def test_enrolment_is_checked(
    client: FlaskClient, world: World, officer: dict[str, str], sign_in: SignIn, clock: FakeClock
) -> None:
    """The proof must be the key's own, keys are enrolled once, and officers have a limit of devices."""
    key = Key()
    assert _enrol(client, officer, world.officers[1], key)[0] == 400, "proof for another officer"
    assert _enrol(client, officer, world.officers[0], key)[0] == 201
    second = sign_in("officer", region="420106", department="market", officer=world.officers[1])
    assert _enrol(client, second, world.officers[1], key)[0] == 409
    short = {"public_key": "A" * 43, "proof": "x", "name": "终端"}
    assert client.post("/api/v1/devices", json=short, headers=officer).status_code == 422
    for _ in range(MAX_DEVICES_PER_OFFICER - 1):
        assert _enrol(client, officer, world.officers[0], Key())[0] == 201
    status, problem = _enrol(client, officer, world.officers[0], Key())
    assert (status, problem["limit"]) == (422, MAX_DEVICES_PER_OFFICER)
