"""Rotating the log's key: the log goes on under its name, what was signed stays checkable, the old key ends."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from server.cli import main
from server.config import load_secret
from server.prooflog import keys, rotation
from server.prooflog.keys import FORMER_FILE, SECRET, load_key, verify_signature
from server.prooflog.models import Head, Leaf
from server.prooflog.rotation import rotate_key
from server.prooflog.service import checkpoint_of, latest_head
from server.prooflog.succession import keep_head, kept_head, succeed
from server.prooflog.verify import verify_log
from server.runtime import Runtime
from sync.checkpoints import open_checkpoint, parse_verifier_key
from sync.key_rotation import follow
from tests.conftest import SignIn
from tests.integration.prooflog.growing import grow, sequence, wait_in_line


def findings(rt: Runtime) -> list[str]:
    """What checking the whole log names."""
    with rt.db.read() as session:
        return list(verify_log(session, rt)[1])


def test_log_goes_on_under_its_name(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """Old heads verify with the old key, new ones with the new; who knows the old one is led to the new one."""
    grow(rt, 3)
    old = load_key(rt.settings).verifier
    new = rotate_key(rt)
    wait_in_line(rt, 3, 2)
    assert sequence(rt) == 3  # the note is a leaf as well
    assert (new.name, load_key(rt.settings).verifier) == (old.name, new)
    assert new.public_key != old.public_key
    assert (rt.settings.keys_dir / FORMER_FILE).read_text() == old.encode() + "\n"
    with rt.db.read() as session:
        for size, key in ((3, old), (6, new)):
            checkpoint, signature = checkpoint_of(session, session.get_one(Head, size))
            note = checkpoint.body() + b"\n" + signature.line()
            assert open_checkpoint(note, [key], verify_signature).origin == old.name
        assert session.scalars(select(Leaf.kind).where(Leaf.index == 3)).one() == "log-key"
    shown = client.get("/api/v1/proof-log/key", headers=sign_in("auditor")).get_json()
    assert follow(old, shown["rotations"], verify_signature) == [parse_verifier_key(shown["verifier"])]
    assert findings(rt) == []


def test_old_key_ends_with_its_rotation(rt: Runtime) -> None:
    """A head of the old key over the note of its replacement is named; twice rotated is checkable too."""
    grow(rt, 3)
    old = load_key(rt.settings)
    rotate_key(rt)
    sequence(rt)
    rotate_key(rt)
    sequence(rt)
    assert findings(rt) == []
    with rt.db.write() as session:
        head = latest_head(session)
        assert head is not None
        body = checkpoint_of(session, head)[0].body()
        forged = {"key_id": old.verifier.key_id().hex(), "signature": old.sign(body)}
        session.execute(update(Head).where(Head.size == head.size).values(forged))
    assert findings(rt) == [f"head 5: signed with a key that had been replaced ({old.verifier.key_id().hex()})"]


@pytest.mark.parametrize("place", ["_publish", "promote_secret", "enter"])
def test_interrupted_rotation_is_ended_by_the_next(rt: Runtime, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Wherever it stops, the log goes on, and calling again rotates once, not twice."""
    grow(rt, 3)
    old = load_key(rt.settings).verifier

    def stop(*_args: object, **_more: object) -> None:
        raise KeyboardInterrupt

    entered: list[int] = []

    def enter_once(session: Session, runtime: Runtime) -> int:
        if entered:
            raise KeyboardInterrupt
        entered.append(enter(session, runtime))
        return entered[0]

    enter = rotation._enter
    with monkeypatch.context() as broken:
        if place == "enter":
            broken.setattr(rotation, "_enter", enter_once)
        else:
            broken.setattr(keys, place, stop)
        with pytest.raises(KeyboardInterrupt):
            rotate_key(rt)
    wait_in_line(rt, 3, 1)
    assert sequence(rt) == 1
    new = rotate_key(rt)
    sequence(rt)
    assert new.public_key != old.public_key
    assert len(keys.rotations(rt.settings)) == 1
    assert [one.public_key for one in keys.former_keys(rt.settings)] == [old.public_key]
    assert findings(rt) == []


def test_kept_head_of_the_old_key_still_counts(rt: Runtime) -> None:
    """A restored server reads the head that was kept before the rotation."""
    grow(rt, 3)
    keep_head(rt)
    rotate_key(rt)
    with rt.db.write() as session:
        assert succeed(session, rt, kept_head(rt)) is False


def test_command_rotates(rt: Runtime, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It prints the new verifier key; there is no way to make old signatures worthless."""
    monkeypatch.setenv("FIELDPROOF_HOME", str(tmp_path))
    monkeypatch.setenv("FIELDPROOF_KEYS_DIR", str(rt.settings.keys_dir))
    monkeypatch.setenv("FIELDPROOF_DATABASE_URL", rt.db.url)
    before = load_secret(rt.settings, SECRET)
    assert CliRunner().invoke(main, ["rotate-secret", "proof-log", "--at-once"]).exit_code == 1
    assert load_secret(rt.settings, SECRET) == before
    result = CliRunner().invoke(main, ["rotate-secret", "proof-log"])
    assert result.exit_code == 0, result.output
    assert result.output.strip() == load_key(rt.settings).verifier.encode()
    assert load_secret(rt.settings, SECRET) != before
