"""The subscriber's bookkeeping: what is in hand, what is acknowledged, what is left for the broker to send again."""

import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from iot_ingest import client
from iot_ingest.batcher import BatchRule, Inbox
from iot_ingest.client import BrokerAddress, Subscriber


class StillClock:
    """A clock that stands still."""

    def now(self) -> datetime:
        """The one instant."""
        return datetime(2026, 3, 2, tzinfo=UTC)


class Wire(Client):
    """A client that never connects, and notes what it was asked to send."""

    def __init__(self) -> None:
        """Start with nothing sent."""
        self.acks: list[int] = []
        self.near, self.far = socket.socketpair()
        self.subscriptions: list[str] = []

    def ack(self, mid: int, qos: int) -> None:  # type: ignore[override]
        """Note an acknowledgement."""
        self.acks.append(mid)

    def socket(self) -> socket.socket:
        """The connection."""
        return self.near

    def subscribe(self, topics: list[tuple[str, int]]) -> None:  # type: ignore[override]
        """Note a subscription."""
        self.subscriptions += [topic for topic, _ in topics]

    def __del__(self) -> None:
        """Close the connection."""
        self.near.close()
        self.far.close()


Made = tuple[Subscriber, Inbox, Wire]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Made]:
    """Make a subscriber over an inbox of some capacity, connected to a fresh session."""

    def make(capacity: int = 10) -> Made:
        inbox, wire = Inbox(BatchRule(silence_s=0.001), capacity), Wire()
        monkeypatch.setattr(Subscriber, "_make_client", lambda _self: wire)
        subscriber = Subscriber(BrokerAddress("127.0.0.1", 1883, "u", "p", "c"), inbox, StillClock())
        connect(subscriber, wire, present=False)
        return subscriber, inbox, wire

    return make


def connect(subscriber: Subscriber, wire: Wire, *, present: bool, code: str = "Success") -> None:
    """Tell the subscriber that the broker answered its CONNECT."""
    subscriber._on_connect(wire, None, ConnectFlags(present), ReasonCode(PacketTypes.CONNACK, code), None)


def lose(subscriber: Subscriber, wire: Wire) -> None:
    """Tell the subscriber that its connection is gone."""
    reason = ReasonCode(PacketTypes.DISCONNECT, "Unspecified error")
    subscriber._on_disconnect(wire, None, DisconnectFlags(False), reason, None)


def arrive(
    subscriber: Subscriber, wire: Wire, mid: int, *, qos: int = 1, topic: bytes = b"t", dup: bool = False
) -> None:
    """Let a message arrive."""
    message = MQTTMessage(mid, topic)
    message.payload, message.qos, message.dup = b"x", qos, dup
    subscriber._on_message(wire, None, message)


def test_messages_are_acknowledged_by_hand_only(made: Callable[[int], Made]) -> None:
    """Arriving acknowledges nothing; acknowledging does, once."""
    subscriber, inbox, wire = made(10)
    arrive(subscriber, wire, 1)
    arrive(subscriber, wire, 2)
    assert wire.acks == []
    subscriber.acknowledge(inbox.take(0.01))
    assert wire.acks == [1, 2]
    assert wire.subscriptions[0] == "fieldproof/v1/+/readings"


def test_a_repetition_in_hand_is_dropped(made: Callable[[int], Made]) -> None:
    """The broker repeats what takes long; the first copy's acknowledgement serves both. Afterwards the id is free."""
    subscriber, inbox, wire = made(10)
    arrive(subscriber, wire, 1)
    connect(subscriber, wire, present=True)
    arrive(subscriber, wire, 1)
    assert (len(inbox), subscriber.repeated) == (1, 1)
    subscriber.acknowledge(inbox.take(0.01))
    arrive(subscriber, wire, 1)
    assert len(inbox) == 1


def test_what_does_not_fit_waits(made: Callable[[int], Made]) -> None:
    """While the inbox is full the network thread waits; with room the message is taken, on the same connection."""
    subscriber, inbox, wire = made(1)
    arrive(subscriber, wire, 1)
    thread = threading.Thread(target=arrive, args=(subscriber, wire, 2))
    thread.start()
    thread.join(0.02)
    assert thread.is_alive()
    taken = inbox.take(0.01)
    thread.join(10)
    taken += inbox.take(0.01)
    assert [item.mid for item in taken] == [1, 2]
    subscriber.acknowledge(taken)
    assert (wire.acks, subscriber.given_up) == ([1, 2], 0)


