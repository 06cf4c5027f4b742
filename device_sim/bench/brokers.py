"""The brokers that ingestion is measured with: nats-server from its wheel, and mosquitto where it is installed."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_sim.bench import mqtt_load
from device_sim.bench.frame import BenchFailed
from device_sim.broker import HOST, Broker, BrokerFailed, BrokerMissing, BrokerUser, ingest_user
from device_sim.demo.programs import free_port
from schemas.telemetry import SUBSCRIPTION

START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
WINDOW = 5_000
"""Unacknowledged messages a subscriber may have, the same for both brokers."""
NATS_WINDOW = 50
"""nats-server ends the connection of a publisher whose message is not on its disk after 5 s."""
MOSQUITTO_PLACES = ("mosquitto", "/usr/sbin/mosquitto")


@dataclass(frozen=True)
class BrokerAddress:
    """A running broker: where it is, its process, and what may be used to reach it."""

    port: int
    pid: int
    ingest_password: str
    load_user: str
    load_password: str
    durability: str
    publisher_window: int = mqtt_load.WINDOW
    """Most unacknowledged messages of one publisher."""


@contextmanager
def nats(folder: Path) -> Iterator[BrokerAddress]:
    """Run nats-server as the product runs it: its disk is synced before each PUBACK."""
    ingest, load = ingest_user(), BrokerUser("load", "load-" + folder.name, publish=(SUBSCRIPTION,))
    broker = Broker(folder, [ingest, load])
    try:
        broker.start()
    except (BrokerFailed, BrokerMissing) as error:
        raise BenchFailed(str(error)) from error
    try:
        pid = broker.process.pid if broker.process else 0
        durability = "broker nats-server: PUBACK after its own disk sync"
        yield BrokerAddress(broker.port, pid, ingest.password, load.name, load.password, durability, NATS_WINDOW)
    finally:
        broker.stop()


def mosquitto_program() -> str | None:
    """Return the path of mosquitto, or None where it is not installed."""
    return next((found for place in MOSQUITTO_PLACES if (found := shutil.which(place))), None)


@contextmanager
def mosquitto(folder: Path) -> Iterator[BrokerAddress]:
    """Run mosquitto on this machine's loopback, in memory, with unbounded queues."""
    program = mosquitto_program()
    if program is None:
        raise BenchFailed("mosquitto is not installed; Debian's package of that name brings it")
    folder.mkdir(parents=True, exist_ok=True)
    port, config = free_port(), folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} {HOST}\nallow_anonymous true\npersistence false\n"
        f"max_inflight_messages {WINDOW}\nmax_queued_messages 0\n"
    )
    with (folder / "mosquitto.log").open("wb") as log:
        process = subprocess.Popen([program, "-c", str(config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait_listening(process, port)
        durability = "broker mosquitto: PUBACK from memory, not durable"
        yield BrokerAddress(port, process.pid, "unused", "load", "unused", durability)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_listening(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchFailed("mosquitto did not start") from error
        time.sleep(0.02)


BROKERS: dict[str, Callable[[Path], AbstractContextManager[BrokerAddress]]] = {"nats": nats, "mosquitto": mosquitto}
