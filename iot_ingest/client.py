"""The MQTT side of the ingester: a persistent session, and acknowledgements that are sent by hand.

paho acknowledges when its callback returns; here a message is acknowledged only after the commit that stored it, by
:meth:`Subscriber.acknowledge`. What is not acknowledged comes again, but only on another connection: MQTT 3.1.1 (4.4)
asks for no repetition on a living one, and mosquitto sends none. So nothing that arrives may be dropped. While the
inbox is full the network thread waits and the connection is not read; when that takes long it is given up, and made
again once there is room, so that the persistent session delivers what was not acknowledged. (A message of QoS 0 has no
such promise.)
"""

import logging
import random
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from iot_ingest.batcher import Delivery, Inbox
from schemas.telemetry import SUBSCRIPTION
from server.clock import Clock

log = logging.getLogger(__name__)

KEEPALIVE_S = 30
PATIENCE_S = 10.0
"""How long the connection stays unread while the inbox is full. Nothing is sent meanwhile, not even a ping: together
with the keep-alive it stays below the one and a half keep-alives after which a broker ends a silent connection."""
LOOK_UP_S = 0.1
"""How often a waiting network thread looks whether it is to stop."""
RECONNECT_MIN_S = 1
RECONNECT_MAX_S = 30
CLOSE_TIMEOUT_S = 5.0
"""How long a closing client waits for its last acknowledgements to leave."""


@dataclass(frozen=True)
class BrokerAddress:
    """Where the broker is and who we are there."""

    host: str
    port: int
    user: str
    password: str
    client_id: str


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
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._address.client_id,
            clean_session=False,
            protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=True,
        )
        client.username_pw_set(self._address.user, self._address.password)
        # each ingester waits a different longest time, so that a broker's restart does not meet all of them at once
        client.reconnect_delay_set(RECONNECT_MIN_S, random.randint(RECONNECT_MAX_S // 2, RECONNECT_MAX_S))  # noqa: S311
        client.on_pre_connect = self._on_pre_connect
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def start(self) -> None:
        """Connect in the background, again and again until the broker is there."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=KEEPALIVE_S)
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

    def acknowledge(self, deliveries: list[Delivery]) -> None:
        """Acknowledge deliveries whose content is committed.

        A delivery of a session that the broker has forgotten is left alone: its packet id may name another message now.
        """
        with self._lock:
            current = [delivery for delivery in deliveries if delivery.mid and delivery.session == self._session]
            self._in_hand.difference_update(delivery.mid for delivery in current)
            if self._parting or not self._connected:  # paho would forget them when it connects
                self._owed.update(delivery.mid for delivery in current)
                return
        for delivery in current:
            self._client.ack(delivery.mid, 1)

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
        client.subscribe(SUBSCRIPTION, qos=1)

    def _on_subscribe(
        self, _client: Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            self.fault = f"the broker refuses the subscription to {SUBSCRIPTION}"
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
        with self._lock:
            session = self._session
            settled = mid in self._owed and message.dup
            self._owed.discard(mid)
            repeated = settled or mid in self._in_hand
            self.repeated += repeated
            taken = not (repeated or self._parting or self._stopping.is_set())
            if taken and mid:
                self._in_hand.add(mid)
        if settled:
            client.ack(mid, 1)
        if not taken:
            return
        delivery = Delivery(_topic_of(message), bytes(message.payload), self._clock.now(), mid, session)
        if not self._offer(delivery):
            with self._lock:
                self._in_hand.discard(mid)
            if not self._stopping.is_set():
                self._give_up(client)

    def _offer(self, delivery: Delivery) -> bool:
        """Wait for room; False when it is time to stop, or when there was none for too long."""
        if self._inbox.offer(delivery):
            return True
        ends_at = time.monotonic() + PATIENCE_S
        while not self._stopping.is_set() and (remaining_s := ends_at - time.monotonic()) > 0:
            if self._inbox.offer(delivery, min(LOOK_UP_S, remaining_s)):
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


def _topic_of(message: MQTTMessage) -> str:
    """Return a message's topic; one that is no text names no sensor, and the decoder refuses it with its payload."""
    try:
        return message.topic
    except UnicodeDecodeError:
        return ""
