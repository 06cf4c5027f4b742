"""The MQTT side of the ingester: a persistent session, and acknowledgements that are sent by hand.

paho acknowledges when its callback returns; here a message is acknowledged only after the commit that stored it, by
:meth:`Subscriber.acknowledge`. Messages come in blocks (`transport`), or one by one from stock paho. What is not
acknowledged comes again, but only on another connection: MQTT 3.1.1 (4.4) asks for no repetition on a living one, and
mosquitto sends none. So nothing that arrives may be dropped. While the inbox is full the network thread waits and the
connection is not read; when that takes long it is given up, and made again once there is room, so that the persistent
session delivers what was not acknowledged. (A message of QoS 0 has no such promise.)
"""

import logging
import random
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from iot_ingest.batcher import Delivery, Inbox
from iot_ingest.transport import Arrival, BlockClient, fault_of_block_client
from schemas.telemetry import SUBSCRIPTIONS
from server.clock import Clock

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
PATIENCE_S = 10.0
"""How long the connection stays unread while the inbox is full. Nothing is sent meanwhile, not even a ping: together
with the keep-alive it stays below the one and a half keep-alives after which a broker ends a silent connection."""
LOOK_UP_S = 0.1
"""How often a waiting network thread looks whether it is to stop."""
RECONNECT_MIN_S = (1, 3)
"""How long it waits before it connects again: one of these at first, twice as long after each failure, …"""
RECONNECT_MAX_S = (15, 30)
"""… up to one of these."""
CLOSE_TIMEOUT_S = 5.0
"""How long a closing client waits for its last acknowledgements to leave."""
SESSION_EXPIRY_S = 7 * 86_400
"""MQTT 5: how long the broker keeps the session of an ingester that is away."""
RECEIVE_MAXIMUM = 5_000
"""MQTT 5: most unacknowledged messages the broker may have on their way to us."""
TOPICS_LIMIT = 50_000
"""Most topics whose text is remembered."""
UNREADABLE_TOPIC = b"\xff"
_new = tuple.__new__


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker is and who we are there."""

    host: str
    port: int
    user: str
    password: str
    client_id: str
    subscriptions: tuple[str, ...] = SUBSCRIPTIONS
    version: int = 4
    """The protocol: 4 is MQTT 3.1.1, 5 is MQTT 5."""
    ca_file: str = ""
    """Certificates that the broker's must descend from; empty: no TLS."""