def test_a_connection_that_waits_too_long_is_given_up(
    made: Callable[[int], Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends, what still arrives on it is left alone, and on the next one all of it is taken."""
    monkeypatch.setattr(client, "PATIENCE_S", 0.01)
    subscriber, inbox, wire = made(1)
    arrive(subscriber, wire, 1)
    arrive(subscriber, wire, 2)
    assert wire.near.recv(1) == b""
    (first,) = inbox.take(0.01)
    arrive(subscriber, wire, 3)
    assert (len(inbox), subscriber.given_up) == (0, 1)
    lose(subscriber, wire)
    connect(subscriber, wire, present=True)
    arrive(subscriber, wire, 1, dup=True)
    for mid in (2, 3):
        arrive(subscriber, wire, mid, dup=mid == 2)
        assert [item.mid for item in inbox.take(0.01)] == [mid]
    subscriber.acknowledge([first])
    assert wire.acks == [1]


def test_giving_up_a_connection_that_is_gone(made: Callable[[int], Made], monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be nothing left to end."""
    monkeypatch.setattr(client, "PATIENCE_S", 0.01)
    subscriber, _, wire = made(1)
    wire.near.close()
    for mid in (1, 2):
        arrive(subscriber, wire, mid)
    assert subscriber.given_up == 1


def test_committed_while_there_is_no_connection(made: Callable[[int], Made]) -> None:
    """Acknowledgements wait for the repetition that asks for them; the message is not taken again, a new one is."""
    subscriber, inbox, wire = made(10)
    for mid in (1, 2, 3):
        arrive(subscriber, wire, mid)
    lose(subscriber, wire)
    subscriber.acknowledge(inbox.take(0.01))
    assert wire.acks == []
    connect(subscriber, wire, present=True)
    arrive(subscriber, wire, 1, dup=True)
    arrive(subscriber, wire, 2)
    assert (wire.acks, subscriber.repeated, len(inbox)) == ([1], 1, 1)
    connect(subscriber, wire, present=False)
    arrive(subscriber, wire, 3, dup=True)
    assert (wire.acks, len(inbox)) == ([1], 2)


def test_connecting_waits_for_room(made: Callable[[int], Made]) -> None:
    """No new connection while the inbox is full, unless it is time to stop."""
    subscriber, inbox, wire = made(1)
    arrive(subscriber, wire, 1)
    for release in (lambda: inbox.take(0.01), subscriber.stop_receiving):
        thread = threading.Thread(target=subscriber._on_pre_connect, args=(wire, None))
        thread.start()
        thread.join(0.02)
        assert thread.is_alive()
        release()
        thread.join(10)
        assert not thread.is_alive()
        arrive(subscriber, wire, 2)


def test_stopping_ends_the_wait(made: Callable[[int], Made]) -> None:
    """A message that still waits for room stays with the broker, and the connection stays for the drain."""
    subscriber, inbox, wire = made(1)
    arrive(subscriber, wire, 1)
    thread = threading.Thread(target=arrive, args=(subscriber, wire, 2))
    thread.start()
    subscriber.stop_receiving()
    thread.join(10)
    assert (len(inbox), subscriber.given_up) == (1, 0)


def test_ids_of_a_forgotten_session_are_not_acknowledged(made: Callable[[int], Made]) -> None:
    """When the broker has lost the session, old packet ids may name other messages."""
    subscriber, inbox, wire = made(10)
    arrive(subscriber, wire, 1)
    connect(subscriber, wire, present=False)
    arrive(subscriber, wire, 1)
    subscriber.acknowledge(inbox.take(0.01))
    assert wire.acks == [1]


def test_nothing_is_taken_while_draining(made: Callable[[int], Made]) -> None:
    """After being told to stop, arriving messages stay with the broker."""
    subscriber, inbox, wire = made(10)
    subscriber.stop_receiving()
    arrive(subscriber, wire, 1)
    assert len(inbox) == 0


def test_qos_0_and_unreadable_topics(made: Callable[[int], Made]) -> None:
    """A QoS 0 message needs no acknowledgement; a topic that is no text is kept for the dead letters."""
    subscriber, inbox, wire = made(10)
    arrive(subscriber, wire, 0, qos=0)
    arrive(subscriber, wire, 5, topic=b"\xff\xfe")
    batch = inbox.take(0.01)
    assert [item.topic for item in batch] == ["t", ""]
    subscriber.acknowledge(batch)
    assert wire.acks == [5]


def test_refusals_are_said(made: Callable[[int], Made]) -> None:
    """A refused connection or subscription is named, and cleared when it works."""
    subscriber, _, wire = made(10)
    connect(subscriber, wire, present=False, code="Not authorized")
    assert "connection" in subscriber.fault
    subscriber._on_subscribe(wire, None, 1, [ReasonCode(PacketTypes.SUBACK, "Unspecified error")], None)
    assert "subscription" in subscriber.fault
    assert not subscriber.subscribed.is_set()
    subscriber._on_subscribe(wire, None, 1, [ReasonCode(PacketTypes.SUBACK, "Granted QoS 1")], None)
    assert subscriber.fault == ""
    assert subscriber.subscribed.is_set()
    lose(subscriber, wire)
    assert subscriber.closed.is_set()
