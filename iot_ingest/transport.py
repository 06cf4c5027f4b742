"""A paho client that reads its socket in large blocks and acknowledges a whole batch in one write.

Stock paho reads each packet byte by byte and takes several locks for each message. Here `_packet_read` is replaced:
one `recv` brings many packets, all PUBLISH among them are handed over as one list, and everything else goes through
paho's own handlers. The replaced and used members are private, so :func:`fault_of_block_client` rehearses a short
conversation over a socket pair before the class is trusted; when that fails the subscriber uses stock paho, which is
slower and otherwise the same. Packets: OASIS MQTT 3.1.1 and 5.0, chapters 2 and 3.
"""

import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket

BLOCK_BYTES = 256 * 1024
"""Most bytes read at once."""
PUBLISH, PUBACK = 0x30, 0x40
PUBACK_HEAD = 0x4002
"""PUBACK with a remaining length of 2: the packet id follows."""
DUP = 0x08
LENGTH_BYTES = 4
"""A packet's length has at most so many bytes."""
_new = tuple.__new__
"""Makes a named tuple in a third of the time that its own name takes."""


class Arrival(NamedTuple):
    """One PUBLISH as it came; `mid` is 0 at QoS 0."""

    topic: bytes
    payload: bytes
    mid: int
    dup: bool


class MalformedStream(Exception):
    """what arrived is not MQTT"""


class BlockClient(Client):
    """A client for one purpose: `on_block` is called on the network thread with the arrivals of one read."""

    on_block: Callable[["BlockClient", Sequence[Arrival]], None]

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - paho's own arguments
        """Make a client; the arguments are paho's."""
        super().__init__(*args, **options)
        self._tail = b""
        self._has_properties = options.get("protocol") == MQTTProtocolVersion.MQTTv5

    def reconnect(self) -> MQTTErrorCode:
        """Connect again, forgetting what was left of the old connection."""
        self._tail = b""
        return super().reconnect()

    def ack_all(self, mids: Sequence[int]) -> None:
        """Acknowledge messages of QoS 1 in one write."""
        words = [PUBACK_HEAD] * (2 * len(mids))
        words[1::2] = mids
        self._packet_queue(PUBACK, struct.pack(f"!{len(words)}H", *words), 0, 0)

    def _packet_read(self) -> MQTTErrorCode:
        try:
            data = self._sock_recv(BLOCK_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not data:
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        with self._msgtime_mutex:
            self._last_bytes_received = time.monotonic()
        try:
            return self._take_apart(self._tail + data if self._tail else data)
        except (MalformedStream, MalformedPacket, struct.error, ValueError, LookupError):
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _take_apart(self, buffer: bytes) -> MQTTErrorCode:
        """Handle all whole packets of a buffer in their order, and keep the rest for the next read."""
        position, end = 0, len(buffer)
        arrivals: list[Arrival] = []
        while end - position >= 2:
            command, length, start = buffer[position], buffer[position + 1], position + 2
            if length > 127:
                if (
                    end - start and buffer[start] < 128
                ):  # two bytes, as nearly all have; a call costs more than all this
                    length, start = length - 128 + (buffer[start] << 7), start + 1
                elif (found := _variable_length(buffer, position + 1)) is not None:
                    length, start = found
                else:
                    break
            stop = start + length
            if stop > end:
                break
            if command & 0xF0 == PUBLISH:
                arrivals.append(self._arrival(buffer, command, start, stop))
            else:
                self._hand_over(arrivals)
                arrivals = []
                result = self._other(command, buffer[start:stop])
                if result:
                    return result
            position = stop
        self._tail = buffer[position:]
        self._hand_over(arrivals)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _hand_over(self, arrivals: Sequence[Arrival]) -> None:
        if arrivals:
            self.on_block(self, arrivals)

    def _arrival(self, buffer: bytes, command: int, start: int, stop: int) -> Arrival:
        topic_start = start + 2
        body = topic_end = topic_start + (buffer[start] << 8 | buffer[start + 1])
        mid = 0
        quality = command & 0x06
        if quality:
            if quality != 0x02:
                raise MalformedStream("a message of QoS 2, which was not subscribed to")
            mid, body = buffer[body] << 8 | buffer[body + 1], body + 2
        if self._has_properties:
            found = _variable_length(buffer, body)
            if found is None:
                raise MalformedStream("properties end beyond the packet")
            body = found[0] + found[1]
        if body > stop:
            raise MalformedStream("a packet shorter than its own head")
        return _new(Arrival, (buffer[topic_start:topic_end], buffer[body:stop], mid, command & DUP != 0))

    def _other(self, command: int, content: bytes) -> MQTTErrorCode:
        """Let paho handle a packet that is no PUBLISH."""
        self._in_packet["command"] = command
        self._in_packet["remaining_length"] = len(content)
        self._in_packet["packet"] = bytearray(content)
        self._in_packet["pos"] = 0
        try:
            return self._packet_handle()
        finally:
            self._in_packet["command"] = 0


def _variable_length(buffer: bytes, position: int) -> tuple[int, int] | None:
    """Return a variable byte integer and the position behind it, or None if the buffer ends within it."""
    value = 0
    for index in range(LENGTH_BYTES):
        if position + index >= len(buffer):
            return None
        digit = buffer[position + index]
        value |= (digit & 127) << (7 * index)
        if digit < 128:
            return value, position + index + 1
    raise MalformedStream("a length of more than four bytes")


def fault_of_block_client(kind: type[BlockClient] = BlockClient) -> str:
    """Rehearse a conversation with a client of `kind`; return why it cannot be trusted, or "" if it can.

    The client is connected to one end of a socket pair and meets a CONNACK, messages cut at an unlucky place, and a
    PINGRESP; it must hand over exactly the messages and send exactly their acknowledgements.
    """
    near, far = socket.socketpair()
    try:
        taken, connected, sent = _rehearse(kind, near, far)
    except Exception as error:  # noqa: BLE001 - whatever a changed library may raise is the answer
        return f"{type(error).__name__}: {error}"
    finally:
        near.close()
        far.close()
    if taken != [Arrival(b"t/1", b"x" * 200, 7, dup=False), Arrival(b"t/2", b"", 9, dup=True)]:
        return "messages are not handed over as they came"
    if connected != [0]:
        return "the broker's answer does not reach paho"
    if sent != b"\x40\x02\x00\x07\x40\x02\x00\x09":
        return "acknowledgements are not sent as they should be"
    return ""


def _rehearse(
    kind: type[BlockClient], near: socket.socket, far: socket.socket
) -> tuple[list[Arrival], list[int], bytes]:
    client = kind(CallbackAPIVersion.VERSION2, client_id="rehearsal", manual_ack=True)
    taken: list[Arrival] = []
    connected: list[int] = []
    client.on_block = lambda _client, arrivals: taken.extend(arrivals)
    client.on_connect = lambda _client, _data, _flags, reason, _properties: connected.append(reason.value)
    near.setblocking(False)
    far.settimeout(1.0)
    client._sock = near
    long = b"\x32\xcf\x01" + b"\x00\x03t/1\x00\x07" + b"x" * 200
    stream = b"\x20\x02\x00\x00" + long + b"\xd0\x00" + b"\x3a\x07\x00\x03t/2\x00\x09"
    for piece in (stream[:6], stream[6:50], stream[50:]):
        far.sendall(piece)
        result = client.loop_read()
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise MalformedStream(f"reading ends with {result.name}")
    client.ack_all([arrival.mid for arrival in taken])
    client.loop_write()
    sent = far.recv(100)
    client._sock = None
    return taken, connected, sent
