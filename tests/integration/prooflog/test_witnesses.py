"""Cosignatures of witnesses: whose are kept, and what is refused."""

from dataclasses import dataclass
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from flask.testing import FlaskClient
from sqlalchemy import update

from server.prooflog import service
from server.prooflog.keys import verify_signature
from server.prooflog.models import Cosignature
from server.prooflog.witnesses import MAX_AHEAD_S, WITNESS_FILE, verify_cosignatures
from server.runtime import Runtime
from sync.checkpoints import (
    CheckpointError,
    Signature,
    WitnessKey,
    cosign_checkpoint,
    cosigned_message,
    parse_checkpoint,
    parse_witness_key,
)
from tests.conftest import SignIn
from tests.integration.prooflog.growing import grow

PATH = "/api/v1/proof-log/cosignatures"


@dataclass
class Witness:
    """A witness of tests."""

    private: Ed25519PrivateKey
    key: WitnessKey

    def line(self, body: bytes, at_s: int) -> bytes:
        """Its line under a checkpoint."""
        return cosign_checkpoint(body, self.key, at_s, self.private.sign).line()


def witness(name: str) -> Witness:
    """A witness with a key of its own."""
    private = Ed25519PrivateKey.generate()
    return Witness(private, WitnessKey(name, private.public_key().public_bytes_raw()))


@pytest.fixture
def trusted(rt: Runtime) -> Witness:
    """A witness whose key the platform was given."""
    found = witness("sample.example/witness")
    rt.settings.keys_dir.mkdir(parents=True, exist_ok=True)
    (rt.settings.keys_dir / WITNESS_FILE).write_text(f"# witnesses\n\n{found.key.encode()}\n")
    return found


def note_of(rt: Runtime, size: int) -> bytes:
    """The checkpoint of a size under the log's own signature."""
    with rt.db.read() as session:
        body, signature = service.checkpoint_of(session, service.head_of(session, size))
    return body.body() + b"\n" + signature.line()


def test_a_witness_signs_for_a_head(rt: Runtime, trusted: Witness, client: FlaskClient, sign_in: SignIn) -> None:
    """Its line is kept once, served with the checkpoint, and can be checked; a stranger's is not kept."""
    grow(rt, 3, 2)
    note = note_of(rt, 3)
    body = note.split(b"\n\n")[0] + b"\n"
    now_s = int(rt.now().timestamp())
    stranger = witness("stranger.example/witness")
    cosigned = note + stranger.line(body, now_s) + trusted.line(body, now_s)
    headers = sign_in("central")
    for kept in (1, 0):
        response = client.post(PATH, data=cosigned, headers=headers)
        assert (response.status_code, response.get_json()) == (201, {"kept": kept})
    served = client.get("/api/v1/proof-log/checkpoint?size=3", headers=headers).data
    assert served == note + trusted.line(body, now_s)
    line = parse_checkpoint(served)[1][1]
    at_s, message, bare = cosigned_message(line, body)
    assert at_s == now_s
    assert verify_signature(trusted.key.public_key, bare, message)
    with rt.db.read() as session:
        assert verify_cosignatures(session, rt) == (1, [])


@pytest.mark.parametrize(
    ("case", "status", "reason"),
    [
        ("garbage", 422, "four lines"),
        ("stranger", 403, "trusted witness"),
        ("other head", 422, "not a head of this log"),
        ("other body", 422, "does not verify"),
        ("future", 422, "in the future"),
        ("short", 422, "a time and an Ed25519 signature"),
    ],
)
def test_what_is_refused(
    rt: Runtime, trusted: Witness, client: FlaskClient, sign_in: SignIn, case: str, status: int, reason: str
) -> None:
    """Each with the field and the reason, and nothing is kept."""
    grow(rt, 3)
    note, now_s = note_of(rt, 3), int(rt.now().timestamp())
    body = note.split(b"\n\n")[0] + b"\n"
    notes: dict[str, bytes] = {
        "garbage": b"no checkpoint",
        "stranger": note + witness("stranger.example").line(body, now_s),
        "other head": note.replace(b"\n3\n", b"\n2\n") + trusted.line(body, now_s),
        "other body": note + trusted.line(body + b"x", now_s),
        "future": note + trusted.line(body, now_s + MAX_AHEAD_S + 1),
        "short": note + Signature(trusted.key.name, trusted.key.key_id(), b"short").line(),
    }
    response = client.post(PATH, data=notes[case], headers=sign_in("central"))
    problem: dict[str, Any] = response.get_json()
    assert (response.status_code, problem["field"]) == (status, "checkpoint")
    assert reason in problem["detail"]
    with rt.db.read() as session:
        assert verify_cosignatures(session, rt) == (0, [])


def test_who_may_cosign(rt: Runtime, trusted: Witness, client: FlaskClient, sign_in: SignIn) -> None:
    """Auditors, administrators and the central system; and a body has a limit."""
    grow(rt, 1)
    note = note_of(rt, 1)
    body = note.split(b"\n\n")[0] + b"\n"
    cosigned = note + trusted.line(body, int(rt.now().timestamp()))
    for role, status in (("auditor", 201), ("admin", 201), ("operator", 403), ("officer", 403)):
        assert client.post(PATH, data=cosigned, headers=sign_in(role)).status_code == status
    assert client.post(PATH, data=cosigned).status_code == 401
    assert client.post(PATH, data=bytes(70_000), headers=sign_in("auditor")).status_code == 413


def test_damage_is_named(rt: Runtime, trusted: Witness, client: FlaskClient, sign_in: SignIn) -> None:
    """A changed time or signature no longer verifies; a witness who is no longer trusted is not counted."""
    grow(rt, 1)
    note = note_of(rt, 1)
    body = note.split(b"\n\n")[0] + b"\n"
    client.post(PATH, data=note + trusted.line(body, int(rt.now().timestamp())), headers=sign_in("central"))
    for damage in ({"at_s": 1}, {"signature": bytes(72)}, {"signature": b"short"}):
        with rt.db.write() as session:
            session.execute(update(Cosignature).values(damage))
        with rt.db.read() as session:
            count, findings = verify_cosignatures(session, rt)
        assert count == 1
        assert "cosignature of sample.example/witness on head 1" in findings[0]
    (rt.settings.keys_dir / WITNESS_FILE).unlink()
    with rt.db.read() as session:
        assert verify_cosignatures(session, rt) == (0, [])


def test_witness_keys_are_their_own_kind() -> None:
    """A log's key is no witness key: the same bytes under another algorithm have another id."""
    key = WitnessKey("sample.example/witness", bytes(range(32)))
    assert parse_witness_key(key.encode()) == key
    with pytest.raises(CheckpointError):
        parse_witness_key(key.encode().replace(key.key_id().hex(), "00000000"))


def test_the_published_example_has_the_stated_time() -> None:
    """The cosignature in the example of C2SP tlog-cosignature was made at Unix time 1679315147."""
    material = (
        "— witness.example.com/w1 "
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="
    )
    body = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nat 0\n"
    (line,) = parse_checkpoint(f"{body}\n{material}\n".encode())[1]
    at_s, message, bare = cosigned_message(line, body.encode())
    assert (at_s, len(bare)) == (1679315147, 64)
    assert message.startswith(b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n")
