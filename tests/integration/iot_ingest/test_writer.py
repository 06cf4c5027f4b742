"""The writer: a database that is away, a message that breaks, and the replay of dead letters."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import DataError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from iot_ingest.batcher import Delivery
from iot_ingest.throttle import Throttle
from iot_ingest.writer import RETRY_MAX_S, Abandoned, Writer, as_message
from schemas.telemetry import Message, readings_topic
from server.runtime import Runtime
from server.telemetry import service
from server.telemetry.intake import Intake, take_in
from server.telemetry.models import DeadLetter
from server.telemetry.registry import Registry
from tests.integration.telemetry.programs import counted, register

GOOD: dict[str, Any] = {"time": "2013-03-01T00:00:00+08:00", "factor": "SO2", "value": 4, "unit": "ug/m3", "flag": "N"}
TakeIn = Callable[..., Intake]


def delivery(rt: Runtime, seq: int, sensor: str = "s1", **change: object) -> Delivery:
    """A delivery of one reading; its hour is its number."""
    reading = GOOD | {"time": f"2013-03-01T{seq:02}:00:00+08:00"} | change
    payload = json.dumps({"seq": seq, "readings": [reading]}).encode()
    return Delivery(readings_topic(sensor), payload, rt.now(), seq, 1)


def failing(monkeypatch: pytest.MonkeyPatch, fault: Callable[[list[Message]], Exception | None]) -> None:
    """Let the intake fail where `fault` says so."""

    def flaky(session: Session, rt: Runtime, messages: list[Message], *known: Registry, cautious: bool) -> Intake:
        error = fault(messages)
        if error is not None:
            raise error
        return take_in(session, rt, messages, *known, cautious=cautious)

    monkeypatch.setattr("iot_ingest.writer.take_in", flaky)


def database_error(kind: type[OperationalError | DataError | IntegrityError]) -> Exception:
    """A database error as SQLAlchemy raises it."""
    return kind("statement", {}, Exception("sample fault"))


def test_a_database_that_is_away_is_waited_for(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """The batch is tried again, with growing pauses, until it is committed once."""
    register(rt, "s1")
    faults: list[Exception | None] = [
        database_error(OperationalError),
        OSError("no disk"),
        database_error(OperationalError),
    ]
    failing(monkeypatch, lambda _messages: faults.pop(0) if faults else None)
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    writer = Writer(rt, pause)
    writer.write([delivery(rt, 1), delivery(rt, 2)])
    assert len(pauses) == 3
    assert pauses[2] > pauses[0] / 2
    assert writer.totals["valid"] == counted(rt)["valid"] == 2


def test_an_hour_without_a_database_is_waited_out(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked again and again, at most every 45 seconds, and takes the batch when it is back."""
    register(rt, "s1")
    pauses: list[float] = []
    failing(monkeypatch, lambda _messages: database_error(OperationalError) if sum(pauses) < 3_600 else None)

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    Writer(rt, pause).write([delivery(rt, 1)])
    assert 80 < len(pauses) < 260
    assert max(pauses) <= 1.5 * RETRY_MAX_S
    assert len(set(pauses)) == len(pauses)
    assert counted(rt)["valid"] == 1


