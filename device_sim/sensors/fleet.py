"""A fleet of sensors over MQTT QoS 1: each with its own connection, keeping every message until its PUBACK."""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device_sim.sample.reading import SkipReport
from device_sim.sample.sources import SAMPLE_DIR
from device_sim.sample.telemetry import FILE_PREFIX, FILE_SUFFIX, read_station_hours, station_of
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import Outgoing, ReplayPlan, outgoing

WINDOW = 50
"""Most messages of one sensor on their way at once."""
SENSORS_LIMIT = 1_000
"""Most sensors in one process: each has a connection and a thread."""
STALL_S = 30.0
"""Without any PUBACK for this long the fleet gives up; the broker may be restarted in between."""
PROGRESS_S = 2.0


class Stalled(Exception):
    """the broker stopped acknowledging; some messages are not known to have arrived"""


@dataclass(frozen=True)
class SensorSpec:
    """A sensor to simulate: its id, its MQTT user, and the file of the station it speaks for."""

    sensor: str
    user: str
    password: str
    path: Path


@dataclass(frozen=True)
class FleetResult:
    """What a fleet did; `published` counts distinct readings (an unreadable message counts as one)."""

    sensors: int
    messages: int
    repeats: int
    published: int
    seconds: float
    skipped_rows: dict[str, int] = field(default_factory=dict)


class SensorLink:
    """One sensor's connection. All methods run on the caller's thread; paho's thread only reports PUBACKs."""

    def __init__(self, spec: SensorSpec, messages: Iterator[Outgoing], address: tuple[str, int]) -> None:
        """Connect in the background; messages wait until the connection is there."""
        self._messages = messages
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._in_flight: dict[int, Outgoing] = {}
        self._again: deque[Outgoing] = deque()
        self.done = False
        self.sent = self.repeats = 0
        self.fault = ""
        self._connected = False
        # the session is kept, so that paho sends what is in flight again after a reconnect
        self._client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"sensor-{spec.sensor}",
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        self._client.username_pw_set(spec.user, spec.password)
        self._client.max_inflight_messages_set(WINDOW)
        self._client.reconnect_delay_set(1, 5)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.connect_async(*address)
        self._client.loop_start()

    def _on_connect(
        self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self.fault = f"the broker refuses the connection: {reason}" if reason.is_failure else ""
        self._connected = not reason.is_failure

    def _on_publish(
        self, _client: Client, _data: object, mid: int, _reason: ReasonCode, _properties: Properties | None
    ) -> None:
        # paho holds its own locks here: only leave a note
        self._acknowledged.put(mid)

    def push(self) -> None:
        """Publish as far as the window allows."""
        # a PUBLISH ahead of the CONNACK may go unanswered
        while self._connected and len(self._in_flight) < WINDOW:
            message = self._again.popleft() if self._again else next(self._messages, None)
            if message is None:
                self.done = not self._in_flight
                return
            info = self._client.publish(message.topic, message.payload, qos=1)
            if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                raise Stalled(f"cannot publish: {info.rc.name}")
            self._in_flight[info.mid] = message

    def collect(self, record: PublishedRecord) -> int:
        """Take in the PUBACKs that came; return how many."""
        count = 0
        while not self._acknowledged.empty():
            message = self._in_flight.pop(self._acknowledged.get())
            count += 1
            if message.repeats < 0:
                self.repeats += 1
                continue
            record.add(message.said)
            self.sent += 1
            self._again.extend([Outgoing(message.topic, message.payload, message.said, -1)] * message.repeats)
        return count

    def close(self) -> None:
        """Disconnect and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()


def station_files(folder: Path | None) -> list[Path]:
    """Return the station files of a data folder, or of the sample if it has none."""
    pattern = f"{FILE_PREFIX}*{FILE_SUFFIX}"
    found = sorted((folder / "telemetry").glob(pattern)) if folder is not None else []
    return found or sorted((SAMPLE_DIR / "telemetry").glob(pattern))


def station_paths(folder: Path | None) -> dict[str, Path]:
    """Return station name → file, of a data folder or of the sample."""
    return {station_of(path): path for path in station_files(folder)}


def run_fleet(
    specs: Sequence[SensorSpec],
    address: tuple[str, int],
    plan: ReplayPlan,
    readings_limit: int,
    record: PublishedRecord,
    *,
    readings_per_s: float = 0,
    say: Callable[[str], None] = print,
) -> FleetResult:
    """Publish the stations' hours through a broker and return when everything is acknowledged.

    Args:
        specs: the sensors.
        address: host and port of the broker.
        plan: how hours become messages.
        readings_limit: about how many readings the fleet publishes together; 0: all there are.
        record: takes note of what was acknowledged.
        readings_per_s: how fast at most; 0: as fast as the broker takes them.
        say: prints a line of progress.

    Raises:
        Stalled: the broker refuses a sensor, or acknowledges nothing for :data:`STALL_S`.
        ValueError: no sensors, or more than :data:`SENSORS_LIMIT`.
    """
    if not 0 < len(specs) <= SENSORS_LIMIT:
        raise ValueError(f"a fleet has 1 to {SENSORS_LIMIT} sensors")
    report, share = SkipReport(), -(-readings_limit // len(specs))
    started = time.monotonic()
    links: list[SensorLink] = []
    try:
        for spec in specs:
            hours = read_station_hours(spec.path, report)
            links.append(SensorLink(spec, outgoing(hours, spec.sensor, plan, share), address))
        _drive(links, record, readings_per_s, say)
    finally:
        for link in links:
            link.close()
    return FleetResult(
        sensors=len(links),
        messages=sum(link.sent for link in links),
        repeats=sum(link.repeats for link in links),
        published=len(record),
        seconds=round(time.monotonic() - started, 3),
        skipped_rows=dict(report.counts),
    )


def _drive(
    links: Sequence[SensorLink], record: PublishedRecord, readings_per_s: float, say: Callable[[str], None]
) -> None:
    started = heard_at = said_at = time.monotonic()
    while not all(link.done for link in links):
        now = time.monotonic()
        ahead = readings_per_s > 0 and len(record) > readings_per_s * (now - started)
        count = 0
        for link in links:
            count += link.collect(record)
            if not ahead:
                link.push()
        if count:
            heard_at = now
        else:
            time.sleep(0.002)
        if now - said_at >= PROGRESS_S:
            say(f"sensors: {len(record)} readings published")
            said_at = now
        if now - heard_at > STALL_S:
            faults = {link.fault for link in links if link.fault}
            raise Stalled("; ".join(sorted(faults)) or f"no acknowledgement for {STALL_S:.0f} s")
