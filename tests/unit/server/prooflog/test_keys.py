"""The log's signing key: made once, kept private, agreed on by several programs."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from server.config import load_settings
from server.prooflog.keys import PUBLIC_FILE, load_key, verify_signature
from sync.checkpoints import parse_verifier_key

STARTERS = 6
LONGEST_S = 120.0


PROGRAM = """
import sys
from server.config import load_settings
from server.prooflog.keys import load_key
sys.stdin.readline()
print(load_key(load_settings({"FIELDPROOF_HOME": sys.argv[1]})).verifier.encode())
"""
"""Waits for the sign to start, then says which key it sees."""


def test_key_lasts_and_is_private(tmp_path: Path) -> None:
    """The second call reads what the first made; only the owner can read the secret, anyone the public half."""
    settings = load_settings({"FIELDPROOF_HOME": str(tmp_path)})
    first, second = load_key(settings), load_key(settings)
    assert first.verifier == second.verifier
    secret, public = settings.keys_dir / "proof-log.secret", settings.keys_dir / PUBLIC_FILE
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE(public.stat().st_mode) == 0o644
    assert parse_verifier_key(public.read_text().strip()) == first.verifier
    assert first.verifier.name == f"fieldproof/{first.verifier.public_key.hex()[:16]}"


def test_programs_that_start_at_once_agree(tmp_path: Path) -> None:
    """Several processes making the key at the same moment end with one key, and no scraps are left."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    programs = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(STARTERS)]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write(b"now\n")
        program.stdin.flush()
    seen = {program.communicate(timeout=LONGEST_S)[0] for program in programs}
    assert len(seen) == 1
    assert seen != {b""}
    assert {path.name for path in (tmp_path / "keys").iterdir()} == {"proof-log.secret", PUBLIC_FILE}


def test_lost_or_changed_public_file_is_written_again(tmp_path: Path) -> None:
    """The public file only repeats what the secret says."""
    settings = load_settings({"FIELDPROOF_HOME": str(tmp_path)})
    line = load_key(settings).verifier.encode() + "\n"
    public = settings.keys_dir / PUBLIC_FILE
    public.write_text("something else")
    load_key(settings)
    assert public.read_text() == line
    public.unlink()
    load_key(settings)
    assert public.read_text() == line


def test_damaged_secret_is_refused_and_kept(tmp_path: Path) -> None:
    """A damaged secret raises and is not replaced by a new key: signed heads are out in the world."""
    settings = load_settings({"FIELDPROOF_HOME": str(tmp_path)})
    load_key(settings)
    secret = settings.keys_dir / "proof-log.secret"
    secret.write_text("not hex")
    with pytest.raises(ValueError, match="hex"):
        load_key(settings)
    assert secret.read_text() == "not hex"


def test_signatures(tmp_path: Path) -> None:
    """A signature verifies for its message and key only; a key of the wrong length verifies nothing."""
    key = load_key(load_settings({"FIELDPROOF_HOME": str(tmp_path)}))
    signature = key.sign(b"message")
    assert verify_signature(key.verifier.public_key, signature, b"message")
    assert not verify_signature(key.verifier.public_key, signature, b"another")
    assert not verify_signature(bytes(32), signature, b"message")
    assert not verify_signature(b"short", signature, b"message")
