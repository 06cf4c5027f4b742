"""One run of an ingester: sensors publish single readings at QoS 1 until all of them are stored.

Each run has its own broker and database. The clock runs from the first PUBLISH until the last reading is committed;
when a backlog is drained, from the first commit that is seen to the last.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from device_sim.bench.bridge_ingester import SET_UP
from device_sim.bench.brokers import BROKERS, WINDOW, BrokerAddress
from device_sim.bench.frame import BenchFailed, Options
from device_sim.bench.installation import Installation
from device_sim.bench.measurement import Measurement
from device_sim.bench.mqtt_load import Publisher, PublisherCrew, publish_packets
from device_sim.bench.process_figures import cpu_s, peak_rss_mb
from device_sim.bench.shares import shares
from device_sim.bench.stores import STORES, Store
from device_sim.broker import HOST, INGEST_USER
from device_sim.demo.programs import Program, ProgramFailed, tail
from schemas.telemetry import readings_topic

SENSORS = tuple(f"bench-{number}" for number in range(8))
FACTORS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
MESSAGES = 300_000
READY_TIMEOUT_S = 60.0
STALL_S = 20.0
"""After so long without a further reading in the database a run has failed."""
POLL_S = 0.002
FIRST_HOUR = datetime.fromisoformat("2020-01-01T00:00:00+08:00")


SENSOR_RATE = "1000000"
"""Messages a second that one sensor may send: few sensors stand for many here, so the usual throttle is no measure."""


@dataclass(frozen=True)
class RunPlan:
    """What a run is made of; `rate_per_s` 0 publishes as fast as readings are stored."""

    database: str = "sqlite"
    broker: str = "mosquitto"
    rules: bool = True
    backlog: bool = False
    rate_per_s: float = 0

    @property
    def limited(self) -> bool:
        """Whether its rate may be compared with the limit's: not when it is prescribed, nor through another broker."""
        return not self.rate_per_s and self.broker == "mosquitto"


