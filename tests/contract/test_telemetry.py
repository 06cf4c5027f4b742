"""Telemetry keeps its promises on both databases: exactly once, in any order, also with two ingesters at once."""

import json
import threading
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from sqlalchemy import select

from iot_ingest.batcher import Delivery
from iot_ingest.writer import Writer
from schemas.telemetry import readings_topic
from server.leads import service as leads
from server.leads.models import Lead
from server.runtime import Runtime
from server.telemetry import service
from server.telemetry.aggregation import aggregate_step
from server.telemetry.counting import REGISTRY_VERSION, raise_counters
from server.telemetry.hour_judge import HourJudge
from server.telemetry.models import RuleVersion, SensorPeriod, StoredAggregate
from server.telemetry.provisioning import add_period
from server.telemetry.revalidation import revalidate
from server.telemetry.rules import HOUR
from tests.integration.telemetry.programs import counted, register

START = datetime(2013, 3, 1, tzinfo=UTC)


def deliveries(rt: Runtime, sensor: str, values: list[float | None], *readings: dict[str, Any]) -> list[Delivery]:
    """One message an hour with that value of NO2, each with the further readings given."""
    found = []
    for seq, value in enumerate(values, 1):
        flag = "D" if value is None else "N"
        at = START + timedelta(hours=seq)
        reading = {"time": at.isoformat(), "factor": "NO2", "value": value, "unit": "ug/m3", "flag": flag}
        payload = json.dumps({"seq": seq, "readings": [reading, *readings]}).encode()
        found.append(Delivery(readings_topic(sensor), payload, rt.now(), 0, 0))
    return found


def aggregates(rt: Runtime, sensor: str) -> list[tuple[object, ...]]:
    """Minutes, hours and days of a sensor once everything is aggregated."""
    while aggregate_step(rt):
        pass
    names = ("factor", "tier", "at", "mean", "low", "high", "share", "valid")
    with rt.db.read() as session:
        rows = session.scalars(select(StoredAggregate).where(StoredAggregate.sensor_id == sensor)).all()
        return sorted(tuple(getattr(row, name) for name in names) for row in rows)


def facts(rt: Runtime, sensor: str) -> list[tuple[object, ...]]:
    """What must not depend on the delivery: readings and leads."""
    with rt.db.read() as session:
        rows = service.list_readings(session, sensor, limit=10_000)
        opened = [lead for lead in session.scalars(select(Lead).order_by(Lead.id)).all() if lead.sensor_id == sensor]
        return [
            *((row.at, row.factor, row.value, row.valid, row.reason, row.seq) for row in rows),
            *sorted((item.started_at, item.explanation_zh, item.extract, item.ended_at, item.peak) for item in opened),
        ]


VALUES: list[float | None] = [250.0, 260.0, None, 270.0, 280.0, 290.0, 20.0, 210.0, 220.0, 230.0, 10.0, *[5.0] * 10]


def test_any_order_gives_the_same(rt: Runtime) -> None:
    """Shuffled and repeated, the messages leave the same readings and leads, late and contradictory ones included."""
    late = {"time": START.isoformat(), "factor": "NO2", "value": 240.0, "unit": "ug/m3", "flag": "N"}
    nonsense = late | {"factor": "\x00VOC"}
    register(rt, "a", "b")
    writer = Writer(rt, lambda _seconds: True)
    for item in deliveries(rt, "a", VALUES, late, nonsense):
        writer.write([item])
    shuffled = deliveries(rt, "b", VALUES, late, nonsense) * 2
    Random(5).shuffle(shuffled)
    for start in range(0, len(shuffled), 4):
        writer.write(shuffled[start : start + 4])
    assert facts(rt, "a") == facts(rt, "b")
    assert aggregates(rt, "a") == aggregates(rt, "b") != []
    assert sum(len(item) == 5 for item in facts(rt, "a")) == 2
    totals = counted(rt)
    assert (totals["valid"], totals["invalid"], totals["dead_lettered"]) == (42, 2, 2)
    assert totals["held_messages"] == 0