class Subscriber:
    """Receives readings into an inbox; all callbacks run on paho's network thread."""

    def __init__(self, address: BrokerAddress, inbox: Inbox, clock: Clock) -> None:
        """Prepare the client; :meth:`start` connects."""
        self._address, self._inbox, self._clock = address, inbox, clock
        self._lock = threading.Lock()
        self._in_hand: set[int] = set()
        """Packet ids of this session that are received and not yet acknowledged."""
        self._owed: set[int] = set()
        """Packet ids of this session that were to be acknowledged while there was no connection."""
        self._topics: dict[bytes, str] = {}
        self._session = 0
        self._connected = False
        self._parting = False
        """Whether this connection is given up; what still arrives on it comes again on the next."""
        self._stopping = threading.Event()
        self.subscribed = threading.Event()
        self.closed = threading.Event()
        self.repeated = 0
        """Redeliveries of messages in hand or committed; not taken again, since the first is acknowledged."""
        self.given_up = 0
        """Connections given up because the inbox stayed full."""
        self.fault = ""
        """Why the broker refused the connection or the subscription; empty while all is well."""
        self._client = self._make_client()

    def _make_client(self) -> Client:
        fault = fault_of_block_client()
        if fault:
            log.warning("paho is not as expected, messages are read one by one: %s", fault)
        five = self._address.version == MQTTProtocolVersion.MQTTv5
        client = (Client if fault else BlockClient)(
            CallbackAPIVersion.VERSION2,
            client_id=self._address.client_id,
            clean_session=None if five else False,
            protocol=MQTTProtocolVersion(self._address.version),
            manual_ack=True,
        )
        if self._address.ca_file:
            client.tls_set(self._address.ca_file)
        client.username_pw_set(self._address.user, self._address.password)
        # each ingester waits in its own steps, so that a broker's restart does not meet all of them at once
        # Pauses that differ between ingesters are no secret.
        client.reconnect_delay_set(random.randint(*RECONNECT_MIN_S), random.randint(*RECONNECT_MAX_S))  # noqa: S311
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        if isinstance(client, BlockClient):
            client.on_block = self._on_block
        return client

    def start(self) -> None:
        """Connect in the background, again and again until the broker is there."""
        options: dict[str, Any] = {}
        if self._address.version == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            options = {"clean_start": False, "properties": properties}
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S, **options)
        self._client.loop_start()

    def stop_receiving(self) -> None:
        """Take in nothing more; the subscription stays, so the broker keeps what arrives from now on."""
        self._stopping.set()

    def close(self) -> None:
        """Send what is queued to be sent, disconnect and end the network thread."""
        self._stopping.set()
        self.closed.clear()
        if self._client.is_connected():
            self._client.disconnect()
            self.closed.wait(CLOSE_TIMEOUT_S)
        self._client.loop_stop()

    def acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        """Acknowledge deliveries whose content is committed.

        A delivery of a session that the broker has forgotten is left alone: its packet id may name another message now.
        """
        with self._lock:
            session = self._session
            current = [delivery.mid for delivery in deliveries if delivery.mid and delivery.session == session]
            self._in_hand.difference_update(current)
            if self._parting or not self._connected:  # paho would forget them when it connects
                self._owed.update(current)
                return
        self._acknowledge(self._client, current)

    def tell(self, messages: Mapping[str, bytes], qos: int = 0) -> None:
        """Publish messages, topic → payload; a receipt at QoS 0, since whoever misses one asks again."""
        for topic, payload in messages.items():
            self._client.publish(topic, payload, qos)

    @staticmethod
    def _acknowledge(client: Client, mids: Sequence[int]) -> None:
        if isinstance(client, BlockClient):
            if mids:
                client.ack_all(mids)
            return
        for mid in mids:
            client.ack(mid, 1)

    def _on_pre_connect(self, _client: Client, _data: object) -> None:
        """Connect only when there is room, or to take leave."""
        while self._inbox.full and not self._stopping.wait(LOOK_UP_S):
            pass

    def _on_connect(
        self, client: Client, _data: object, flags: ConnectFlags, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self.fault = f"the broker refuses the connection: {reason}"
            log.warning("%s", self.fault)
            return
        with self._lock:
            if not flags.session_present:
                self._session += 1
                self._in_hand.clear()
                self._owed.clear()
            self._connected, self._parting = True, False
        client.subscribe([(topic, 1) for topic in self._address.subscriptions])

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self.fault = f"the broker refuses the subscription to {', '.join(self._address.subscriptions)}"
            log.error("%s", self.fault)
            return
        self.fault = ""
        self.subscribed.set()

    def _on_disconnect(
        self,
        _client: Client,
        _data: object,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        with self._lock:
            self._connected = False
        self.closed.set()
        if reason.is_failure and not self._parting:
            log.warning("connection to the broker lost: %s", reason)

    def _on_message(self, client: Client, _data: object, message: MQTTMessage) -> None:
        mid = message.mid if message.qos else 0
        try:
            topic = message.topic.encode()
        except UnicodeDecodeError:
            topic = UNREADABLE_TOPIC
        self._on_block(client, [Arrival(topic, bytes(message.payload), mid, message.dup)])

    def _on_block(self, client: Client, arrivals: Sequence[Arrival]) -> None:
        """Take what one read brought, apart from repetitions of what is in hand or committed."""
        now = self._clock.now()
        settled: list[int] = []
        with self._lock:
            open_ = not (self._parting or self._stopping.is_set())
            mids = {arrival.mid for arrival in arrivals if arrival.mid}
            if self._owed or len(mids) < len(arrivals) or not self._in_hand.isdisjoint(mids):
                arrivals = self._leave_out_known(arrivals, settled)
                mids = {arrival.mid for arrival in arrivals if arrival.mid}
            deliveries: list[Delivery] = []
            if open_:
                topics, session = self._topics, self._session
                deliveries = [
                    _new(Delivery, (topics.get(topic) or self._text(topic), payload, now, mid, session))
                    for topic, payload, mid, _ in arrivals
                ]
                self._in_hand |= mids
        self._acknowledge(client, settled)
        if deliveries and not self._offer(deliveries):
            with self._lock:
                self._in_hand.difference_update(delivery.mid for delivery in deliveries)
            if not self._stopping.is_set():
                self._give_up(client)

    def _leave_out_known(self, arrivals: Sequence[Arrival], settled: list[int]) -> list[Arrival]:
        """Return what is new; packet ids of what was to be acknowledged and comes again go to `settled`."""
        owed, fresh = self._owed, []
        in_hand = set(self._in_hand)
        for arrival in arrivals:
            mid = arrival.mid
            if mid and (mid in owed or mid in in_hand):
                known = mid in in_hand or arrival.dup
                if mid in owed and arrival.dup:
                    settled.append(mid)
                owed.discard(mid)
                self.repeated += known
                if known:
                    continue
            fresh.append(arrival)
            if mid:
                in_hand.add(mid)
        return fresh

    def _text(self, topic: bytes) -> str:
        """Return a topic's text; one that is no text names no sensor, and the decoder refuses it with its payload."""
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            return ""
        if len(self._topics) >= TOPICS_LIMIT:
            self._topics.clear()
        self._topics[topic] = text
        return text

    def _offer(self, deliveries: Sequence[Delivery]) -> bool:
        """Wait for room; False when it is time to stop, or when there was none for too long."""
        if self._inbox.offer(deliveries):
            return True
        ends_at = time.monotonic() + PATIENCE_S
        while not self._stopping.is_set() and (remaining_s := ends_at - time.monotonic()) > 0:
            if self._inbox.offer(deliveries, min(LOOK_UP_S, remaining_s)):
                return True
        return False

    def _give_up(self, client: Client) -> None:
        """End the connection below paho, which then reconnects by itself; after its own `disconnect` it would not."""
        with self._lock:
            self._parting = True
        self.given_up += 1
        log.warning("the inbox stayed full for %s s; reconnecting when there is room", PATIENCE_S)
        connection = client.socket()
        if isinstance(connection, socket.socket):
            with suppress(OSError):  # gone already
                connection.shutdown(socket.SHUT_RDWR)
