"""`bench ingest`: sensors publish single readings at QoS 1, an ingester stores them; the limit is a stock ingester.

Each run has its own broker and database. The clock runs from the first PUBLISH until the last reading is committed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from sqlite3 import Connection, OperationalError

from device_sim.bench.brokers import BROKERS, BrokerAddress, mosquitto_program
from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.installation import Installation
from device_sim.bench.measurement import PRODUCT, RAW, Measurement
from device_sim.bench.mqtt_load import Publisher, PublisherCrew, publish_packets
from device_sim.bench.process_figures import cpu_s, peak_rss_mb
from device_sim.bench.raw_sync import connect
from device_sim.bench.shares import shares
from device_sim.broker import HOST, INGEST_USER
from device_sim.demo.programs import Program, ProgramFailed, tail
from schemas.telemetry import readings_topic

SENSORS = tuple(f"bench-{number}" for number in range(8))
FACTORS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
MESSAGES = 12_000
READY_TIMEOUT_S = 60.0
STALL_S = 20.0
"""After so long without a further reading in the database a run has failed."""
POLL_S = 0.01
FIRST_HOUR = datetime.fromisoformat("2020-01-01T00:00:00+08:00")
STORED = "SELECT value FROM ingest_counter WHERE name = 'valid'"


@dataclass
class IngestBench:
    """Where runs keep their files, and how large they are."""

    options: Options
    folder: Path
    runs: int = 0

    def product(self, broker_name: str) -> Measurement:
        """`fieldproof ingest`: validation, registry, rules and counters included."""
        home = self._fresh_folder()
        platform = Installation(home, sensors=SENSORS, channels=FACTORS)
        try:
            platform.set_up()
            with BROKERS[broker_name](home / "broker") as broker:
                platform.programs.environment = {
                    **platform.programs.environment,
                    "FIELDPROOF_MQTT_HOST": HOST,
                    "FIELDPROOF_MQTT_USER": INGEST_USER,
                    "FIELDPROOF_MQTT_PORT": str(broker.port),
                    "FIELDPROOF_MQTT_PASSWORD": broker.ingest_password,
                }
                ingester = platform.programs.start("ingest", ["ingest"])
                return self._measure(broker, ingester, platform.database, "ingest: ready")
        except ProgramFailed as error:
            raise BenchFailed(str(error)) from error
        finally:
            platform.close()

    def stock(self, broker_name: str) -> Measurement:
        """Stock paho, json and executemany."""
        home = self._fresh_folder()
        database, config, log = home / "stock.db", home / "stock.json", home / "stock.log"
        with BROKERS[broker_name](home / "broker") as broker:
            settings = {"host": HOST, "port": broker.port, "user": INGEST_USER, "password": broker.ingest_password}
            descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as out:
                json.dump({**settings, "database": str(database)}, out)
            with log.open("wb") as out_log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "device_sim.bench.stock_ingester", str(config)],
                    stdin=subprocess.DEVNULL, stdout=out_log, stderr=out_log,
                )  # fmt: skip
            program = Program("stock ingester", process, log)
            try:
                return self._measure(broker, program, database, "ready")
            except ProgramFailed as error:
                raise BenchFailed(str(error)) from error
            finally:
                program.stop()

    def _fresh_folder(self) -> Path:
        self.runs += 1
        folder = self.folder / f"run-{self.runs}"
        folder.mkdir()
        return folder

    def _measure(self, broker: BrokerAddress, ingester: Program, database: Path, ready: str) -> Measurement:
        """Publish everything once the ingester is subscribed, and wait until it is committed."""
        _wait_ready(ingester, ready)
        counts = shares(self.options.size(MESSAGES), len(SENSORS))
        packets = [
            publish_packets(readings_topic(sensor), payloads(sensor, count))
            for sensor, count in zip(SENSORS, counts, strict=True)
        ]
        address = (HOST, broker.port)
        publishers = [
            Publisher(address, f"load-{sensor}", broker.load_user, broker.load_password) for sensor in SENSORS
        ]
        pids = (ingester.process.pid, broker.pid)
        cpu_before, own_before = [cpu_s(pid) for pid in pids], time.process_time()
        try:
            crew = PublisherCrew(publishers, packets, self.options.seconds)
            seen = _follow(database, crew, ingester)
            sent_at = crew.sent_at()
        finally:
            for publisher in publishers:
                publisher.close()
        seconds = seen[-1][1] - crew.started
        cores = [(cpu_s(pid) - before) / seconds for pid, before in zip(pids, cpu_before, strict=True)]
        note = f"{len(sent_at):,} messages of one reading; SQLite WAL, FULL, then acknowledged; {broker.durability}; "
        note += f"CPU: ingester {cores[0]:.2f}, broker {cores[1]:.2f}, "
        note += f"publishers {(time.process_time() - own_before) / seconds:.2f} cores"
        return Measurement(len(sent_at), seconds, latencies(sent_at, seen), peak_rss_mb(pids[0]), note)


def payloads(sensor: str, count: int) -> list[bytes]:
    """Return the messages of one sensor: dense numbers, one reading each, about 140 bytes."""
    made = []
    for number in range(count):
        hour, factor = divmod(number, len(FACTORS))
        reading = {
            "time": (FIRST_HOUR + timedelta(hours=hour)).isoformat(timespec="milliseconds"), "factor": FACTORS[factor],
            "value": 5 + number % 7 + 0.5, "unit": "ug/m3", "flag": "N",
        }  # fmt: skip
        message = {"seq": number + 1, "sensor": sensor, "readings": [reading]}
        made.append(json.dumps(message, separators=(",", ":")).encode())
    return made


def latencies(sent_at: Sequence[float], seen: Sequence[tuple[int, float]]) -> list[float]:
    """Return for each message how long it took from PUBLISH to the poll that first saw so many committed.

    Messages are matched in order: the n-th that was sent with the n-th that was stored.
    """
    stored = [count for count, _ in seen]
    return [seen[bisect_left(stored, number + 1)][1] - moment for number, moment in enumerate(sent_at)]


def _follow(database: Path, crew: PublisherCrew, ingester: Program) -> list[tuple[int, float]]:
    """Return when how many readings were seen committed, until all that were sent are there.

    Raises:
        BenchFailed: some did not arrive.
    """
    reader = connect(database, read_only=True)
    seen: list[tuple[int, float]] = [(0, crew.started)]
    try:
        while not crew.finished or seen[-1][0] < len(crew.sent_at()):
            count = _stored(reader)
            now = time.perf_counter()
            if count > seen[-1][0]:
                seen.append((count, now))
                crew.pace.stored = count
            ingester.check()
            if now - seen[-1][1] > STALL_S:
                raise BenchFailed(f"{seen[-1][0]} readings are stored, and no more for {STALL_S:.0f} s")
            time.sleep(POLL_S)
    finally:
        reader.close()
    if seen[-1][0] != len(crew.sent_at()):
        raise BenchFailed(f"{len(crew.sent_at())} readings were sent, {seen[-1][0]} are stored")
    return seen


def _stored(reader: Connection) -> int:
    try:
        row = reader.execute(STORED).fetchone()
    except OperationalError:
        return 0  # the tables are not there yet
    return int(row[0]) if row else 0


def _wait_ready(program: Program, ready: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while ready not in tail(program.log):
        program.check()
        if time.monotonic() > deadline:
            raise BenchFailed(f"waited {READY_TIMEOUT_S:.0f} s for {program.name} to subscribe:\n{tail(program.log)}")
        time.sleep(POLL_S)


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    bench = IngestBench(options, folder)
    brokers = {"sqlite": "nats"} | ({"sqlite-mosquitto": "mosquitto"} if mosquitto_program() else {})
    cases = []
    for name, broker in brokers.items():
        cases.append(Case(PRODUCT, name, "messages", partial(bench.product, broker)))
        cases.append(Case(RAW, name, "messages", partial(bench.stock, broker)))
    yield cases


INGEST = Suite(
    name="ingest",
    about="8 sensors publish readings at QoS 1, stored before they are acknowledged; limit: paho, json, executemany",
    cases={
        "sqlite": "into SQLite through nats-server, rules on",
        "sqlite-mosquitto": "the same through mosquitto, where it is installed",
    },
    open=_open,
)