@dataclass
class IngestBench:
    """Where runs keep their files, and how large they are."""

    options: Options
    folder: Path
    runs: int = 0
    _made: Path | None = None
    """A home with the platform's database as it is before a run."""

    def product(self, plan: RunPlan) -> Measurement:
        """`fieldproof ingest`: validation, registry and counters included."""
        with self.platform(plan.database, plan.broker) as (store, broker, start, stop):
            if not plan.rules:
                store.run("DELETE FROM rule_version")
            if plan.backlog:
                return self._drain(broker, store, start, stop)
            measured = self._measure(broker, start(), store, plan.rate_per_s)
            return replace(measured, limited=plan.limited)

    @contextmanager
    def platform(
        self, database: str, broker_name: str
    ) -> Iterator[tuple[Store, BrokerAddress, Callable[[], Program], Callable[[Program], object]]]:
        """Run a broker and a database with registered sensors; gives both, and what starts and stops an ingester.

        Raises:
            BenchFailed: a program did not start, or ended.
        """
        home = self._fresh_folder()
        with STORES[database](home) as store, BROKERS[broker_name](home / "broker") as broker:
            platform = Installation(home, sensors=SENSORS, channels=FACTORS)
            platform.programs.environment = {
                **platform.programs.environment,
                "FIELDPROOF_DATABASE_URL": store.url,
                "FIELDPROOF_MQTT_HOST": HOST,
                "FIELDPROOF_MQTT_USER": INGEST_USER,
                "FIELDPROOF_MQTT_PORT": str(broker.port),
                "FIELDPROOF_MQTT_PASSWORD": broker.ingest_password,
            }

            def start() -> Program:
                program = platform.programs.start("ingest", ["ingest", "--sensor-rate", SENSOR_RATE])
                _wait_ready(program, "ingest: ready")
                return program

            try:
                self._set_up(platform, database)
                yield store, broker, start, platform.programs.stop
            except ProgramFailed as error:
                raise BenchFailed(str(error)) from error
            finally:
                platform.close()

    def _set_up(self, platform: Installation, database: str) -> None:
        """Make and fill the database; one that is a file is made once, and copied for each further run."""
        if database != "sqlite":
            platform.set_up()
        elif self._made is None:
            platform.set_up()
            without = shutil.ignore_patterns("broker", "logs")
            self._made = Path(shutil.copytree(platform.home, self.folder / "made", ignore=without))
        else:
            shutil.copytree(self._made, platform.home, dirs_exist_ok=True)

    def stock(self, broker_name: str) -> Measurement:
        """Stock paho, json and executemany."""
        with self._surroundings("sqlite", broker_name) as (home, store, broker):
            settings = {"database": store.url.removeprefix("sqlite:///")}
            return self._other(home, store, broker, "device_sim.bench.stock_ingester", settings)

    def bridge(self, database: str, broker_name: str) -> Measurement:
        """The peer: mq-bridge."""
        with self._surroundings(database, broker_name) as (home, store, broker):
            for statement in SET_UP[database]:
                store.run(statement)
            store.count = "SELECT count(*) FROM reading"
            url = store.url.replace("sqlite:///", "sqlite://").replace("+psycopg", "")
            url = url.replace("@/", "@localhost/")  # it asks for a host, and takes the socket's folder from the query
            settings = {"database": database, "url": url, "window": WINDOW}
            return self._other(home, store, broker, "device_sim.bench.bridge_ingester", settings)

    @contextmanager
    def _surroundings(self, database: str, broker_name: str) -> Iterator[tuple[Path, Store, BrokerAddress]]:
        home = self._fresh_folder()
        with STORES[database](home) as store, BROKERS[broker_name](home / "broker") as broker:
            yield home, store, broker

    def _other(
        self, home: Path, store: Store, broker: BrokerAddress, module: str, more: Mapping[str, object]
    ) -> Measurement:
        """Run an ingester that is not the product: a module that reads its settings from a file and says `ready`."""
        config, log = home / "other.json", home / "other.log"
        settings = {"host": HOST, "port": broker.port, "user": INGEST_USER, "password": broker.ingest_password, **more}
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as out:
            json.dump(settings, out)
        with log.open("wb") as out_log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(config)],
                stdin=subprocess.DEVNULL, stdout=out_log, stderr=out_log,
            )  # fmt: skip
        program = Program(module, process, log)
        try:
            _wait_ready(program, "ready")
            return self._measure(broker, program, store)
        except ProgramFailed as error:
            raise BenchFailed(str(error)) from error
        finally:
            program.stop()

    def _fresh_folder(self) -> Path:
        self.runs += 1
        folder = self.folder / f"run-{self.runs}"
        folder.mkdir()
        return folder

    def _measure(self, broker: BrokerAddress, ingester: Program, store: Store, rate_per_s: float = 0) -> Measurement:
        """Publish everything once the ingester is subscribed, and wait until it is committed."""
        publishers, packets = self._load(broker, rate_per_s)
        pids = (ingester.process.pid, broker.pid)
        cpu_before, own_before = [cpu_s(pid) for pid in pids], time.process_time()
        try:
            crew = PublisherCrew(publishers, packets, self.options.seconds, rate_per_s)
            seen = follow(store, crew, ingester)
            sent_at = crew.sent_at()
        finally:
            for publisher in publishers:
                publisher.close()
        seconds = seen[-1][1] - crew.started
        cores = [(cpu_s(pid) - before) / seconds for pid, before in zip(pids, cpu_before, strict=True)]
        note = f"{len(sent_at):,} messages of one reading; {store.durability}, then acknowledged; {broker.durability}; "
        note += f"CPU: ingester {cores[0]:.2f}, broker {cores[1]:.2f}, "
        note += f"publishers {(time.process_time() - own_before) / seconds:.2f} cores"
        return Measurement(len(sent_at), seconds, latencies(sent_at, seen), peak_rss_mb(pids[0]), note)

    def _load(self, broker: BrokerAddress, rate_per_s: float = 0) -> tuple[list[Publisher], list[list[bytes]]]:
        """Return the connected publishers and what each is to publish."""
        wanted = self.options.size(int(rate_per_s * self.options.seconds) or MESSAGES)
        packets = [
            publish_packets(readings_topic(sensor), payloads(sensor, count))
            for sensor, count in zip(SENSORS, shares(wanted, len(SENSORS)), strict=True)
        ]
        address = (HOST, broker.port)
        publishers = [
            Publisher(address, f"load-{sensor}", broker.load_user, broker.load_password, broker.publisher_window)
            for sensor in SENSORS
        ]
        return publishers, packets

    def _drain(
        self, broker: BrokerAddress, store: Store, start: Callable[[], Program], stop: Callable[[Program], object]
    ) -> Measurement:
        """Publish while the ingester is away, and measure how fast it takes in what the broker has kept."""
        stop(start())  # the broker keeps its session from now on
        publishers, packets = self._load(broker)
        try:
            crew = PublisherCrew(publishers, packets, self.options.seconds)
            crew.pace.ahead_limit = sum(map(len, packets))
            count = len(crew.sent_at())
        finally:
            for publisher in publishers:
                publisher.close()
        ingester = start()
        pids = (ingester.process.pid, broker.pid)
        cpu_before = [cpu_s(pid) for pid in pids]
        seen = follow(store, crew, ingester)
        first = seen[1] if len(seen) > 2 else seen[0]
        drained, seconds = count - first[0], seen[-1][1] - first[1]
        used_us = [1e6 * (cpu_s(pid) - before) / count for pid, before in zip(pids, cpu_before, strict=True)]
        note = f"{count:,} messages kept by the broker; from the first commit seen to the last; {store.durability}; "
        note += f"CPU a message: ingester {used_us[0]:.1f} µs, broker {used_us[1]:.1f} µs"
        return Measurement(drained, seconds, [seconds], peak_rss_mb(ingester.process.pid), note)


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


def follow(store: Store, crew: PublisherCrew, ingester: Program) -> list[tuple[int, float]]:
    """Return when how many readings were seen committed, until all that were sent are there.

    Raises:
        BenchFailed: some did not arrive.
    """
    seen: list[tuple[int, float]] = [(0, crew.started)]
    heard_at = time.perf_counter()
    while not crew.finished or seen[-1][0] < len(crew.sent_at()):
        count = store.stored()
        now = time.perf_counter()
        if count > seen[-1][0]:
            seen.append((count, now))
            crew.pace.stored = count
            heard_at = now
        ingester.check()
        if now - heard_at > STALL_S:
            raise BenchFailed(f"{seen[-1][0]} readings are stored, and no more for {STALL_S:.0f} s")
        time.sleep(POLL_S)
    if seen[-1][0] != len(crew.sent_at()):
        raise BenchFailed(f"{len(crew.sent_at())} readings were sent, {seen[-1][0]} are stored")
    return seen


def _wait_ready(program: Program, ready: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while ready not in tail(program.log):
        program.check()
        if time.monotonic() > deadline:
            raise BenchFailed(f"waited {READY_TIMEOUT_S:.0f} s for {program.name} to subscribe:\n{tail(program.log)}")
        time.sleep(POLL_S)
