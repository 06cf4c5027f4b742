"""HJ 212 over TCP, as the standard has it: stations connect, upload frames, and are answered when they are stored.

One thread serves all connections. A message is handed to the inbox like a delivery of MQTT, on the topic that its
station number names; the answer 9014 leaves after the commit, and a station that gets none sends again. A station
proves who it is with its access password (PW), checked once for each connection against the sensor's credentials.
"""

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from iot_ingest.batcher import Delivery, Inbox
from schemas import hj212
from schemas.hj212 import BadFrame, Packet
from schemas.telemetry import HJ212, SENSOR_ID, TOPIC_PREFIX, readings_topic
from server.clock import Clock

log = logging.getLogger(__name__)

CONNECTIONS_LIMIT = 1_000
BUFFER_LIMIT_BYTES = 256 * 1024
"""Most unread bytes of one connection: a message in all its packets fits."""
PARTS_LIMIT = 64
"""Most packets of one connection that wait for the rest of their message."""
RECEIVE_BYTES = 64 * 1024
LOOK_UP_S = 0.1
UNKNOWN_TOPIC = f"{TOPIC_PREFIX}//{HJ212}"
"""Topic of what names no station; it becomes a dead letter."""

Authorise = Callable[[str, str], bool]
"""(station number, access password) → whether they belong together."""


@dataclass
class Station:
    """One connection."""

    connection: socket.socket
    number: int
    buffer: bytes = b""
    parts: dict[tuple[str, int, str], dict[int, bytes]] = field(default_factory=dict)
    """(QN, CN, MN) → packets that wait for the others."""
    allowed: set[tuple[str, str]] = field(default_factory=set)
    unanswered: dict[int, Packet] = field(default_factory=dict)
    count: int = 0


class Listener:
    """Accepts stations; :meth:`acknowledge` answers them, from the writer's thread."""

    def __init__(self, address: tuple[str, int], inbox: Inbox, clock: Clock, authorise: Authorise) -> None:
        """Listen at once; :meth:`start` serves.

        Raises:
            OSError: the address is taken.
        """
        self._inbox, self._clock, self._authorise = inbox, clock, authorise
        self._server = socket.create_server(address)
        self._server.setblocking(False)
        self.port: int = self._server.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ)
        self._stations: dict[int, Station] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="hj212")

    def start(self) -> None:
        """Serve in the background."""
        self._thread.start()

    def stop_receiving(self) -> None:
        """Read nothing more; connections stay open for answers."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def close(self) -> None:
        """End all connections."""
        self.stop_receiving()
        with self._lock:
            stations = list(self._stations.values())
            self._stations.clear()
        for station in stations:
            station.connection.close()
        self._selector.close()
        self._server.close()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Answer the messages that are stored and ask for an answer."""
        answers: dict[int, bytes] = {}
        with self._lock:
            for delivery in deliveries:
                station = self._stations.get(-delivery.session) if delivery.session < 0 else None
                packet = station.unanswered.pop(delivery.mid, None) if station is not None else None
                if packet is not None:
                    answers[-delivery.session] = answers.get(-delivery.session, b"") + hj212.data_answer(packet)
            pairs = [(self._stations[number], answer) for number, answer in answers.items()]
        for station, answer in pairs:
            try:
                station.connection.sendall(answer)
            except OSError as error:
                log.info("station %d does not take its answer: %s", station.number, error)

    def _serve(self) -> None:
        while not self._stopping.is_set():
            if self._inbox.full:
                self._stopping.wait(LOOK_UP_S)
                continue
            for key, _ in self._selector.select(LOOK_UP_S):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)

    def _accept(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:
            return
        if len(self._stations) >= CONNECTIONS_LIMIT:
            connection.close()
            return
        connection.settimeout(LOOK_UP_S)
        self._count += 1
        station = Station(connection, self._count)
        with self._lock:
            self._stations[station.number] = station
        self._selector.register(connection, selectors.EVENT_READ, station)

    def _read(self, station: Station) -> None:
        try:
            data = station.connection.recv(RECEIVE_BYTES)
        except TimeoutError:
            return
        except OSError:
            data = b""
        station.buffer += data
        if not data or not self._take_frames(station):
            self._part(station)

    def _take_frames(self, station: Station) -> bool:
        """Take the whole frames out of a buffer; False when the connection cannot go on."""
        while True:
            try:
                end = hj212.frame_end(station.buffer)
            except BadFrame:
                self._skip(station)
                continue
            if end is None:
                return len(station.buffer) <= BUFFER_LIMIT_BYTES
            frame, station.buffer = station.buffer[:end], station.buffer[end:]
            if not self._take(station, frame):
                return False

    def _skip(self, station: Station) -> None:
        """Keep what is no frame as a dead letter, and go on at the next head."""
        following = station.buffer.find(hj212.HEAD, 1)
        bad = station.buffer if following < 0 else station.buffer[:following]
        station.buffer = station.buffer[len(bad) :]
        self._offer(station, UNKNOWN_TOPIC, bad, None)

    def _take(self, station: Station, frame: bytes) -> bool:
        try:
            packet = hj212.decode(frame)
        except BadFrame:
            self._offer(station, UNKNOWN_TOPIC, frame, None)
            return True
        if not SENSOR_ID.fullmatch(packet.mn) or not self._may(station, packet):
            log.warning("station %s is refused", packet.mn[:64])
            return False
        if packet.pnum == 1:
            self._offer(station, readings_topic(packet.mn, HJ212), frame, packet)
            return True
        key = (packet.qn, packet.cn, packet.mn)
        parts = station.parts.setdefault(key, {})
        parts[packet.pno] = frame
        if len(parts) == packet.pnum or sum(map(len, station.parts.values())) > PARTS_LIMIT:
            del station.parts[key]
            whole = b"".join(parts[number] for number in sorted(parts))
            self._offer(station, readings_topic(packet.mn, HJ212), whole, packet)
        return True

    def _may(self, station: Station, packet: Packet) -> bool:
        who = (packet.mn, packet.password)
        if who not in station.allowed and self._authorise(*who):
            station.allowed.add(who)
        return who in station.allowed

    def _offer(self, station: Station, topic: str, payload: bytes, packet: Packet | None) -> None:
        """Hand a message to the inbox, and remember whom to answer; when it is time to stop, drop it unanswered."""
        station.count += 1
        if packet is not None and packet.wants_answer:
            with self._lock:
                station.unanswered[station.count] = packet
        delivery = Delivery(topic, payload, self._clock.now(), station.count, -station.number)
        while not self._inbox.offer([delivery], LOOK_UP_S) and not self._stopping.is_set():
            pass

    def _part(self, station: Station) -> None:
        """End a connection; what it left unfinished is kept as dead letters."""
        for key, parts in station.parts.items():
            self._offer(station, readings_topic(key[2], HJ212), b"".join(parts.values()), None)
        if station.buffer:
            self._offer(station, UNKNOWN_TOPIC, station.buffer, None)
        self._selector.unregister(station.connection)
        with self._lock:
            self._stations.pop(station.number, None)
        station.connection.close()
