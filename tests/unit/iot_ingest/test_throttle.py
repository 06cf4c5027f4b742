"""The throttle: everybody's share, what is beyond it, and what is never lost from the count."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_ingest import throttle as module
from iot_ingest.batcher import Delivery
from iot_ingest.throttle import Throttle
from schemas.telemetry import readings_topic

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
LOUD, QUIET = readings_topic("loud"), readings_topic("quiet")


def batch(*topics: str, at_s: float = 0.0) -> list[Delivery]:
    """Deliveries of a batch, numbered by payload."""
    at = NOW + timedelta(seconds=at_s)
    return [Delivery(topic, str(number).encode(), at, number, 1) for number, topic in enumerate(topics)]


def test_the_usual_batch_goes_through_as_it_is() -> None:
    """No copy is made of it."""
    deliveries = batch(LOUD, QUIET)
    assert Throttle(1, 1).sift(deliveries) == (deliveries, [])


def test_only_the_loud_one_is_cut() -> None:
    """The first ones go through in their order, the rest is one excess with the first of them."""
    taken, (excess,) = Throttle(1, 2).sift(batch(LOUD, LOUD, QUIET, LOUD, QUIET, LOUD))
    assert [item.payload for item in taken] == [b"0", b"1", b"2", b"4"]
    assert (excess.topic, excess.sensor, excess.payload, excess.messages) == (LOUD, "loud", b"3", 2)


def test_the_allowance_comes_back_with_time() -> None:
    """At the rate, and never beyond the burst."""
    throttle = Throttle(rate_per_s=2, burst=4)
    counts = [len(throttle.sift(batch(*[LOUD] * 9, at_s=at_s))[0]) for at_s in (0, 0, 1, 3600)]
    assert counts == [4, 0, 2, 4]


def test_a_clock_that_jumps_back_gives_nothing() -> None:
    """And takes nothing away."""
    throttle = Throttle(rate_per_s=1, burst=1)
    counts = [len(throttle.sift(batch(LOUD, at_s=at_s))[0]) for at_s in (10, 0, 10, 11)]
    assert counts == [1, 0, 0, 1]


def test_with_too_many_topics_the_emptiest_stay_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making up topics does not buy anybody a fresh allowance."""
    monkeypatch.setattr(module, "BUCKETS_LIMIT", 4)
    throttle = Throttle(rate_per_s=0.01, burst=3)
    throttle.sift(batch(*[LOUD] * 3))
    for number in range(40):
        throttle.sift(batch(readings_topic(f"made-up-{number}")))
    assert len(throttle.sift(batch(LOUD))[0]) == 0


@given(st.lists(st.lists(st.sampled_from([LOUD, QUIET, "no/topic"]), max_size=20).filter(bool), max_size=10))
def test_every_message_is_taken_or_counted(batches: list[list[str]]) -> None:
    """Whatever is sent."""
    throttle = Throttle(rate_per_s=1.5, burst=7)
    for number, topics in enumerate(batches):
        deliveries = batch(*topics, at_s=number)
        taken, excess = throttle.sift(deliveries)
        assert len(taken) + sum(item.messages for item in excess) == len(topics)
        assert [item for item in deliveries if item in taken] == list(taken)


@pytest.mark.parametrize("numbers", [(0, 1), (-1, 1), (1, 0)])
def test_numbers_must_be_positive(numbers: tuple[float, int]) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="positive"):
        Throttle(*numbers)
