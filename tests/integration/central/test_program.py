"""The central system as a real program against a real server."""

import subprocess
import threading
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_sim.central.store import CentralStore
from server.prooflog.witnesses import WITNESS_FILE, verify_cosignatures
from sync.checkpoints import VerifierKey
from tests.integration.central.conftest import END_TIMEOUT_S, FIELDPROOF, Platform

KILLS = 5


def rows_of(path: Path) -> int:
    """How many behaviors the central system has kept."""
    store = CentralStore(path)
    try:
        return store.counts(0)[0]
    finally:
        store.close()


def test_pulls_once_and_proves_everything(platform: Platform) -> None:
    """Everything signed is pulled, every proof verified, and the digests agree; a second run finds nothing new."""
    platform.write(12)
    platform.sequence()
    for _ in range(2):
        code, result, _ = platform.finish(platform.start_central())
        assert code == 0
        assert (result["pulled"], result["proofs_verified"]) == (12, 12)
        assert (result["missed"], result["duplicated"], result["findings"]) == (0, 0, [])
        assert result["digest_central"] == result["digest_server"]
        assert result["heads_checked"] == 1
        assert result["ok"]


def test_as_a_witness_it_signs_what_it_has_checked(platform: Platform) -> None:
    """With a key it countersigns each new head; the platform keeps that once it was given the public key."""
    key = platform.folder / "witness.key"
    platform.write(2)
    platform.sequence()
    arguments = ("--witness-key", str(key))
    _ends_with_one_line(platform.finish(platform.start_central(*arguments)), "trusted witness")
    (platform.rt.settings.keys_dir / WITNESS_FILE).write_text(key.with_suffix(".pub").read_text())
    platform.write(1)
    platform.sequence()
    code, result, said = platform.finish(platform.start_central(*arguments))
    assert (code, result["pulled"]) == (0, 3), said
    with platform.rt.db.read() as session:
        assert verify_cosignatures(session, platform.rt) == (1, [])


def test_killed_while_behaviors_are_written_it_resumes(platform: Platform) -> None:
    """Killed again and again while the platform writes, it ends with everything, once."""
    done = platform.folder / "done"
    stop = threading.Event()
    written: list[str] = []

    def work() -> None:
        while not stop.is_set():
            written.extend(platform.write(3))
            platform.sequence()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        for _ in range(KILLS):
            before = rows_of(platform.store)
            program = platform.start_central("--until-file", str(done))
            line = program.stderr.readline() if program.stderr else b""
            assert line.startswith(b"+"), line
            platform.kill(program)
            assert rows_of(platform.store) >= before
        program = platform.start_central("--until-file", str(done))
    finally:
        stop.set()
        worker.join()
    platform.write(5)  # written and not sequenced: the central system must wait for these
    done.touch()
    platform.sequence()
    code, result, said = platform.finish(program)
    assert code == 0, said
    assert result["pulled"] == result["proofs_verified"] == len(written) + 5
    assert (result["missed"], result["duplicated"]) == (0, 0)
    assert result["digest_central"] == result["digest_server"]
    assert result["heads_checked"] >= KILLS
    assert result["ok"]


def test_a_key_from_elsewhere_is_not_trusted(platform: Platform) -> None:
    """Heads that are not signed by the key given from outside end the pull with 1, and say so."""
    platform.write(1)
    platform.sequence()
    stranger = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    key = platform.folder / "stranger.pub"
    key.write_text(VerifierKey("fieldproof/stranger", stranger).encode())
    code, result, _ = platform.finish(platform.start_central("--public-key", str(key)))
    assert code == 1
    assert not result["ok"]
    assert result["pulled"] == 0
    assert "not of the trusted log" in result["findings"][0]


def test_a_missing_key_and_a_wrong_password_end_with_one_line(platform: Platform) -> None:
    """What is missing is said in one line, without a traceback."""
    platform.write(1)
    platform.sequence()
    missing = platform.start_central("--public-key", str(platform.folder / "none.pub"))
    _ends_with_one_line(platform.finish(missing), "none.pub")
    wrong = platform.start_central(password_text="not the right password")
    _ends_with_one_line(platform.finish(wrong), "login or password is wrong")


def test_two_pulls_never_share_a_store(platform: Platform) -> None:
    """While one program has the store open, a second one ends at once and leaves the store alone."""
    platform.write(2)
    platform.sequence()
    store = CentralStore(platform.store)
    try:
        _ends_with_one_line(platform.finish(platform.start_central()), "another pull is using this store")
        assert store.counts(0)[0] == 0
    finally:
        store.close()
    code, result, _ = platform.finish(platform.start_central())
    assert (code, result["pulled"]) == (0, 2)


def _ends_with_one_line(ended: tuple[int, dict[str, Any], str], reason: str) -> None:
    code, _, said = ended
    assert code == 1
    assert said.startswith("Error: ")
    assert reason in said
    assert len(said.splitlines()) == 1


def test_a_password_is_needed(platform: Platform) -> None:
    """Without a password file and without the variable, the command says what is missing."""
    command = [FIELDPROOF, "central", "pull", "--url", platform.url, "--store", str(platform.store)]
    command += ["--public-key", str(platform.public_key)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=END_TIMEOUT_S, check=False)
    assert ended.returncode == 2
    assert "FIELDPROOF_CENTRAL_PASSWORD is needed" in ended.stderr
