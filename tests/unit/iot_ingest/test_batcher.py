"""Batches end at a count, after a silence, or at an age; the inbox is bounded."""

from datetime import UTC, datetime

import pytest

from iot_ingest.batcher import BatchRule, Delivery, Inbox

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def delivery(mid: int) -> Delivery:
    """A delivery with a packet id."""
    return Delivery("t", b"", NOW, mid, 1)


def filled(rule: BatchRule, count: int, clock: list[float] | None = None) -> Inbox:
    """An inbox with `count` deliveries and, if given, a clock that reads the list."""
    inbox = Inbox(rule, clock=(lambda: clock.pop(0)) if clock is not None else lambda: 0.0)
    for mid in range(count):
        assert inbox.offer([delivery(mid)])
    return inbox


def test_a_batch_ends_at_the_count() -> None:
    """No more than the limit, in order; the rest is the next batch."""
    inbox = filled(BatchRule(limit=3, silence_s=0.001), 5)
    assert [item.mid for item in inbox.take(0.01)] == [0, 1, 2]
    assert [item.mid for item in inbox.take(0.01)] == [3, 4]
    assert inbox.take(0.01) == []


def test_a_batch_ends_with_silence() -> None:
    """Fewer deliveries than the limit are flushed without waiting for more: a broker's window may be smaller."""
    inbox = filled(BatchRule(limit=1_000, silence_s=0.001), 2)
    assert len(inbox.take(0.01)) == 2


def test_a_batch_ends_at_its_age() -> None:
    """However steadily deliveries arrive, a batch is closed when it is old enough: no silence is waited for."""
    inbox = filled(BatchRule(limit=1_000, silence_s=3_600.0, age_s=1.0), 3, clock=[0.0, 1.0])
    assert len(inbox.take(0.01)) == 3


def test_a_full_inbox_is_no_reason_to_wait() -> None:
    """A batch larger than the inbox would wait for deliveries that cannot come."""
    inbox = Inbox(BatchRule(limit=10, silence_s=3_600.0, age_s=3_600.0), capacity=2)
    assert inbox.offer([delivery(1), delivery(2)])
    assert len(inbox.take(0.01)) == 2


def test_a_full_inbox_refuses() -> None:
    """What does not fit is not taken, and so not acknowledged."""
    inbox = Inbox(BatchRule(), capacity=1)
    assert inbox.offer([delivery(1)])
    assert not inbox.offer([delivery(2)])


@pytest.mark.parametrize("change", [{"limit": 0}, {"silence_s": 0.0}, {"age_s": -1.0}])
def test_a_rule_that_never_flushes_is_refused(change: dict[str, float]) -> None:
    """A rule needs positive numbers."""
    with pytest.raises(ValueError, match="positive"):
        BatchRule(**change)  # type: ignore[arg-type]