def test_told_to_stop_the_writer_gives_up_without_commit(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is stored, so nothing may be acknowledged."""
    register(rt, "s1")
    failing(monkeypatch, lambda _messages: database_error(OperationalError))
    with pytest.raises(Abandoned):
        Writer(rt, lambda _seconds: True).write([delivery(rt, 1)])
    assert counted(rt)["messages"] == 0


@pytest.mark.parametrize(
    "error", [ValueError("sample fault"), database_error(DataError), database_error(IntegrityError)]
)
def test_one_bad_message_does_not_stop_the_others(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The message at fault is found by halving and dead-lettered; all others are stored."""
    register(rt, "s1")
    failing(monkeypatch, lambda messages: error if any(item.seq == 5 for item in messages) else None)
    writer = Writer(rt, lambda _seconds: False)
    writer.write([delivery(rt, seq) for seq in range(1, 10)])
    totals = counted(rt)
    assert (totals["valid"], totals["dead_lettered"], totals["messages"]) == (8, 1, 9)
    with rt.db.read() as session:
        (letter,) = service.list_letters(session)
        assert (letter.reason, letter.detail, letter.seq) == ("unprocessable", type(error).__name__, 5)
    writer.write([delivery(rt, 5)])
    assert counted(rt)["duplicate"] == 1


def test_a_fault_of_no_message_is_raised(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty batch that fails is a defect of ours and is not hidden."""
    failing(monkeypatch, lambda _messages: ValueError("sample fault"))
    with pytest.raises(ValueError, match="sample fault"):
        Writer(rt, lambda _seconds: False)._store([])


def test_a_lost_race_is_run_again(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another ingester stored at the same moment makes the batch run once more, not fail."""
    register(rt, "s1")
    faults: list[Exception] = [database_error(IntegrityError)]
    failing(monkeypatch, lambda _messages: faults.pop() if faults else None)
    Writer(rt, lambda _seconds: False).write([delivery(rt, 1)])
    assert counted(rt)["valid"] == 1


def test_letters_are_replayed_after_the_cure(rt: Runtime) -> None:
    """An unknown sensor's message is stored once the sensor is registered; the letter no longer counts."""
    writer = Writer(rt, lambda _seconds: False)
    writer.write([delivery(rt, 1, "late"), delivery(rt, 2, "late")])
    assert counted(rt)["dead_lettered"] == 2
    register(rt, "late")
    with rt.db.write() as session:
        asked = [item.id for item in service.list_letters(session)]
        assert service.request_replay(session, asked) == 2
        assert service.request_replay(session, asked) == 0
    writer.tend()
    totals = counted(rt)
    assert (totals["valid"], totals["dead_lettered"], totals["duplicate"], totals["messages"]) == (2, 0, 0, 2)
    with rt.db.read() as session:
        assert {item.status for item in service.list_letters(session)} == {"replayed"}
        assert service.count_letters(session) == {}
        assert not service.chores_due(session, rt.now())
    writer.tend()


def test_a_letter_refused_again_is_open_again(rt: Runtime) -> None:
    """Without a cure the content makes a new open letter; the balance stays."""
    register(rt, "s1")
    writer = Writer(rt, lambda _seconds: False)
    writer.write([delivery(rt, 1, factor="XX")])
    with rt.db.write() as session:
        service.request_replay(session, [item.id for item in service.list_letters(session)])
    writer.tend()
    assert counted(rt)["dead_lettered"] == 1
    with rt.db.read() as session:
        assert [item.status for item in service.list_letters(session)] == ["replayed", "open"]
        assert [item.status for item in service.list_letters(session, status="open", sensor_id="s1")] == ["open"]


def test_a_replay_that_breaks_leaves_the_letter_open(rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect met in a replay does not stop the ingester; a database that is away only postpones it."""
    writer = Writer(rt, lambda _seconds: False)
    writer.write([delivery(rt, 1, "ghost")])
    with rt.db.write() as session:
        service.request_replay(session, [item.id for item in service.list_letters(session)])
    faults: list[Exception] = [ValueError("sample fault"), database_error(OperationalError)]
    failing(monkeypatch, lambda messages: faults.pop() if messages and faults else None)
    statuses = []
    for _ in range(2):
        writer.tend()
        with rt.db.read() as session:
            statuses += [item.status for item in service.list_letters(session)]
    assert statuses == ["requested", "open"]
    assert counted(rt)["dead_lettered"] == 1


def test_a_single_reading_becomes_a_message_again(rt: Runtime) -> None:
    """A letter of one reading is decoded as a message of one, under its own number."""
    register(rt, "s1")
    Writer(rt, lambda _seconds: False).write([delivery(rt, 7, unit="ppm")])
    with rt.db.read() as session:
        message = as_message(service.list_letters(session)[0])
    assert (message.seq, message.refusals[0].reason) == (7, "unknown-unit")


def test_a_flooding_sensor_is_throttled_and_the_others_are_not(rt: Runtime) -> None:
    """What it sends beyond its allowance is one letter a minute with its number; what it was allowed is stored."""
    register(rt, "s1", "s2")
    writer = Writer(rt, lambda _seconds: False, Throttle(rate_per_s=0.01, burst=5))
    for start in (1, 11):
        flood = [delivery(rt, seq) for seq in range(start, start + 10)]
        writer.write([*flood, delivery(rt, start, "s2")])
    assert counted(rt)["messages"] == writer.totals["messages"] == 22
    assert (counted(rt)["valid"], counted(rt)["dead_lettered"]) == (7, 15)
    with rt.db.read() as session:
        (letter,) = session.scalars(select(DeadLetter))
    assert (letter.reason, letter.sensor_id, letter.readings) == ("rate-limited", "s1", 15)
    assert (json.loads(letter.payload)["seq"], letter.status) == (6, "open")


def test_what_was_refused_is_counted_once_though_the_batch_falls_apart(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The halves of a failing batch do not count it again."""
    register(rt, "s1")
    failing(monkeypatch, lambda messages: ValueError("sample fault") if len(messages) > 1 else None)
    writer = Writer(rt, lambda _seconds: False, Throttle(rate_per_s=0.01, burst=4))
    writer.write([delivery(rt, seq) for seq in range(1, 11)])
    assert (counted(rt)["messages"], counted(rt)["valid"], counted(rt)["dead_lettered"]) == (10, 4, 6)
