"""The crash soak in small: a few kills lose nothing, and what is lost or changed is named."""

from pathlib import Path

import pytest
from sqlalchemy import delete, update

from server.records.models import Act
from tests.soak.load import SoakFailed
from tests.soak.run import Soak

KILLS = 6


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_by_kills(tmp_path: Path) -> None:
    """After each kill -9 of the real server everything acknowledged is there, byte for byte; in the end it verifies."""
    with Soak(tmp_path / "home", seed=7) as soak:
        assert [tally.kills for tally in soak.run(KILLS)][-1] == KILLS
    assert soak.tally.acts > 0


@pytest.mark.slow
def test_a_lost_or_changed_act_is_found(tmp_path: Path) -> None:
    """Taking an acknowledged act away, or changing its receipt, fails the soak: it can fail."""
    with Soak(tmp_path / "home", seed=8) as soak:
        while not any(pusher.receipts for pusher in soak.pushers):
            list(soak.run(1))
        pusher = next(pusher for pusher in soak.pushers if pusher.receipts)
        mine = (Act.journal == pusher.device.journal) & (Act.seq == max(pusher.receipts))
        with soak.rt.db.write() as session:
            session.execute(update(Act).where(mine).values(receipt=b"{}"))
        with pytest.raises(SoakFailed, match="is not as it was acknowledged"):
            soak._final_look()
        with soak.rt.db.write() as session:
            session.execute(delete(Act).where(mine))
        with pytest.raises(SoakFailed, match="is gone"):
            soak._final_look()
