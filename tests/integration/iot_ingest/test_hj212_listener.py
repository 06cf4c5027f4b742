"""Stations over TCP: stored before they are answered, split messages, wrong frames and passwords, the drain."""

import socket
import threading
from collections.abc import Iterator

import pytest

from iot_ingest.batcher import BatchRule, Inbox
from iot_ingest.hj212_listener import Listener
from iot_ingest.writer import Writer
from schemas import hj212
from schemas.hj212 import Packet
from server.runtime import Runtime
from server.telemetry import credentials, service
from tests.integration.telemetry.programs import counted, register, until

MN = "010000A8900016F000169DC0"


class Gateway:
    """A listener with a writer behind it, as the ingester runs them."""

    def __init__(self, rt: Runtime) -> None:
        """Start both."""
        self.inbox, self.writer = Inbox(BatchRule()), Writer(rt, lambda _seconds: False)
        self.listener = Listener(("127.0.0.1", 0), self.inbox, rt.clock, self.writer.authorise)
        self.listener.start()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        while not self._stop.is_set() or len(self.inbox):
            batch = self.inbox.take(0.02)
            if batch:
                self.writer.write(batch)
                self.listener.acknowledge(batch)

    def station(self) -> socket.socket:
        """Connect a station."""
        return socket.create_connection(("127.0.0.1", self.listener.port), 10)

    def close(self) -> None:
        """Drain and end."""
        self.listener.stop_receiving()
        self._stop.set()
        self._thread.join()
        self.listener.close()


@pytest.fixture
def gateway(rt: Runtime) -> Iterator[Gateway]:
    """A gateway with one registered station."""
    register(rt, MN)
    with rt.db.write() as session:
        credentials.add_token(session, rt, service.get_sensor(session, MN), "123456")
    running = Gateway(rt)
    yield running
    running.close()


def packet(hour: int, content: str = "a34004-Avg=35,a34004-Flag=N", **change: object) -> Packet:
    """A message of hourly means that asks for an answer."""
    text = f"DataTime=201303010{hour}0000;{content}"
    said: dict[str, object] = {"password": "123456", "mn": MN, "flag": 9, **change}
    return Packet(f"2026030209000000{hour}", 22, 2061, content=text, **said)  # type: ignore[arg-type]


def answers(station: socket.socket, count: int) -> list[Packet]:
    """Read answers until there are `count` of them."""
    data = b""
    while data.count(hj212.TAIL) < count:
        block = station.recv(4096)
        assert block, "the connection was closed"
        data += block
    return [hj212.decode(frame) for frame in hj212.frames_of(data)]


def test_stored_then_answered(rt: Runtime, gateway: Gateway) -> None:
    """Each message that asks is answered by 9014 with its own number once it is stored; a repetition too."""
    with gateway.station() as station:
        data = b"".join(hj212.encode(packet(hour)) for hour in (1, 2))
        for piece in (data[:7], data[7:150], data[150:]):
            station.sendall(piece)
        assert [answer.qn for answer in answers(station, 2)] == [packet(1).qn, packet(2).qn]
        assert counted(rt)["valid"] == 2
        station.sendall(hj212.encode(packet(2)))
        assert answers(station, 1)[0].cn == hj212.DATA_ANSWER
        station.sendall(hj212.encode(packet(3, flag=8)))
        until(lambda: counted(rt)["valid"] == 3, "the reading without an answer")
    totals = counted(rt)
    assert (totals["duplicate"], totals["dead_lettered"]) == (1, 0)


def test_a_split_message_is_put_together(rt: Runtime, gateway: Gateway) -> None:
    """In whatever order its packets come; answered once, when it is whole."""
    items = ["DataTime=20130301010000", "a34004-Avg=35", "a34002-Avg=70", "a21026-Avg=5"]
    whole = packet(1)
    parts = [Packet(whole.qn, 22, 2061, "123456", MN, 11, f"{items[0]};{item}", 3, number)
             for number, item in enumerate(items[1:], 1)]  # fmt: skip
    with gateway.station() as station:
        for part in (parts[2], parts[0], parts[1]):
            station.sendall(hj212.encode(part))
        assert [answer.qn for answer in answers(station, 1)] == [whole.qn]
    assert counted(rt)["valid"] == 3


def test_wrong_frames_are_kept_and_the_next_is_taken(rt: Runtime, gateway: Gateway) -> None:
    """Noise, a wrong check number, and a frame cut off at the end: dead letters, and nothing else suffers."""
    good = hj212.encode(packet(1))
    wrong = good[:-6] + (b"0000" if good[-6:-2] != b"0000" else b"0001") + good[-2:]
    with gateway.station() as station:
        station.sendall(b"noise" + wrong + good)
        assert len(answers(station, 1)) == 1
        station.sendall(good[:50])
    until(lambda: counted(rt)["dead_lettered"] == 3, "the dead letters")
    assert counted(rt)["valid"] == 1


@pytest.mark.parametrize("change", [{"password": "654321"}, {"mn": "stranger"}, {"mn": "a/b"}])
def test_a_station_that_cannot_prove_itself_is_refused(rt: Runtime, gateway: Gateway, change: dict[str, str]) -> None:
    """Its connection is closed; nothing of it is stored."""
    with gateway.station() as station:
        station.sendall(hj212.encode(packet(1, **change)))
        assert station.recv(1) == b""
    assert counted(rt)["messages"] == 0


def test_missing_packets_become_a_dead_letter(rt: Runtime, gateway: Gateway) -> None:
    """A connection that ends before a message is whole leaves what came of it."""
    part = Packet(packet(1).qn, 22, 2061, "123456", MN, 11, "a34004-Avg=35", 2, 2)
    with gateway.station() as station:
        station.sendall(hj212.encode(part))
    until(lambda: counted(rt)["dead_lettered"] == 1, "the dead letter")
    with rt.db.read() as session:
        assert [letter.reason for letter in service.list_letters(session)] == ["missing-packets"]
