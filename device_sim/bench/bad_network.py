"""A bad network between a handheld and the server, counted and not timed: packets, those lost, round trips.

The model is a small one, and every number of it is below. Each message travels in packets, each packet is lost with
the same probability and sent again, each time at the price of one round trip; a packet that is lost too often in a row
ends the connection, and the handheld must try again. What is lost depends on the seed and the order of packets alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

PACKET_BYTES, PACKET_HEAD_BYTES = 1_360, 40
"""Payload of a full packet, and what IP and TCP add to it."""
LOSSES_TO_CUT = 5
"""So many losses of one packet in a row, and the connection is given up."""
CONNECT_TRIPS, CONNECT_UP_BYTES, CONNECT_DOWN_BYTES = 2, 700, 3_500
"""What opening a connection costs: TCP and TLS 1.3 with a chain of two certificates."""


@dataclass(frozen=True)
class Speed:
    """How fast a network is."""

    up_bits_per_s: int
    down_bits_per_s: int
    round_trip_s: float


EDGE = Speed(up_bits_per_s=60_000, down_bits_per_s=120_000, round_trip_s=0.7)
"""2G with EDGE, as it is often found outside cities."""


@dataclass
class Spent:
    """What has been sent, everything that was lost on the way included."""

    requests: int = 0
    connections: int = 0
    round_trips: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    lost_packets: int = 0
    cut_connections: int = 0

    def seconds(self, speed: Speed) -> float:
        """Return how long that takes if nothing overlaps."""
        up_s, down_s = 8 * self.up_bytes / speed.up_bits_per_s, 8 * self.down_bytes / speed.down_bits_per_s
        return up_s + down_s + self.round_trips * speed.round_trip_s


class _CutOff(Exception):
    """The connection broke."""


@dataclass
class BadNetwork(httpx.BaseTransport):
    """Passes requests on to another transport and counts what they would cost on a network that loses packets."""

    inner: httpx.BaseTransport
    loss: float = 0.0
    seed: int = 1
    spent: Spent = field(default_factory=Spent)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)
        self._connected = False

    def begin(self, loss: float) -> Spent:
        """Count anew from here, on a fresh connection, losing so many of the packets; returns the count to come."""
        self.loss, self.spent, self._connected = loss, Spent(), False
        return self.spent

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, or lose it or its answer.

        Raises:
            httpx.ReadError: the connection broke, before the server had the request or before its answer was here.
        """
        body, spent = request.read(), self.spent
        spent.requests += 1
        try:
            self._connect()
            spent.round_trips += 1
            spent.up_bytes += self._carry(len(_request_head(request)) + len(body))
            response = self.inner.handle_request(request)
            raw = b"".join(response.stream)  # type: ignore[arg-type]  # an answer of a synchronous transport
            response.close()
            spent.down_bytes += self._carry(len(_response_head(response)) + len(raw))
        except _CutOff as error:
            self._connected = False
            spent.cut_connections += 1
            raise httpx.ReadError("the connection broke", request=request) from error
        return httpx.Response(response.status_code, headers=response.headers, stream=_Whole(raw))

    def close(self) -> None:
        """Close the transport beneath."""
        self.inner.close()

    def _connect(self) -> None:
        if not self._connected:
            self.spent.connections += 1
            self.spent.round_trips += CONNECT_TRIPS
            self.spent.up_bytes += CONNECT_UP_BYTES
            self.spent.down_bytes += CONNECT_DOWN_BYTES
            self._connected = True

    def _carry(self, size_bytes: int) -> int:
        """Return what carrying a message costs in bytes.

        Raises:
            _CutOff: a packet was lost too often; what was sent until then counts all the same.
        """
        sent = 0
        for start in range(0, size_bytes, PACKET_BYTES):
            packet = min(PACKET_BYTES, size_bytes - start) + PACKET_HEAD_BYTES
            sent, losses = sent + packet, 0
            while self._draw.random() < self.loss:
                losses += 1
                self.spent.lost_packets += 1
                self.spent.round_trips += 1
                sent += packet
                if losses == LOSSES_TO_CUT:
                    self.spent.up_bytes += sent
                    raise _CutOff
        return sent


class _Whole(httpx.SyncByteStream):
    """Bytes that are all there, still in the coding in which they came."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def __iter__(self) -> Iterator[bytes]:
        yield self._raw


def _request_head(request: httpx.Request) -> bytes:
    line = b"%s %s HTTP/1.1\r\n" % (request.method.encode(), request.url.raw_path)
    return line + b"".join(b"%s: %s\r\n" % pair for pair in request.headers.raw) + b"\r\n"


def _response_head(response: httpx.Response) -> bytes:
    line = b"HTTP/1.1 %d %s\r\n" % (response.status_code, response.reason_phrase.encode())
    return line + b"".join(b"%s: %s\r\n" % pair for pair in response.headers.raw) + b"\r\n"