def test_two_ingesters_at_once_store_once(rt: Runtime) -> None:
    """Both receive everything at the same time: every reading, lead and count is there once."""
    register(rt, "a", "b", "c")
    batches = [deliveries(rt, sensor, VALUES) for sensor in ("a", "b", "c")]
    writers = [Writer(rt, lambda _seconds: False) for _ in range(2)]
    barrier = threading.Barrier(2)

    def work(writer: Writer, order: list[list[Delivery]]) -> None:
        barrier.wait()
        for batch in order:
            for start in range(0, len(batch), 5):
                writer.write(batch[start : start + 5])

    threads = [
        threading.Thread(target=work, args=(writers[0], batches)),
        threading.Thread(target=work, args=(writers[1], batches[::-1])),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    totals = counted(rt)
    assert (totals["valid"], totals["invalid"], totals["duplicate"]) == (60, 3, 63)
    assert totals["messages"] == 126
    assert facts(rt, "a") == facts(rt, "b") == facts(rt, "c")
    with rt.db.read() as session:
        assert service.count_readings(session) == {"valid": 60, "invalid": 3}
        assert sum(leads.count_leads(session).values()) == totals["episodes"] == 6


def test_pages_of_readings_join(rt: Runtime) -> None:
    """Read page by page, the readings are those of one page."""
    register(rt, "a")
    same_time = {
        "time": (START + timedelta(hours=4)).isoformat(), "factor": "NO2", "kind": "realtime", "value": 3.0,
        "unit": "ug/m3", "flag": "N",
    }  # fmt: skip
    Writer(rt, lambda _seconds: True).write(deliveries(rt, "a", VALUES, same_time))
    with rt.db.read() as session:
        whole = service.list_readings(session, "a")
        pages, after = [], None
        while page := service.list_readings(session, "a", after=after, limit=3):
            pages += page
            after = (page[-1].at, page[-1].factor, page[-1].kind)
        assert pages == whole
        assert {row.kind for row in whole} == {"hour", "realtime"}
        part = service.list_readings(session, "a", since=whole[1].at, until=whole[3].at, factor="NO2")
        assert part == whole[1:3]
        assert len(service.list_sensors(session, region="4201", department="env", after="", limit=5)) == 1


def test_letters_are_asked_for_and_replayed(rt: Runtime) -> None:
    """The whole way of a dead letter: kept, asked for, taken in."""
    writer = Writer(rt, lambda _seconds: True)
    writer.write(deliveries(rt, "late", [1.0]))
    register(rt, "late")
    with rt.db.write() as session:
        (letter,) = service.list_letters(session, region="42", reason="unknown-sensor")
        assert service.request_replay(session, [letter.id], region="4201", department="env") == 1
    writer.tend()
    assert counted(rt)["valid"] == 1
    with rt.db.read() as session:
        assert [item.status for item in service.list_letters(session)] == ["replayed"]


def test_the_worker_judges_hours(rt: Runtime) -> None:
    """A rule over aggregates opens its lead once, withdraws it, and lets it stand again."""
    register(rt, "a")
    with rt.db.write() as session:
        settings = {"expression": "NO2 > 200"}
        session.add(
            RuleVersion(
                id=rt.new_id(), code="worked-out", version=1, factor="NO2", unit="1", threshold=0.0, clear_level=0.0,
                window_hours=2, min_valid_hours=2, max_silence_hours=6, region="", department="", effective_from=None,
                effective_to=None, title_zh="样例", title_en="sample", basis="test", created_at=rt.now(),
                measure="expression", category="fraud", settings=settings,
            )
        )  # fmt: skip
        raise_counters(session, {REGISTRY_VERSION: 1})
    writer, judge = Writer(rt, lambda _seconds: True), HourJudge(leads.take_changes)

    def found() -> list[tuple[datetime, bool]]:
        while aggregate_step(rt) + judge(rt):
            pass
        with rt.db.read() as session:
            mine = [
                lead for lead in session.scalars(select(Lead).order_by(Lead.id)).all() if lead.rule_code == "worked-out"
            ]
            return [(lead.started_at, lead.withdrawn_at is None) for lead in mine]

    writer.write(deliveries(rt, "a", [210.0, 220.0, 20.0, 30.0]))
    assert found() == [(START + timedelta(hours=1), True)]
    with rt.db.write() as session:
        hour = START + timedelta(hours=2)
        period = add_period(session, rt, "a", kind="calibration", starts_at=hour, ends_at=hour + HOUR, note="").id
    assert found() == [(START + timedelta(hours=1), False)]
    with rt.db.write() as session:
        session.delete(session.get_one(SensorPeriod, period))
        session.flush()
        raise_counters(session, {REGISTRY_VERSION: 1})
        assert revalidate(session, "a", hour, None) == 1
    assert found() == [(START + timedelta(hours=1), True)]
