"""A fleet of sensors over MQTT QoS 1: each with its own connection, keeping every message until PUBACK or receipt."""

from __future__ import annotations

import json
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device_sim.sample.reading import SkipReport
from device_sim.sample.sources import SAMPLE_DIR
from device_sim.sample.telemetry import FILE_PREFIX, FILE_SUFFIX, read_station_hours, station_of
from device_sim.sensors.downlink import Downlink
from device_sim.sensors.faults import Faults, mismeasured, on_the_way
from device_sim.sensors.outbox import KEPT_LIMIT, Outbox
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import Outgoing, ReplayPlan, outgoing
from schemas.telemetry import COMMAND, readings_topic, receipt_topic

WINDOW = 50
"""Most messages of one sensor on their way at once."""
SENSORS_LIMIT = 1_000
"""Most sensors in one process: each has a connection and a thread."""
STALL_S = 30.0
"""Without any PUBACK for this long the fleet gives up; the broker may be restarted in between."""
PROGRESS_S = 2.0
RESEND_S = 5.0
"""After so long without progress in its receipts a sensor sends the oldest of what it keeps again, …"""
PATIENCE_LIMIT = 32
"""… and after twice as long each time that this does not help, up to so many times as long. A platform that is behind
would be kept behind by all who ask again."""
NO_FAULTS = Faults()


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

    def __init__(
        self,
        spec: SensorSpec,
        messages: Iterator[tuple[Outgoing, bool]],
        address: tuple[str, int],
        outbox: Outbox | None = None,
    ) -> None:
        """Connect in the background; messages wait until the connection is there.

        Each message comes with whether it leaves at all. With an outbox it is kept until a receipt says that it is
        stored, and sent again when none comes; without, until the broker's PUBACK.
        """
        self._again: deque[Outgoing] = deque()
        self._spec, self._messages, self._outbox = spec, messages, outbox
        self._receipts: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._command_topic, self._downlink = readings_topic(spec.sensor, COMMAND), Downlink(spec.sensor)
        self._heard_at = time.monotonic()
        self._patience = 1
        self._nudged = 0
        """Which message was sent again because a receipt told nothing new: then the next one is missing."""
        if outbox is not None:  # what an earlier life has left
            self._again_from(outbox.oldest(KEPT_LIMIT))
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._in_flight: dict[int, Outgoing] = {}
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
        self._client.on_message = self._on_message
        self._address = address
        self._client.connect_async(*address)
        self._client.loop_start()

    def _on_connect(
        self, client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self.fault = f"the broker refuses the connection: {reason}" if reason.is_failure else ""
        self._connected = not reason.is_failure
        if self._connected:
            client.subscribe(self._command_topic, qos=1)
        if self._outbox is not None and self._connected:
            client.subscribe(receipt_topic(self._spec.sensor))

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if message.topic == self._command_topic:
            self._commands.put(bytes(message.payload))
        else:
            self._receipts.put(json.loads(message.payload))

    def _on_publish(
        self, _client: Client, _data: object, mid: int, _reason: ReasonCode, _properties: Properties | None
    ) -> None:
        # paho holds its own locks here: only leave a note
        self._acknowledged.put(mid)

    def push(self) -> None:
        """Answer what was asked, and publish as far as the window allows."""
        while self._connected and not self._commands.empty():
            again, answer = self._downlink.respond(self._commands.get())
            self._again_from(again)
            self._client.publish(self._downlink.topic, answer, qos=1)
        # a PUBLISH ahead of the CONNACK may go unanswered
        while self._connected and len(self._in_flight) < WINDOW:
            message, leaves = self._next()
            if message is None:
                self.done = not self._in_flight and not self._outbox
                return
            if message.repeats >= 0:
                self._downlink.note(message)
            if not leaves:
                continue
            info = self._client.publish(message.topic, message.payload, qos=1)
            if info.rc not in (MQTTErrorCode.MQTT_ERR_SUCCESS, MQTTErrorCode.MQTT_ERR_NO_CONN):
                raise Stalled(f"cannot publish: {info.rc.name}")
            self._in_flight[info.mid] = message

    def _next(self) -> tuple[Outgoing | None, bool]:
        if self._again:
            return self._again.popleft(), True
        if self._outbox is not None and self._outbox.full:
            return None, False
        message, leaves = next(self._messages, (None, False))
        if self._outbox is not None and message is not None and message.seq:
            self._outbox.add(message)
        return message, leaves

    def _again_from(self, messages: Sequence[Outgoing]) -> None:
        self._again.extend(Outgoing(item.topic, item.payload, item.said, -1, item.seq) for item in messages)

    def _settle(self, record: PublishedRecord) -> int:
        """Take in the receipts that came, and send again what none has come for; return how many were settled."""
        if self._outbox is None:
            return 0
        count = 0
        missing: list[Outgoing] = []
        stuck = False
        while not self._receipts.empty():
            stored, missing = self._outbox.settle(self._receipts.get())
            for message in stored:
                record.add(message.said)
            count += len(stored)
            stuck = not stored
        now = time.monotonic()
        if count or not len(self._outbox):
            self._heard_at, self._patience = now, 1
        if not self._again:
            if now - self._heard_at > RESEND_S * self._patience:
                missing, self._heard_at = self._outbox.oldest(WINDOW), now
                self._patience = min(2 * self._patience, PATIENCE_LIMIT)
            elif stuck and not missing:
                missing = [message for message in self._outbox.oldest(1) if message.seq != self._nudged]
                self._nudged = missing[0].seq if missing else self._nudged
            self._again_from(missing[:WINDOW])
        return count

    def collect(self, record: PublishedRecord) -> int:
        """Take in the PUBACKs and receipts that came; return how many."""
        count = self._settle(record)
        while not self._acknowledged.empty():
            message = self._in_flight.pop(self._acknowledged.get(), None)
            count += 1
            if message is None:  # an answer
                continue
            if message.repeats < 0:
                self.repeats += 1
                continue
            if self._outbox is None or not message.seq:
                record.add(message.said)
            self.sent += 1
            self._again_from([message] * message.repeats)
        return count

    def after_power_cut(self) -> SensorLink:
        """Return the sensor as it starts again: with what is on its disk, and without what it had in flight."""
        self._client.disconnect()
        self._client.loop_stop()
        again = SensorLink(self._spec, self._messages, self._address, self._outbox)
        again.sent, again.repeats = self.sent, self.repeats
        if self._outbox is None:  # without a disk, what was in flight is sent again
            again._again_from(list(self._in_flight.values()))
        else:
            again._again.extend(message for message in self._in_flight.values() if not message.seq)
        return again

    def close(self) -> None:
        """Disconnect and end the thread."""
        self._client.disconnect()
        self._client.loop_stop()
        if self._outbox is not None:
            self._outbox.close()


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
    faults: Faults = NO_FAULTS,
    outboxes: Path | None = None,
    disturb: Callable[[int], None] = lambda _count: None,
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
        faults: what goes wrong.
        outboxes: folder in which sensors that ask for receipts keep their messages; None: in memory.
        disturb: called with how much is settled, again and again; whatever it does goes on beside the fleet.

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
            messages = on_the_way(outgoing(mismeasured(hours, faults), spec.sensor, plan, share), faults)
            outbox = Outbox(outboxes / f"{spec.sensor}.db" if outboxes else None) if plan.receipts else None
            links.append(SensorLink(spec, messages, address, outbox))
        _drive(links, record, readings_per_s, say, faults, disturb)
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
    links: list[SensorLink],
    record: PublishedRecord,
    readings_per_s: float,
    say: Callable[[str], None],
    faults: Faults,
    disturb: Callable[[int], None],
) -> None:
    started = heard_at = said_at = time.monotonic()
    random = Random(f"{faults.seed}-power")
    while not all(link.done for link in links):
        now = time.monotonic()
        ahead = readings_per_s > 0 and len(record) > readings_per_s * (now - started)
        count = 0
        for place, link in enumerate(links):
            collected = link.collect(record)
            count += collected
            if not ahead:
                link.push()
            # by messages, not by turns of this loop: a slow machine would meet the more of them, and slow down by it
            if collected and not link.done and random.random() < faults.power_cut * collected:
                links[place] = link.after_power_cut()
        if count:
            heard_at = now
            disturb(len(record))
        else:
            time.sleep(0.002)
        if now - said_at >= PROGRESS_S:
            say(f"sensors: {len(record)} readings published")
            said_at = now
        if now - heard_at > STALL_S:
            reasons = {link.fault for link in links if link.fault}
            raise Stalled("; ".join(sorted(reasons)) or f"no acknowledgement for {STALL_S:.0f} s")
