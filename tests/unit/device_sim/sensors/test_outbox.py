"""What a sensor keeps, and the faults of its instrument and link."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from device_sim.sample.telemetry import Observation
from device_sim.sensors.faults import Faults, mismeasured, on_the_way
from device_sim.sensors.outbox import KEPT_LIMIT, Outbox
from device_sim.sensors.replay import Outgoing, Published

START = datetime(2013, 3, 1, tzinfo=UTC)


def messages(count: int) -> Iterator[Outgoing]:
    """Numbered messages."""
    for seq in range(1, count + 1):
        yield Outgoing("t", b"%d" % seq, (Published(str(seq), "s", "SO2", "t"),), seq=seq)


def hours(count: int) -> Iterator[Observation]:
    """Hours, each with its own value."""
    for number in range(count):
        yield Observation("Sample", START + timedelta(hours=number), {"SO2": str(number)})


def test_kept_until_the_receipt(tmp_path: Path) -> None:
    """A receipt settles what it covers; what it calls missing is handed out again, and all survives a power cut."""
    box = Outbox(tmp_path / "box.db")
    for message in messages(6):
        box.add(message)
    stored, missing = box.settle({"seq": 4, "missing": [[2, 3], [90, 2**53]]})
    assert [item.seq for item in stored] == [1, 4]
    assert [item.seq for item in missing] == [2, 3]
    box.close()
    again = Outbox(tmp_path / "box.db")
    assert [item.seq for item in again.oldest(3)] == [2, 3, 5]
    assert again.oldest(1) == [next(item for item in messages(6) if item.seq == 2)]
    assert (len(again), again.full) == (4, False)
    again.close()


def test_the_outbox_is_bounded() -> None:
    """A sensor that is never answered stops measuring instead of filling its disk."""
    box = Outbox(None)
    for message in messages(KEPT_LIMIT):
        assert not box.full
        box.add(message)
    assert box.full
    box.close()


def test_faults_of_the_way_lose_no_message_for_good() -> None:
    """Each message is handed over once, in a seeded disorder; some do not leave, some twice."""
    faults = Faults(loss=0.1, duplicate=0.1, disorder=0.2, burst=0.05)
    handed = list(on_the_way(messages(500), faults))
    assert sorted(item.seq for item, _ in handed) == list(range(1, 501))
    assert [item.seq for item, _ in handed] != list(range(1, 501))
    assert any(item.repeats for item, _ in handed)
    assert 0 < sum(not leaves for _, leaves in handed) < 100
    assert handed == list(on_the_way(messages(500), faults))
    assert [item.seq for item, _ in on_the_way(messages(50), Faults())] == list(range(1, 51))


def test_faults_of_measuring_show() -> None:
    """Values that stick for a day, and times that are shifted."""
    faults = Faults(stuck=0.02, stuck_hours=24, clock_error=timedelta(minutes=7))
    seen = list(mismeasured(hours(500), faults))
    assert {hour.at - fine.at for hour, fine in zip(seen, hours(500), strict=True)} == {timedelta(minutes=7)}
    runs = [hour.values["SO2"] for hour in seen]
    assert max(runs.count(value) for value in set(runs)) == 24


def test_a_share_is_a_share() -> None:
    """More than always is refused."""
    with pytest.raises(ValueError, match="share"):
        Faults(loss=1.5)
