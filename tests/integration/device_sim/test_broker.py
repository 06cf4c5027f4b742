"""The embedded broker as it really behaves: what docs/decisions/0004 says of it must stay true."""

from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from device_sim.broker import HOST, Broker, BrokerFailed, BrokerUser, ingest_user, sensor_user
from schemas.telemetry import SUBSCRIPTION, readings_topic

WAIT_S = 10.0


class Peer:
    """A client whose events are put into queues."""

    def __init__(self, broker: Broker, user: str, name: str, *, manual: bool = False) -> None:
        """Connect and wait for the answer."""
        self.connected: Queue[Any] = Queue()
        self.messages: Queue[Any] = Queue()
        self.granted: Queue[Any] = Queue()
        self.client = Client(
            CallbackAPIVersion.VERSION2, name, clean_session=False, protocol=MQTTProtocolVersion.MQTTv311,
            manual_ack=manual, reconnect_on_failure=False,
        )  # fmt: skip
        self.client.username_pw_set(user, broker.users[user].password if user in broker.users else "wrong")
        self.client.on_connect = lambda _c, _d, flags, reason, _p: self.connected.put((flags, reason))
        self.client.on_message = lambda _c, _d, message: self.messages.put(message)
        self.client.on_subscribe = lambda _c, _d, _m, reasons, _p: self.granted.put(reasons[0])
        self.client.connect(HOST, broker.port)
        self.client.loop_start()
        self.flags, self.reason = self.connected.get(timeout=WAIT_S)

    def subscribe(self, topic: str) -> bool:
        """Subscribe and tell whether it was granted."""
        self.client.subscribe(topic, 1)
        return not self.granted.get(timeout=WAIT_S).is_failure

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1 and wait for the PUBACK."""
        self.client.publish(topic, payload, 1).wait_for_publish(WAIT_S)

    def receive(self) -> bytes:
        """The next message's payload."""
        return bytes(self.messages.get(timeout=WAIT_S).payload)

    def close(self) -> None:
        """Disconnect."""
        self.client.disconnect()
        self.client.loop_stop()


Connect = Callable[..., Peer]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker with an ingester and two sensors."""
    with Broker(tmp_path / "broker", [ingest_user(), sensor_user("s1"), sensor_user("s2")], ack_wait_s=1) as running:
        yield running


@pytest.fixture
def connect(broker: Broker) -> Iterator[Connect]:
    """Connect peers, and close them at the end."""
    peers: list[Peer] = []

    def make(user: str, name: str = "", *, manual: bool = False) -> Peer:
        peers.append(Peer(broker, user, name or user, manual=manual))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


def test_a_sensor_is_heard_on_its_own_topic_only(connect: Connect) -> None:
    """A forged topic gets its PUBACK and goes nowhere; the next honest message arrives."""
    ingester = connect("ingest")
    assert ingester.subscribe(SUBSCRIPTION)
    sensor = connect("s1")
    sensor.publish(readings_topic("s2"), b"forged")
    sensor.publish(readings_topic("s1"), b"honest")
    assert ingester.receive() == b"honest"
    with pytest.raises(Empty):
        ingester.messages.get_nowait()


def test_others_may_not_listen(connect: Connect) -> None:
    """Neither a sensor nor, beyond the readings, the ingester may subscribe."""
    assert not connect("s1").subscribe(SUBSCRIPTION)
    assert not connect("ingest").subscribe("#")


def test_a_wrong_password_is_refused(connect: Connect) -> None:
    """The connection is answered, and refused."""
    assert connect("nobody").reason.is_failure


def test_what_arrives_while_away_is_kept_over_a_crash_of_the_broker(broker: Broker, connect: Connect) -> None:
    """A session and its messages survive a kill of the broker, whose port stays."""
    port = broker.port
    first = connect("ingest")
    assert first.subscribe(SUBSCRIPTION)
    first.close()
    connect("s1").publish(readings_topic("s1"), b"while away")
    broker.kill()
    broker.start()
    assert broker.port == port
    again = connect("ingest")
    assert again.flags.session_present
    assert again.receive() == b"while away"


def test_unacknowledged_messages_come_again(connect: Connect) -> None:
    """After a reconnect both come: the new message, and the unacknowledged one again, with its packet id."""
    first = connect("ingest", manual=True)
    assert first.subscribe(SUBSCRIPTION)
    sensor = connect("s1")
    sensor.publish(readings_topic("s1"), b"one")
    one = first.messages.get(timeout=WAIT_S)
    first.client._sock_close()  # a broken line, without a goodbye
    first.client.loop_stop()
    sensor.publish(readings_topic("s1"), b"two")
    again = connect("ingest", manual=True)
    seen: dict[bytes, MQTTMessage] = {}
    while len(seen) < 2:
        message = again.messages.get(timeout=WAIT_S)
        seen[bytes(message.payload)] = message
    assert seen.keys() == {b"one", b"two"}
    assert (seen[b"one"].mid, seen[b"one"].dup) == (one.mid, True)


def test_a_port_in_use_is_an_error_in_words(broker: Broker, tmp_path: Path) -> None:
    """A broker that cannot listen says where its log is."""
    with pytest.raises(BrokerFailed, match=r"nats-server\.log"):
        Broker(tmp_path / "second", [BrokerUser("u", "p")], port=broker.port).start()


def test_stopping_twice_is_harmless(broker: Broker) -> None:
    """Stopped is stopped."""
    broker.stop()
    broker.stop()
    assert broker.process is None
