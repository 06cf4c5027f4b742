"""Power loss in small: FULL loses nothing acknowledged; the same replay finds the losses of NORMAL and OFF."""

import random
from collections import deque

import pytest

from tests.power_loss.recording import DELETE, SYNC, TRUNCATE, WRITE, Recording, Step
from tests.power_loss.replay import images
from tests.power_loss.run import Result, lose_power

IMAGES = 60


def _run(seed: int, mode: str) -> Result:
    return deque(lose_power(seed, IMAGES, mode), maxlen=1).pop()


@pytest.mark.slow
def test_full_loses_nothing_acknowledged() -> None:
    """Whatever became of unsynced writes, the database opens and every acknowledged act is there, byte for byte."""
    result = _run(11, "FULL")
    assert (result.images, result.bad, result.first_fault) == (IMAGES, 0, "")
    assert result.unsynced > 0, "no image had anything to lose"
    assert result.promised > 0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["NORMAL", "OFF"])
def test_weaker_modes_fail_as_the_control(mode: str) -> None:
    """The same replay finds losses where syncs are left out: it can fail."""
    assert _run(11, mode).bad > 0


def test_what_an_image_may_hold() -> None:
    """Synced bytes are always there; later ones are there, missing or cut at a sector; a deleted file is gone."""
    steps = [
        Step(WRITE, "x.db", 0, b"a" * 1024), Step(SYNC, "x.db"), Step(WRITE, "x.db", 0, b"b" * 1024),
        Step(WRITE, "x.db-wal", 0, b"w"), Step(TRUNCATE, "x.db", 512), Step(DELETE, "x.db-wal"),
    ]  # fmt: skip
    recording = Recording(steps)
    recording.acknowledge(b"{}\n" + b'{"journal": "j", "seq": 1}\n')
    seen = set()
    for image in images({"x.db": b""}, recording, 400, random.Random(1)):
        content = image.files["x.db"]
        if image.at >= 2:
            assert content[:512] in (b"a" * 512, b"b" * 512)
            assert set(content) <= set(b"ab")
        if image.at >= 6:
            assert "x.db-wal" not in image.files
        assert bool(image.promised) == (image.at == 7)
        seen.add((len(content), content[:1], content[-1:]))
    assert {(1024, b"a", b"a"), (1024, b"b", b"b"), (1024, b"b", b"a"), (1024, b"a", b"b"), (512, b"a", b"a")} <= seen
