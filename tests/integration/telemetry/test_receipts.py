"""Receipts and gaps: what a sensor is told is what is stored, and what is missing is said to be missing."""

import json
from datetime import timedelta

import pytest

from iot_ingest.batcher import Delivery
from iot_ingest.writer import Writer
from schemas.telemetry import readings_topic
from server.runtime import Runtime
from server.telemetry.gaps import list_gaps
from server.telemetry.ordering import GAP_TIMEOUT
from server.telemetry.receipts import Receipt
from tests.conftest import FakeClock
from tests.integration.telemetry.programs import counted, register


def said(rt: Runtime, seq: int, sensor: str = "s1", **more: object) -> Delivery:
    """Message number `seq`: one reading of the hour of its number, with a wish for a receipt."""
    time = f"2013-03-{1 + seq // 24:02}T{seq % 24:02}:00:00Z"
    reading = {"time": time, "factor": "SO2", "value": 4, "unit": "ug/m3", "flag": "N"}
    body = {"seq": seq, "receipt": True, "readings": [reading], **more}
    return Delivery(readings_topic(sensor), json.dumps(body, separators=(",", ":")).encode(), rt.now(), 1, 1)


def gaps(rt: Runtime) -> list[tuple[int, int]]:
    """The missing ranges of the sensor."""
    with rt.db.read() as session:
        return [(gap.first_seq, gap.last_seq) for gap in list_gaps(session, "s1", limit=100)]


def test_a_receipt_tells_how_far_it_is_stored(rt: Runtime) -> None:
    """The contiguous beginning only, told to whoever asks; a repetition is answered again."""
    register(rt, "s1", "s2")
    writer = Writer(rt, lambda _seconds: False)
    assert writer.write([said(rt, 1), said(rt, 2), said(rt, 4), said(rt, 1, "s2", receipt=False)]) == {"s1": Receipt(2)}
    assert writer.write([said(rt, 2)]) == {"s1": Receipt(2)}
    assert writer.write([said(rt, 3)]) == {"s1": Receipt(4)}
    assert Receipt(4, ((2, 3),)).encode() == b'{"seq":4,"missing":[[2,3]]}'


def test_an_unknown_sensor_gets_no_receipt(rt: Runtime) -> None:
    """Its messages are dead letters; it keeps them until somebody registers it."""
    assert Writer(rt, lambda _seconds: False).write([said(rt, 1, "ghost")]) == {}


@pytest.mark.parametrize("late", [[3, 4, 5, 6], [6, 5, 4, 3], [4, 6, 3, 5]])
def test_a_gap_is_told_until_it_is_filled(rt: Runtime, clock: FakeClock, late: list[int]) -> None:
    """A gap that was given up is missing in every receipt; messages that come after all are taken out of it."""
    register(rt, "s1")
    writer = Writer(rt, lambda _seconds: False)
    writer.write([said(rt, seq) for seq in (1, 2, 7, 8)])
    clock.advance((GAP_TIMEOUT + timedelta(seconds=1)).total_seconds())
    writer.tend()
    assert gaps(rt) == [(3, 6)]
    assert writer.write([said(rt, 9)]) == {"s1": Receipt(9, ((3, 6),))}
    for number, seq in enumerate(late, 1):
        receipt = writer.write([said(rt, seq)])["s1"]
        assert sum(last - first + 1 for first, last in receipt.missing) == 4 - number
        assert not any(first <= seq <= last for first, last in receipt.missing)
    assert gaps(rt) == []
    totals = counted(rt)
    assert (totals["valid"], totals["skipped_messages"], totals["duplicate"]) == (9, 4, 0)


def test_receipt_must_be_a_truth_value(rt: Runtime) -> None:
    """Anything else refuses the message."""
    register(rt, "s1")
    Writer(rt, lambda _seconds: False).write([said(rt, 1, receipt="yes")])
    assert counted(rt)["dead_lettered"] == 1
