"""Messages that come again word for word are told from everything else, on both databases."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from schemas.telemetry import Message, Reading, readings_topic
from server.runtime import Runtime
from server.telemetry.intake import take_in
from server.telemetry.ordering import GAP_TIMEOUT
from server.telemetry.ordinary import Sorted, sort
from server.telemetry.registry import Registry
from tests.conftest import FakeClock
from tests.integration.telemetry.programs import counted, register

START = datetime(2013, 3, 1, tzinfo=UTC)
Values = Sequence[float | None]


def said(rt: Runtime, seq: int, values: Values = (4.0, None), *, sensor: str = "s1", factor: str = "SO2") -> Message:
    """One message of an hour: a value of SO2 and one of NO2, which may be missing."""
    at = START + timedelta(hours=seq)
    readings = tuple(
        Reading(at, name, value, "ug/m3", "D" if value is None else "N")
        for name, value in zip((factor, "NO2"), values, strict=True)
    )
    return Message(readings_topic(sensor), f"{seq}".encode(), rt.now(), sensor, seq, readings)


def deliver(rt: Runtime, *messages: Message, cautious: bool = False) -> None:
    """Take a batch in."""
    with rt.db.write() as session:
        take_in(session, rt, messages, cautious=cautious)


def sorted_out(rt: Runtime, *messages: Message) -> Sorted:
    """How a batch would be sorted."""
    with rt.db.write() as session:
        registry = Registry()
        registry.refresh(session)
        return sort(session, registry.sensors(session, {"s1"}), messages)


def test_repetitions_need_no_care(rt: Runtime) -> None:
    """What is stored, valid or not, and comes again counts as repeated; so does what comes twice in one batch."""
    register(rt, "s1")
    deliver(rt, *(said(rt, seq) for seq in (1, 2, 3)))
    batch = [said(rt, seq) for seq in (4, 2, 4, 1, 2, 5)]
    found = sorted_out(rt, *batch)
    assert (found.rest, found.duplicates, found.valid, found.invalid) == ([], 8, 2, 2)
    deliver(rt, *batch)
    totals = counted(rt)
    assert (totals["messages"], totals["valid"], totals["invalid"], totals["duplicate"]) == (9, 5, 5, 8)


def test_what_differs_needs_care(rt: Runtime) -> None:
    """Another value, flag or factor under a number that is stored, or another text in one batch, needs care."""
    register(rt, "s1")
    deliver(rt, *(said(rt, seq) for seq in (1, 2, 3)))
    odd = [said(rt, 2, (5.0, None)), said(rt, 2, (None, None)), said(rt, 2, factor="O3"), said(rt, 2, factor="nothing")]
    for message in odd:
        assert sorted_out(rt, said(rt, 1), message, said(rt, 4)).lines == []
    assert sorted_out(rt, said(rt, 4), said(rt, 4, (5.0, None))).lines == []


def test_a_number_that_was_given_up_is_no_repetition(rt: Runtime, clock: FakeClock) -> None:
    """It closes its gap, even when what it says is stored under another number; its neighbours are repetitions."""
    register(rt, "s1")
    deliver(rt, *(said(rt, seq) for seq in (1, 2, 4, 5)))
    clock.advance(GAP_TIMEOUT.total_seconds() + 1)
    deliver(rt)
    assert sorted_out(rt, said(rt, 2), said(rt, 1)).rest == []
    assert sorted_out(rt, said(rt, 4), said(rt, 5)).rest == []
    late = Message(readings_topic("s1"), b"3", rt.now(), "s1", 3, said(rt, 2).readings)
    assert sorted_out(rt, late).rest == [late]


def test_both_ways_count_the_same(rt: Runtime) -> None:
    """With care or without, the same deliveries raise the same counters."""
    register(rt, "s1", "s2")
    grown = []
    for sensor, cautious in (("s1", False), ("s2", True)):
        before = counted(rt)
        for batch in ([1, 2, 2], [2, 1, 3], [3, 3, 4], [1, 2, 3, 4]):
            deliver(rt, *(said(rt, seq, sensor=sensor) for seq in batch), cautious=cautious)
        after = counted(rt)
        grown.append({name: after[name] - before[name] for name in after})
    assert grown[0] == grown[1]
    assert (grown[0]["valid"], grown[0]["invalid"], grown[0]["duplicate"]) == (4, 4, 18)
