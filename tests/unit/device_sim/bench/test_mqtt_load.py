"""The light publisher: its packets, its pace, and a conversation with a broker that is a few lines of this test."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from device_sim.bench.frame import BenchFailed
from device_sim.bench.mqtt_load import (
    CONNACK_BYTES,
    Pace,
    Publisher,
    PublisherCrew,
    connect_packet,
    publish_packet,
    publish_packets,
)

CONNACK, REFUSED = b"\x20\x02\x00\x00", b"\x20\x02\x00\x05"
FAR = float("inf")


def test_connect_packet() -> None:
    """CONNECT as in MQTT 3.1.1, section 3.1: clean session, user and password, one minute of keep-alive."""
    assert connect_packet("id", "me", "pw") == (b"\x10\x16\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02id\x00\x02me\x00\x02pw")


def test_publish_packet() -> None:
    """PUBLISH at QoS 1 as in section 3.3; long payloads take two length bytes."""
    assert publish_packet("a/b", b"hello", 7) == b"\x32\x0c\x00\x03a/b\x00\x07hello"
    assert publish_packet("a", b"x" * 200, 1)[:3] == b"\x32\xcd\x01"


def test_packet_ids_go_round() -> None:
    """Packet id 0 is forbidden; after 65,535 comes 1."""
    packets = publish_packets("a", [b""] * 65_536)
    assert [packet[-2:] for packet in (packets[0], packets[65_534], packets[65_535])] == [
        b"\0\x01",
        b"\xff\xff",
        b"\0\x01",
    ]


def test_pace_follows_what_is_stored() -> None:
    """Publishers together stay within the limit ahead of what is stored, and the last messages are let through."""
    pace = Pace(publishers=4, ahead_limit=10)
    assert pace.allowed() == 3
    pace.stored = 11
    assert pace.allowed() == 6


@contextmanager
def broker(answer: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A listener that treats one connection as `answer` says."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


def acknowledge(total_bytes: int, piece: int = 4) -> Callable[[socket.socket], None]:
    """Read `total_bytes` of PUBLISH packets and acknowledge each of them, `piece` bytes at a time."""

    def answer(connection: socket.socket) -> None:
        connection.sendall(CONNACK)
        received = b""
        acknowledged = 0
        while len(received) < total_bytes:
            received += connection.recv(4096)
            whole = len(received) // 10
            acks = b"".join(b"\x40\x02" + received[10 * n + 7 : 10 * n + 9] for n in range(acknowledged, whole))
            acknowledged = whole
            for start in range(0, len(acks), piece):
                connection.sendall(acks[start : start + piece])
        connection.recv(1)

    return answer


@pytest.mark.parametrize("piece", [3, 4, 4096], ids=["cut", "single", "together"])
def test_publisher_sends_all_and_waits_for_all(piece: int) -> None:
    """Every packet is sent once, beyond the window too, and acknowledgements may come in any pieces."""
    packets = publish_packets("abc", [b"p"] * 250)
    assert {len(packet) for packet in packets} == {10}
    with broker(acknowledge(2_500, piece)) as address:
        publisher = Publisher(address, "id", "me", "pw")
        assert len(publisher.publish(packets, Pace(1), FAR)) == 250
        publisher.close()


def test_publisher_stops_when_the_time_is_up() -> None:
    """Past the deadline nothing is sent."""
    with broker(acknowledge(0)) as address:
        publisher = Publisher(address, "id", "me", "pw")
        assert publisher.publish(publish_packets("abc", [b"p"]), Pace(1), time.perf_counter() - 1) == []
        publisher.close()


def test_publisher_waits_for_the_storing() -> None:
    """No further than the pace allows, until it hears that something was stored."""
    packets = publish_packets("abc", [b"p"] * 6)
    with broker(acknowledge(60)) as address:
        publisher = Publisher(address, "id", "me", "pw")
        pace = Pace(1, ahead_limit=4)
        crew_done: list[list[float]] = []
        thread = threading.Thread(target=lambda: crew_done.append(publisher.publish(packets, pace, FAR)))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
        pace.stored = 2
        thread.join(10)
        publisher.close()
    assert len(crew_done[0]) == 6


def test_crew_collects_all_moments() -> None:
    """A crew is finished when its members are, and knows when each message was sent."""
    with broker(acknowledge(30)) as address:
        publisher = Publisher(address, "id", "me", "pw")
        crew = PublisherCrew([publisher], [publish_packets("abc", [b"p"] * 3)], 10.0)
        moments = crew.sent_at()
        assert crew.finished
        publisher.close()
    assert len(moments) == 3
    assert moments == sorted(moments)


def test_a_broker_that_refuses() -> None:
    """A refusal is named."""

    def refuse(connection: socket.socket) -> None:
        connection.sendall(REFUSED)
        assert len(REFUSED) == CONNACK_BYTES

    with broker(refuse) as address, pytest.raises(BenchFailed, match="refused"):
        Publisher(address, "id", "me", "pw")


def test_a_broker_that_goes_away() -> None:
    """A connection that ends early is no success."""

    def leave(connection: socket.socket) -> None:
        connection.sendall(CONNACK)
        connection.recv(10)

    with broker(leave) as address:
        publisher = Publisher(address, "id", "me", "pw")
        with pytest.raises(BenchFailed, match="ended"):
            publisher.publish(publish_packets("abc", [b"p"]), Pace(1), FAR)
        publisher.close()
