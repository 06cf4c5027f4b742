"""The central system over a server's lives: a closed log is followed by its successor, or not believed."""

from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from device_sim.central.proving import NotTrusted
from device_sim.central.puller import Puller
from server.errors import Problem
from server.prooflog.keys import load_key
from server.prooflog.models import PendingLeaf
from server.prooflog.rotation import rotate_key
from server.prooflog.succession import HEAD_FILE, keep_head
from server.restoring import NewLife, back_up, begin_new_life, put_back
from sync.checkpoints import VerifierKey
from tests.integration.central.test_puller import World, world

__all__ = ["world"]


def restored(world: World, tmp_path: Path, *, beyond: int, last_head: str = "") -> NewLife:
    """A platform that was put back to three behaviors after it had `beyond` more, all pulled by the central system."""
    world.write(3)
    backup = tmp_path / "backup.db"
    back_up(world.rt, backup)
    if beyond:
        world.write(beyond)
    world.pull()
    keep_head(world.rt)
    put_back(world.rt, backup)
    return begin_new_life(world.rt, last_head)


def test_a_successor_is_followed(world: World, tmp_path: Path) -> None:
    """The closed log's last head is the successor's first leaf; everything is pulled and proved anew."""
    assert restored(world, tmp_path, beyond=2).log_closed
    assert not (world.rt.settings.home / HEAD_FILE).exists()
    world.write(1)
    assert world.pull() == 4
    result = world.puller.result()
    assert (result.pulled, result.proofs_verified, result.restarts, result.ok) == (4, 4, 1, True)
    world.write(1)
    assert world.pull() == 1


def test_a_log_that_is_whole_goes_on(world: World, tmp_path: Path) -> None:
    """Nothing was logged after the backup: the log goes on under its name."""
    assert not restored(world, tmp_path, beyond=0).log_closed
    world.write(1)
    assert world.pull() == 4
    assert world.puller.result().ok


def test_a_log_closed_at_too_early_a_head_is_not_believed(world: World, tmp_path: Path) -> None:
    """The central system knows more than what the log was closed with: something was dropped."""
    world.write(1)
    keep_head(world.rt)
    early = (world.rt.settings.home / HEAD_FILE).read_text()
    with world.rt.db.write() as session:
        session.query(PendingLeaf).delete()
    empty = tmp_path / "early.db"
    back_up(world.rt, empty)
    world.write(3)
    world.pull()
    put_back(world.rt, empty)
    assert not begin_new_life(world.rt, early).log_closed
    with pytest.raises(NotTrusted, match="shrank"):
        world.pull()


def test_a_successor_of_something_else_is_not_believed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaf 0 must be a head of the trusted log, at least as large as what is known, and proved."""
    assert restored(world, tmp_path, beyond=2).log_closed
    world.write(1)
    leaf, proof = world.link.first_leaf(5)
    for wrong, reason in (
        ((leaf | {"kind": "behavior"}, proof), "does not begin"),
        ((leaf | {"leaf": leaf["leaf"] + " "}, proof), "not proved"),
        ((leaf, proof[:-1]), "not proved"),
    ):
        monkeypatch.setattr(world.link, "first_leaf", lambda _size, wrong=wrong: wrong)
        with pytest.raises(NotTrusted, match=reason):
            world.pull()


def pulling_by(world: World, key: VerifierKey) -> World:
    """The same central system, which is never handed another key than this one."""
    return replace(world, puller=Puller(world.link, world.store, lambda: key))


def test_a_rotated_key_is_followed(world: World) -> None:
    """From the key that was handed over once, over any number of rotations."""
    central = pulling_by(world, load_key(world.rt.settings).verifier)
    for _ in range(3):
        world.write(1)
        assert central.pull() == 1
        rotate_key(world.rt)
    assert central.puller.result().ok


def test_a_key_that_nobody_signed_for_is_not_believed(world: World) -> None:
    """The note of a rotation, changed on the way, leads nowhere."""
    central = pulling_by(world, load_key(world.rt.settings).verifier)
    world.write(1)
    central.pull()
    rotate_key(world.rt)
    world.write(1)

    def tamper(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if not request.url.path.endswith("/proof-log/key"):
            return response
        return httpx.Response(200, content=response.content.replace(b"log-key-v1", b"log-key-v2"))

    world.between.tamper = tamper
    with pytest.raises(NotTrusted, match="cannot be followed"):
        central.pull()


def test_a_log_closed_after_a_rotation_is_followed(world: World, tmp_path: Path) -> None:
    """What was closed is signed by a key that was never handed over, and the successor by that key too."""
    central = pulling_by(world, load_key(world.rt.settings).verifier)
    world.write(3)
    central.pull()
    backup = tmp_path / "backup.db"
    back_up(world.rt, backup)
    rotate_key(world.rt)
    world.write(2)
    keep_head(world.rt)
    put_back(world.rt, backup)
    assert begin_new_life(world.rt, "").log_closed
    world.write(1)
    assert central.pull() == 4
    assert central.puller.result().ok


def test_a_note_of_another_key_is_refused(world: World, tmp_path: Path) -> None:
    """What the restored server is given as last head must be signed by its log's key."""
    note = "fieldproof/other\n9\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nat 1\n\n— fieldproof/other AAAA\n"
    with pytest.raises(Problem) as caught:
        restored(world, tmp_path, beyond=1, last_head=note)
    assert caught.value.code == "bad-signature"


def test_a_second_restore_closes_the_successor_too(world: World, tmp_path: Path) -> None:
    """A backup from before the first closing is put back: the log is closed once more, with the successor's head."""
    assert restored(world, tmp_path, beyond=2).log_closed
    world.write(1)
    world.pull()
    keep_head(world.rt)
    put_back(world.rt, tmp_path / "backup.db")
    assert begin_new_life(world.rt).log_closed
    world.write(1)
    assert world.pull() == 4
    assert world.puller.result().ok
