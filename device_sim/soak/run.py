"""One soak: the same readings twice, calmly and under kills on a seeded schedule, and what must be equal afterwards.

Sensors keep each message until its receipt. A kill is SIGKILL, of the ingester, of nats-server, or of PostgreSQL (whose
place SQLite cannot take: it dies with the ingester). Kills are spread over the readings, not over time, so that a slow
machine meets the same schedule.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from device_sim.bench.installation import Installation
from device_sim.bench.stores import STORES, Store
from device_sim.broker import HOST, INGEST_USER, Broker, ingest_user, sensor_user
from device_sim.demo.programs import Program, tail
from device_sim.sensors.faults import Faults
from device_sim.sensors.fleet import run_fleet, station_files
from device_sim.sensors.link import SensorSpec
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import ReplayPlan

SENSORS_LIMIT = 8
CHANNELS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
READY_TIMEOUT_S = 300.0
STALL_S = 600.0
"""A soak may run beside other work, with little of the machine."""
LEADS = (
    "SELECT episode_key, factor, threshold, peak, started_at, confirmed_at, last_at, ended_at, explanation_en FROM lead"
)
READINGS = "SELECT count(*), sum(CASE WHEN valid THEN 1 ELSE 0 END) FROM reading"
LETTERS = "SELECT coalesce(sum(readings), 0) FROM dead_letter"
FAULTS = Faults(loss=0.02, duplicate=0.05, disorder=0.05, burst=0.01, power_cut=0.0005)


class SoakFailed(Exception):
    """what was published and what is stored differ"""


@dataclass(frozen=True)
class SoakPlan:
    """How large, how rough; everything follows from `seed`."""

    readings: int = 10_000
    sensors: int = 4
    kills: int = 6
    database: str = "sqlite"
    seed: int = 7
    hours_per_message: int = 2
    data: Path | None = None
    """Folder with telemetry/; None: the sample, which has some 14,000 readings."""


@dataclass(frozen=True)
class Outcome:
    """What one run has left: `leads` are all columns that do not depend on the time of the run."""

    published: int
    stored: int
    valid: int
    dead_lettered: int
    leads: tuple[tuple[Any, ...], ...]
    kills: tuple[str, ...]
    seconds: float

    def faults(self) -> list[str]:
        """Return what is wrong with this run alone."""
        total = self.stored + self.dead_lettered
        return [] if total == self.published else [f"{self.published} published, {total} stored or dead-lettered"]


def soak(plan: SoakPlan, folder: Path, say: Callable[[str], None]) -> tuple[Outcome, Outcome]:
    """Run calmly, then under kills.

    Raises:
        SoakFailed: a reading is lost or stored twice, or the leads differ.
    """
    calm = _run(plan, folder / "calm", kills=0, say=say)
    rough = _run(plan, folder / "rough", kills=plan.kills, say=say)
    faults = [f"calm: {fault}" for fault in calm.faults()] + [f"under kills: {fault}" for fault in rough.faults()]
    if rough.leads != calm.leads:
        faults.append(f"{len(calm.leads)} leads in calm, {len(rough.leads)} under kills, or not the same")
    if (rough.stored, rough.valid) != (calm.stored, calm.valid):
        faults.append(f"{calm.stored} readings in calm, {rough.stored} under kills")
    if faults:
        raise SoakFailed("; ".join(faults) + f" (seed {plan.seed})")
    return calm, rough


def _run(plan: SoakPlan, home: Path, kills: int, say: Callable[[str], None]) -> Outcome:
    names = [f"soak-{number}" for number in range(plan.sensors)]
    home.mkdir(parents=True)
    outboxes = home / "outboxes"
    outboxes.mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(STORES[plan.database](home))
        broker = stack.enter_context(Broker(home / "broker", [ingest_user(), *map(sensor_user, names)], ack_wait_s=1))
        world = World(stack.enter_context(_installation(home, names, store, broker)), broker, store, plan, kills)
        world.start_ingester()
        paths = station_files(plan.data)
        specs = [
            SensorSpec(name, name, broker.users[name].password, paths[number % len(paths)])
            for number, name in enumerate(names)
        ]
        record = PublishedRecord(None)
        started = time.monotonic()
        replay = ReplayPlan(plan.hours_per_message, seed=plan.seed, receipts=True)
        run_fleet(
            specs, (HOST, broker.port), replay, plan.readings, record,
            say=say, faults=FAULTS, outboxes=outboxes, disturb=world.disturb, stall_s=STALL_S,
        )  # fmt: skip
        seconds = time.monotonic() - started
        stored, valid = store.rows(READINGS)[0]
        (dead,) = store.rows(LETTERS)[0]
        leads = tuple(sorted(tuple(map(str, row)) for row in store.rows(LEADS)))
        return Outcome(len(record), stored, valid or 0, int(dead), leads, tuple(world.killed), seconds)


@contextmanager
def _installation(home: Path, names: list[str], store: Store, broker: Broker) -> Iterator[Installation]:
    platform = Installation(home, sensors=names, channels=CHANNELS)
    platform.programs.environment = {
        **platform.programs.environment,
        "FIELDPROOF_DATABASE_URL": store.url,
        "FIELDPROOF_MQTT_HOST": HOST,
        "FIELDPROOF_MQTT_USER": INGEST_USER,
        "FIELDPROOF_MQTT_PORT": str(broker.port),
        "FIELDPROOF_MQTT_PASSWORD": broker.users[INGEST_USER].password,
    }
    try:
        platform.set_up()
        yield platform
    finally:
        platform.close()


class World:
    """The programs of one run, and the schedule by which they are killed."""

    def __init__(self, platform: Installation, broker: Broker, store: Store, plan: SoakPlan, kills: int) -> None:
        """Draw the schedule."""
        self._platform, self._broker, self._store = platform, broker, store
        random = Random(f"{plan.seed}-kills")
        victims = ["ingester", "broker", *(["database"] if plan.database == "postgresql" else [])]
        moments = sorted(random.uniform(0.05, 0.9) * plan.readings for _ in range(kills))
        self._schedule = [(moment, victims[number % len(victims)]) for number, moment in enumerate(moments)]
        self._ingester: Program | None = None
        self.killed: list[str] = []

    def start_ingester(self) -> None:
        """Start the ingester and wait until it is subscribed."""
        program = self._platform.programs.start("ingest", ["ingest"])
        deadline = time.monotonic() + READY_TIMEOUT_S
        while "ingest: ready" not in tail(program.log):
            program.check()
            if time.monotonic() > deadline:
                raise SoakFailed(f"the ingester does not subscribe: {tail(program.log)}")
            time.sleep(0.02)
        self._ingester = program

    def disturb(self, settled: int) -> None:
        """Kill what the schedule names when so many readings are settled, and start it again."""
        while self._schedule and settled >= self._schedule[0][0]:
            victim = self._schedule.pop(0)[1]
            self.killed.append(f"{victim} at {settled}")
            if victim == "ingester" and self._ingester is not None:
                os.kill(self._ingester.process.pid, signal.SIGKILL)
                self._ingester.process.wait()
                self._platform.programs.running.remove(self._ingester)
                self._ingester.log.write_text("")
                self.start_ingester()
            elif victim == "broker":
                self._broker.kill()
                self._broker.start()
            else:
                self._store.kill()
