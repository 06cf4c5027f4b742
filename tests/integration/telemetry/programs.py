"""Real programs for the telemetry tests: an ingester as a subprocess, and the platform's view of what it stored."""

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from sqlalchemy.orm import Session

from device_sim.broker import HOST, Broker
from device_sim.sensors.check import Balance, balance
from device_sim.sensors.replay import Published
from schemas.telemetry import FACTORS
from server.runtime import Runtime
from server.telemetry import service

DEADLINE_S = 60.0


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds; fail, naming it, when it does not in good time."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.02)


class IngesterProcess:
    """`fieldproof ingest` as its own process, on a runtime's database."""

    def __init__(self, rt: Runtime, broker: Broker, log: Path, *options: str) -> None:
        """Start it and wait until it is subscribed."""
        user = broker.users["ingest"]
        environment = {
            **os.environ,
            "FIELDPROOF_HOME": str(rt.settings.home),
            "FIELDPROOF_MQTT_HOST": HOST,
            "FIELDPROOF_MQTT_PORT": str(broker.port),
            "FIELDPROOF_MQTT_USER": user.name,
            "FIELDPROOF_MQTT_PASSWORD": user.password,
            "PYTHONUNBUFFERED": "1",
        }
        self.log = log
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from iot_ingest.cli import ingest; ingest()", *options],
                env=environment, stdout=out, stderr=out,
            )  # fmt: skip

    def wait_ready(self) -> None:
        """Wait until it says that it is subscribed."""
        until(lambda: "ingest: ready" in self.log.read_text(), "the ingester to subscribe")

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self.process.kill()
        self.process.wait()
        self.log.write_text("")

    def __enter__(self) -> Self:
        """Hand itself out."""
        return self

    def __exit__(self, *_: object) -> None:
        """Leave no process behind, whatever the test met."""
        if self.process.poll() is None:
            self.kill()

    def stop(self) -> int:
        """Ask it to drain and end; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)


def register(rt: Runtime, *sensors: str) -> None:
    """Register sensors with all six factors, and the built-in rules."""
    with rt.db.write() as session:
        register_in(session, rt, *sensors)


def register_in(session: Session, rt: Runtime, *sensors: str) -> None:
    """The same, in a transaction that is open already."""
    service.seed_builtin_rules(session, rt)
    channels: dict[str, dict[str, float]] = {factor: {} for factor in FACTORS}
    for number, sensor in enumerate(sensors):
        service.register_sensor(
            session, rt,
            service.SensorDraft(
                id=sensor, name=f"样例监测点{number}", entity_id=f"entity-{number}", region="420106", department="env",
                lat=30.5, lon=114.3, channels=channels,
            ),
        )  # fmt: skip


def served_readings(rt: Runtime, sensor: str) -> Iterator[dict[str, Any]]:
    """Return a sensor's readings as the API serves them."""
    with rt.db.read() as session:
        rows = service.list_readings(session, sensor, limit=100_000)
    for row in rows:
        yield row.as_dict() | {"time": row.at.isoformat(), "sensor": sensor, "unit": row.unit}


def served_letters(rt: Runtime) -> list[dict[str, Any]]:
    """Return the dead letters as the API serves them."""
    with rt.db.read() as session:
        return [
            {
                "identity": item.identity, "sensor": item.sensor_id, "whole": item.whole, "status": item.status,
                "payload": base64.b64encode(item.payload).decode(),
            }
            for item in service.list_letters(session, limit=100_000)
        ]  # fmt: skip


def weigh(rt: Runtime, published: list[Published], sensors: list[str]) -> Balance:
    """Compare what was published with what is stored."""
    stored = [row for sensor in sensors for row in served_readings(rt, sensor)]
    return balance(published, stored, served_letters(rt))


def counted(rt: Runtime) -> dict[str, int]:
    """Return the ingesters' running totals."""
    with rt.db.read() as session:
        return service.counters(session)
