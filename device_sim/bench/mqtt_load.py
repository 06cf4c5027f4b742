"""A light MQTT 3.1.1 publisher: packets built before the clock starts, sent in blocks, acknowledgements only counted.

A general client costs more per message than a good ingester does, and would be what is measured. OASIS MQTT 3.1.1:
CONNECT 3.1, PUBLISH 3.3, PUBACK 3.4.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from device_sim.bench.frame import BenchFailed

TIMEOUT_S = 60.0
WINDOW = 500
"""Most unacknowledged messages of one connection."""
MAX_PACKET_ID = 65_535
AHEAD_LIMIT = 8_000
"""Most messages published and not yet stored. A stream without this bound measures the length of queues."""
PAUSE_S = 0.001
CONNECT, PUBLISH_QOS1 = 0x10, 0x32
CONNACK_BYTES = PUBACK_BYTES = 4
RECEIVE_BYTES = 64 * 1024


def connect_packet(client_id: str, user: str, password: str) -> bytes:
    """Return a CONNECT with a clean session, user and password."""
    flags, keepalive_s = 0b1100_0010, 60
    head = _text("MQTT") + struct.pack("!BBH", 4, flags, keepalive_s)
    return _packet(CONNECT, head + _text(client_id) + _text(user) + _text(password))


def publish_packet(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Return a PUBLISH at QoS 1."""
    return _packet(PUBLISH_QOS1, _text(topic) + struct.pack("!H", packet_id) + payload)


def publish_packets(topic: str, payloads: Sequence[bytes]) -> list[bytes]:
    """Return a connection's PUBLISH packets; packet ids go round after 65,535."""
    return [publish_packet(topic, payload, 1 + index % MAX_PACKET_ID) for index, payload in enumerate(payloads)]


def _packet(kind: int, content: bytes) -> bytes:
    length, encoded = len(content), bytearray()
    while True:
        length, digit = divmod(length, 128)
        encoded.append(digit | (0x80 if length else 0))
        if not length:
            return bytes([kind]) + bytes(encoded) + content


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


@dataclass
class Pace:
    """How far publishers may go: told how much is stored, it keeps all of them together within a limit of that.

    With a rate they keep to that as well, counted from `started` (of `time.perf_counter`).
    """

    publishers: int
    ahead_limit: int = AHEAD_LIMIT
    stored: int = 0
    rate_per_s: float = 0
    started: float = 0

    def allowed(self) -> int:
        """Return how many messages each publisher may have sent so far."""
        total = self.stored + self.ahead_limit
        if self.rate_per_s:
            total = min(total, int(self.rate_per_s * (time.perf_counter() - self.started)))
        return -(-total // self.publishers)


class Publisher:
    """One connection that publishes prepared packets."""

    def __init__(
        self, address: tuple[str, int], client_id: str, user: str, password: str, window: int = WINDOW
    ) -> None:
        """Connect; at most `window` messages are unacknowledged at once.

        Raises:
            BenchFailed: the broker refuses.
        """
        self._window = window
        self._socket = socket.create_connection(address, TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(connect_packet(client_id, user, password))
        answer = self._socket.recv(CONNACK_BYTES)
        if len(answer) != CONNACK_BYTES or answer[3] != 0:
            self.close()
            raise BenchFailed(f"the broker refused the publisher {client_id}: {answer!r}")

    def publish(self, packets: Sequence[bytes], pace: Pace, deadline: float) -> list[float]:
        """Send packets until the last or the deadline; returns when each was sent, once all are acknowledged.

        Raises:
            BenchFailed: the broker ended the connection, or was silent for long.
        """
        sent_at: list[float] = []
        acknowledged_bytes = 0
        while True:
            in_flight = len(sent_at) - acknowledged_bytes // PUBACK_BYTES
            now = time.perf_counter()
            if not in_flight and (len(sent_at) == len(packets) or now >= deadline):
                return sent_at
            end = min(len(sent_at) + self._window - in_flight, pace.allowed()) if now < deadline else 0
            block = packets[len(sent_at) : end]
            if block:
                self._socket.sendall(b"".join(block))
                sent_at += [now] * len(block)
            if block or in_flight:
                acknowledged_bytes += self._receive()
            else:
                time.sleep(PAUSE_S)

    def _receive(self) -> int:
        try:
            received = len(self._socket.recv(RECEIVE_BYTES))
        except TimeoutError as error:
            raise BenchFailed(f"the broker acknowledged nothing for {TIMEOUT_S:.0f} s") from error
        if not received:
            raise BenchFailed("the broker ended the publisher's connection")
        return received

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class PublisherCrew:
    """Several publishers at once, each on a thread; started, then asked for when everything was sent."""

    def __init__(
        self, publishers: Sequence[Publisher], packets: Sequence[Sequence[bytes]], seconds: float, rate_per_s: float = 0
    ) -> None:
        """Begin to publish; whoever follows the storing tells `pace`."""
        self._pool = ThreadPoolExecutor(len(publishers))
        begin = threading.Barrier(len(publishers))
        self.started = time.perf_counter()
        self.pace = Pace(len(publishers), rate_per_s=rate_per_s, started=self.started)
        deadline = self.started + seconds

        def one(publisher: Publisher, queue: Sequence[bytes]) -> list[float]:
            begin.wait()
            return publisher.publish(queue, self.pace, deadline)

        self._running = [self._pool.submit(one, *pair) for pair in zip(publishers, packets, strict=True)]

    @property
    def finished(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return all(future.done() for future in self._running)

    def sent_at(self) -> list[float]:
        """Return the moments at which messages were sent, in order; waits for the end."""
        moments = [moment for future in self._running for moment in future.result()]
        self._pool.shutdown()
        return sorted(moments)
