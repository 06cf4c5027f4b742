"""`bench ingest-curve`: what a message costs the ingester when devices and stored readings become many.

What is compared is the ingester's processor time: a rate would be the publishers' and the broker's as well. Devices and
readings of the past are put into the database by SQL, copied from what the ingester itself has stored of one device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

from device_sim.bench.brokers import BrokerAddress, mosquitto_program
from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.ingest_runs import SENSORS as BENCH_SENSORS
from device_sim.bench.ingest_runs import IngestBench, follow, payloads
from device_sim.bench.measurement import PRODUCT, Measurement
from device_sim.bench.mqtt_load import MAX_PACKET_ID, Publisher, PublisherCrew, publish_packet
from device_sim.bench.process_figures import cpu_s, peak_rss_mb
from device_sim.bench.stores import Store
from device_sim.broker import HOST
from device_sim.demo.programs import Program
from schemas.telemetry import readings_topic

CONNECTIONS = 8
MESSAGES = 100_000
FIRST = BENCH_SENSORS[0]
DEVICES = {"devices-1k": 1_000, "devices-10k": 10_000, "devices-100k": 100_000, "devices-1m": 1_000_000}
STORED = {"stored-1m": 1_000_000, "stored-20m": 20_000_000}
FOREVER_S = 3_600.0
NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count})"
SENSORS = """INSERT INTO sensor (id, name, entity_id, region, department, lat, lon, datum, channels, mqtt_user,
    created_at) {numbers} SELECT printf('d%07d', i), name, entity_id, region, department, lat, lon, datum, channels,
    printf('d%07d', i), created_at FROM n, sensor WHERE id = '{first}'"""
COPIES = (
    """INSERT INTO sensor_progress (sensor_id, complete_seq, held, skipped, last_seen_at, newest) SELECT s.id,
    complete_seq, held, skipped, last_seen_at, newest FROM sensor s, sensor_progress
    WHERE sensor_id = '{first}' AND s.id GLOB 'd[0-9]*'""",
    """INSERT INTO rule_state (sensor_id, rule_id, state) SELECT s.id, rule_id, state FROM sensor s, rule_state
    WHERE sensor_id = '{first}' AND s.id GLOB 'd[0-9]*'""",
)
PAST = """INSERT INTO reading (at, sensor_id, factor, kind, value, flag, valid, seq, received_at) {numbers}
    SELECT at - ({count} - i) / 5000 * 3600000000, printf('p%07d', i % 5000), factor, kind, value, flag, valid, 1,
    received_at FROM n, (SELECT * FROM reading WHERE sensor_id = '{first}')"""


def packets(devices: int, messages: int) -> list[list[bytes]]:
    """Return what each connection publishes: rounds over its devices in another order each, numbers from 2."""
    random = Random("curve")
    made: list[list[bytes]] = []
    bodies = payloads("x", 6 * (2 + messages // devices))[::6]  # one factor, hour after hour
    for connection in range(CONNECTIONS):
        mine, queue = list(range(connection, devices, CONNECTIONS)), list[bytes]()
        for number in range(1, 1 + -(-messages // devices)):
            random.shuffle(mine)
            body = (
                bodies[number]
                .replace(b'"sensor":"x",', b"")
                .replace(b'"seq":%d' % (6 * number + 1), b'"seq":%d' % (number + 1))
            )
            for device in mine:
                queue.append(publish_packet(readings_topic(f"d{device:07d}"), body, 1 + len(queue) % MAX_PACKET_ID))
        made.append(queue[: -(-messages // CONNECTIONS)])
    return made


class Curve:
    """The runs of one benchmark."""

    def __init__(self, options: Options, folder: Path) -> None:
        """Remember how large a run is, and where its files lie."""
        self._messages = options.size(MESSAGES)
        self._small = bool(options.records)
        self._bench = IngestBench(options, folder)

    def devices(self, count: int) -> Measurement:
        """Let messages come from so many devices, each of which has spoken before."""
        return self._run(min(count, self._messages) if self._small else count, 0)

    def stored(self, count: int) -> Measurement:
        """Let a thousand devices speak to a database that holds so many readings."""
        return self._run(min(1_000, self._messages), min(count, self._messages) if self._small else count)

    def _run(self, devices: int, past: int) -> Measurement:
        with self._bench.platform("sqlite", "mosquitto") as (store, broker, start, stop):
            first, second = (publish_packet(readings_topic(FIRST), body, 1) for body in payloads(FIRST, 2))
            ingester = start()
            self._publish(broker, store, ingester, [[first]], before=0)
            stop(ingester)
            words = {"first": FIRST, "count": past, "numbers": NUMBERS.format(count=past)}
            if past:
                store.run(PAST.format(**words))
            store.run(SENSORS.format(first=FIRST, numbers=NUMBERS.format(count=devices)))
            for statement in COPIES:
                store.run(statement.format(**words))
            ingester = start()
            self._publish(broker, store, ingester, [[second]], before=1)  # the first batch of a program costs a second
            before = cpu_s(ingester.process.pid)
            count, seconds = self._publish(broker, store, ingester, packets(devices, self._messages), before=2)
            used_s = cpu_s(ingester.process.pid) - before
            note = f"{count:,} messages of {devices:,} devices among {past:,} stored readings; "
            note += f"{1e6 * used_s / count:.1f} µs of the ingester's processor time a message"
            rss_mb = peak_rss_mb(ingester.process.pid)
            return Measurement(
                count, seconds, [seconds], rss_mb, note, {"cost_ns": int(1e9 * used_s / count)}, limited=False
            )

    def _publish(
        self, broker: BrokerAddress, store: Store, ingester: Program, queues: list[list[bytes]], before: int
    ) -> tuple[int, float]:
        """Publish all and wait until it is stored, after `before` others; returns how many, and in how many seconds."""
        store.count = f"SELECT value - {before} FROM ingest_counter WHERE name = 'valid'"  # noqa: S608 - a number of ours
        publishers = [
            Publisher((HOST, broker.port), f"load-{number}", broker.load_user, broker.load_password)
            for number in range(len(queues))
        ]
        try:
            crew = PublisherCrew(publishers, queues, FOREVER_S)
            seen = follow(store, crew, ingester)
        finally:
            for publisher in publishers:
                publisher.close()
        return seen[-1][0], seen[-1][1] - crew.started


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    if mosquitto_program() is None:
        raise BenchFailed("mosquitto is missing: apt-get install mosquitto")
    curve = Curve(options, folder)
    cases = [Case(PRODUCT, name, "messages", partial(curve.devices, count)) for name, count in DEVICES.items()]
    cases += [Case(PRODUCT, name, "messages", partial(curve.stored, count)) for name, count in STORED.items()]
    yield cases


CURVE = Suite(
    name="ingest-curve",
    about="what a message costs the ingester (see the notes) as devices and stored readings become many; no limit",
    cases={
        **{name: f"{count:,} devices, every one of which speaks" for name, count in DEVICES.items()},
        **{name: f"1,000 devices, among {count:,} stored readings" for name, count in STORED.items()},
    },
    open=_open,
)
