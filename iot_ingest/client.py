"""The MQTT side of the ingester: a persistent session, and acknowledgements that are sent by hand.

paho acknowledges when its callback returns; here a message is acknowledged only after the commit that stored it, by
:meth:`Subscriber.acknowledge`. What is not acknowledged comes again.
"""

import logging
import random
import threading
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
        self._session = 0
        self._receiving = True
        self.subscribed = threading.Event()
        self.closed = threading.Event()
        self.repeated = 0
        """Redeliveries of messages still in hand; dropped, since the first will be acknowledged."""
        self.overflowed = 0
        """Deliveries not accepted because the inbox was full; the broker sends them again."""
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
        self._receiving = False

    def close(self) -> None:
        """Send what is queued to be sent, disconnect and end the network thread."""
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
        for delivery in current:
            self._client.ack(delivery.mid, 1)

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
        self.closed.set()
        if reason.is_failure:
            log.warning("connection to the broker lost: %s", reason)

    def _on_message(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        if not self._receiving:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:  # names no sensor; the decoder refuses it with its payload
            topic = ""
        with self._lock:
            if message.qos and message.mid in self._in_hand:
                self.repeated += 1
                return
            mid = message.mid if message.qos else 0
            delivery = Delivery(topic, bytes(message.payload), self._clock.now(), mid, self._session)
            if not self._inbox.offer(delivery):
                self.overflowed += 1
            elif mid:
                self._in_hand.add(mid)
