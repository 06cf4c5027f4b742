"""Signing in: passwords, locking, one-time codes, disabled accounts, and the command that makes accounts."""

import pytest
from flask.testing import FlaskClient

from server.accounts import service
from server.accounts.models import Account
from server.accounts.service import (
    LOCK_S,
    MAX_FAILURES,
    NewAccount,
    add_account,
    issue_code,
    redeem_code,
    revoke_token,
)
from server.errors import Problem
from server.runtime import Runtime
from server.web.auth import read_token
from tests.conftest import FakeClock
from tests.field_device import body

PASSWORD = "correct horse battery"


@pytest.fixture
def account(rt: Runtime) -> str:
    """An operator's account."""
    with rt.db.write() as session:
        return add_account(session, rt, NewAccount("wang", PASSWORD, "operator", "样例", "420000"), actor="test")


def _sign_in(client: FlaskClient, password: str, login: str = "wang") -> tuple[int, dict[str, object]]:
    reply = client.post("/api/v1/sign-in", json={"login": login, "password": password})
    return reply.status_code, body(reply)


def test_right_and_wrong_passwords(client: FlaskClient, account: str) -> None:
    """The right password gives a token that works; a wrong one and an unknown login look the same."""
    status, token = _sign_in(client, PASSWORD)
    assert (status, token["role"]) == (200, "operator")
    assert client.get("/api/v1/devices", headers={"Authorization": f"Bearer {token['token']}"}).status_code == 200
    wrong, unknown = _sign_in(client, "wrong"), _sign_in(client, PASSWORD, "nobody")
    assert wrong == unknown
    assert wrong[0] == 401


def test_passwords_are_kept_slowly(rt: Runtime, platforms_password_hash: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored was made by scrypt, at a cost that makes each guess take 32 MB and its time."""
    monkeypatch.setattr(service, "HASH_METHOD", platforms_password_hash)
    with rt.db.write() as session:
        made = add_account(session, rt, NewAccount("wang", PASSWORD, "operator", "样例", "420000"), actor="test")
        stored = session.get_one(Account, made).password_hash
    method, cost, block, parallel = stored.partition("$")[0].split(":")
    assert (method, int(cost) >= 2**15, block, parallel) == ("scrypt", True, "8", "3")


def test_wrong_passwords_lock_the_account(client: FlaskClient, account: str, clock: FakeClock) -> None:
    """After too many failures even the right password waits, until the lock has passed."""
    for _ in range(MAX_FAILURES):
        assert _sign_in(client, "wrong")[0] == 401
    assert _sign_in(client, PASSWORD)[0] == 429
    clock.advance(LOCK_S + 1)
    assert _sign_in(client, PASSWORD)[0] == 200


def test_tokens_expire_and_die_with_the_account(
    client: FlaskClient, account: str, clock: FakeClock, rt: Runtime
) -> None:
    """A token ends at its time; a disabled account's token ends at once."""
    headers = {"Authorization": f"Bearer {_sign_in(client, PASSWORD)[1]['token']}"}
    assert client.get("/api/v1/devices", headers=headers).status_code == 200
    with rt.db.write() as session:
        session.get_one(Account, account).disabled = True
    assert client.get("/api/v1/devices", headers=headers).status_code == 401
    with rt.db.write() as session:
        session.get_one(Account, account).disabled = False
    clock.advance(rt.settings.token_s + 1)
    reply = client.get("/api/v1/devices", headers=headers)
    assert (reply.status_code, body(reply)["detail"]) == (401, "token expired")


def test_signed_out_tokens_are_dead(client: FlaskClient, account: str, rt: Runtime) -> None:
    """A token that was signed out no longer works, however it is spelled; others of the account do."""
    first, second = (str(_sign_in(client, PASSWORD)[1]["token"]) for _ in range(2))
    jti = str(read_token(rt, first)["jti"])
    with rt.db.write() as session:
        revoke_token(session, rt, jti)
        revoke_token(session, rt, jti)
    for spelled in (first, first + "="):
        reply = client.get("/api/v1/devices", headers={"Authorization": f"Bearer {spelled}"})
        assert reply.status_code == 401
    assert client.get("/api/v1/devices", headers={"Authorization": f"Bearer {second}"}).status_code == 200


def test_one_time_code(account: str, rt: Runtime, clock: FakeClock) -> None:
    """A code signs in once, and not after its time."""
    with rt.db.write() as session:
        first, second = issue_code(session, rt, account), issue_code(session, rt, account)
    with rt.db.write() as session:
        assert redeem_code(session, rt, first).id == account
    with rt.db.write() as session, pytest.raises(Problem):
        redeem_code(session, rt, first)
    clock.advance(3_600)
    with rt.db.write() as session, pytest.raises(Problem):
        redeem_code(session, rt, second)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"role": "king"}, "role"), ({"password": "short"}, "password"), ({"login": "wang"}, "login")],
)
def test_accounts_are_checked(account: str, rt: Runtime, change: dict[str, str], field: str) -> None:
    """An unknown role, a weak password and a taken login are refused by name."""
    values = {"login": "li", "password": PASSWORD, "role": "operator", "name": "样例", "region": "42"} | change
    with rt.db.write() as session, pytest.raises(Problem) as refused:
        add_account(session, rt, NewAccount(**values), actor="test")
    assert refused.value.field == field
