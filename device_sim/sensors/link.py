"""One sensor's connection to the broker: it keeps every message until PUBACK or receipt, and hears commands."""

from __future__ import annotations

import json
import queue
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device_sim.sensors.downlink import Downlink
from device_sim.sensors.outbox import KEPT_LIMIT, Outbox
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import Outgoing
from schemas.telemetry import COMMAND, readings_topic, receipt_topic

WINDOW = 50
"""Most messages of one sensor on their way at once. A lost connection halves its window, and each full window that is
acknowledged widens it by one: a broker that is behind, and ends connections for it, is not kept behind by resending."""
RESEND_S = 5.0
"""After so long without progress in its receipts a sensor sends the oldest of what it keeps again, …"""
PATIENCE_LIMIT = 8
"""… and after twice as long each time that this does not help, up to so many times as long. A platform that is behind
would be kept behind by all who ask again."""
_seq_of = itemgetter("seq")


class Stalled(Exception):
    """the broker stopped acknowledging; some messages are not known to have arrived"""


@dataclass(frozen=True)
class SensorSpec:
    """A sensor to simulate: its id, its MQTT user, and the file of the station it speaks for."""

    sensor: str
    user: str
    password: str
    path: Path


class SensorLink:
    """One sensor's connection. All methods run on the caller's thread; paho's thread only reports PUBACKs."""

    def __init__(
        self,
        spec: SensorSpec,
        messages: Iterator[tuple[Outgoing, bool]],
        address: tuple[str, int],
        downlink: Downlink,
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
        self._command_topic, self._downlink = readings_topic(spec.sensor, COMMAND), downlink
        self._heard_at = time.monotonic()
        self._patience = 1
        self._nudged = 0
        """Which message was sent again because a receipt told nothing new: then the next one is missing."""
        if outbox is not None:  # what an earlier life has left
            self._again_from(outbox.oldest(KEPT_LIMIT))
        self._acknowledged: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._in_flight: dict[int, Outgoing] = {}
        self._window = WINDOW
        self._since_widened = 0
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
        self._client.on_disconnect = self._on_disconnect
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
        self._patience = 1  # whatever was not answered may have been lost with the connection
        if self._connected:
            client.subscribe(self._command_topic, qos=1)
        if self._outbox is not None and self._connected:
            client.subscribe(receipt_topic(self._spec.sensor))

    def _on_disconnect(
        self, _client: Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._window = max(1, self._window // 2)

    def _widen(self) -> None:
        """Note that a message was acknowledged."""
        self._since_widened += 1
        if self._since_widened >= self._window and self._window < WINDOW:
            self._window, self._since_widened = self._window + 1, 0

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
            if answer is not None:
                self._client.publish(self._downlink.topic, answer, qos=1)
        # a PUBLISH ahead of the CONNACK may go unanswered
        while self._connected and len(self._in_flight) < self._window:
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
        receipts = [self._receipts.get() for _ in range(self._receipts.qsize())]
        if receipts:  # each says all that the ones before it said
            stored, missing = self._outbox.settle(max(receipts, key=_seq_of))
            for message in stored:
                record.add(message.said)
            count = len(stored)
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
            self._widen()
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
        again = SensorLink(self._spec, self._messages, self._address, self._downlink, self._outbox)
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
