"""The promise of the whole path, with a real broker and a real ingester that is killed in the middle."""

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from device_sim.broker import HOST, Broker, ingest_user, sensor_user
from device_sim.sample.reading import SkipReport
from device_sim.sample.telemetry import read_observations
from device_sim.sensors.fleet import FleetResult, run_fleet, station_files
from device_sim.sensors.link import SensorSpec
from device_sim.sensors.record import PublishedRecord, read_record
from device_sim.sensors.replay import ReplayPlan, outgoing
from iot_ingest.batcher import Delivery
from iot_ingest.writer import Writer
from server.db.engine import Database
from server.leads.models import Lead
from server.records.service import start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from tests.integration.telemetry.programs import IngesterProcess, counted, register, until, weigh

SENSORS = ["sensor-a", "sensor-b"]
READINGS = 4_800
PLAN = ReplayPlan(repeat_every=40, nonsense_every=25)


def lead_facts(rt: Runtime) -> list[tuple[object, ...]]:
    """Return what must be the same about leads however the readings arrived."""
    with rt.db.read() as session:
        return sorted(
            (lead.episode_key, lead.explanation_zh, lead.extract, lead.last_at, lead.ended_at, lead.peak)
            for lead in session.scalars(select(Lead).order_by(Lead.id)).all()
        )


@pytest.fixture
def broker(tmp_path: Path) -> Broker:
    """A broker with the ingester's user and the sensors' users; not started."""
    users = [ingest_user(), *(sensor_user(sensor) for sensor in SENSORS)]
    return Broker(tmp_path / "broker", users, ack_wait_s=2)


def test_nothing_is_lost_or_doubled_when_the_ingester_is_killed(rt: Runtime, broker: Broker, tmp_path: Path) -> None:
    """Killed twice while readings flow, the ingester ends with every reading exactly once, and the same leads."""
    register(rt, *SENSORS)
    files = station_files(None)
    results: list[FleetResult] = []

    def publish() -> None:
        specs = [
            SensorSpec(sensor, sensor, broker.users[sensor].password, path)
            for sensor, path in zip(SENSORS, files, strict=False)
        ]
        with (tmp_path / "published.jsonl").open("w") as out:
            results.append(
                run_fleet(specs, (HOST, broker.port), PLAN, READINGS, PublishedRecord(out), readings_per_s=2_000)
            )

    with broker, ExitStack() as programs:
        log = tmp_path / "ingest.log"
        ingester = programs.enter_context(IngesterProcess(rt, broker, log, "--batch", "20"))
        ingester.wait_ready()
        fleet = threading.Thread(target=publish, daemon=True)
        fleet.start()
        for kill_at in (100, 300):
            until(lambda count=kill_at: counted(rt)["messages"] >= count, "messages to arrive")  # type: ignore[misc]
            ingester.kill()
            ingester = programs.enter_context(IngesterProcess(rt, broker, log, "--batch", "20"))
        fleet.join()
        published = list(read_record(tmp_path / "published.jsonl"))
        until(lambda: weigh(rt, published, SENSORS).lost == 0, "everything to be stored")
        until(lambda: counted(rt)["held_messages"] == 0, "the order to be restored")
        assert ingester.stop() == 0

    found = weigh(rt, published, SENSORS)
    totals = counted(rt)
    assert found.ok, found.examples
    assert found.published == results[0].published == len(published) >= READINGS
    assert found.invalid > 0
    assert found.dead_lettered > 0
    assert (totals["valid"], totals["invalid"], totals["dead_lettered"]) == (
        found.valid, found.invalid, found.dead_lettered,
    )  # fmt: skip
    assert totals["duplicate"] > 0

    undisturbed = undisturbed_leads(rt, tmp_path, files)
    assert lead_facts(rt) == undisturbed
    assert undisturbed


def undisturbed_leads(rt: Runtime, tmp_path: Path, files: list[Path]) -> list[tuple[object, ...]]:
    """Return the leads of the same messages written in order, without broker or faults, in a database of their own."""
    quiet = replace(rt, db=Database(f"sqlite:///{tmp_path / 'quiet.db'}"))
    METADATA.create_all(quiet.db.engine)
    with quiet.db.write() as session:
        start_epoch(session, quiet)
    register(quiet, *SENSORS)
    writer = Writer(quiet, lambda _seconds: True)
    for sensor, path in zip(SENSORS, files, strict=False):
        messages = outgoing(read_observations(path, SkipReport()), sensor, PLAN, READINGS // len(SENSORS))
        writer.write([Delivery(message.topic, message.payload, rt.now(), 0, 0) for message in messages])
    facts = lead_facts(quiet)
    quiet.db.dispose()
    return facts
