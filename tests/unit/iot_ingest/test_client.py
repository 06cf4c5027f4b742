"""The subscriber's bookkeeping: what is in hand, what is acknowledged, what is left for the broker to send again."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

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
        self.subscriptions: list[str] = []

    def ack(self, mid: int, qos: int) -> None:  # type: ignore[override]
        """Note an acknowledgement."""
        self.acks.append(mid)

    def subscribe(self, topic: str, qos: int = 0) -> None:  # type: ignore[override]
        """Note a subscription."""
        self.subscriptions.append(topic)

    def __del__(self) -> None:
        """Hold no sockets."""


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


def arrive(subscriber: Subscriber, wire: Wire, mid: int, qos: int = 1, topic: bytes = b"t") -> None:
    """Let a message arrive."""
    message = MQTTMessage(mid, topic)
    message.payload, message.qos = b"x", qos
    subscriber._on_message(wire, None, message)


def test_messages_are_acknowledged_by_hand_only(made: Callable[[int], Made]) -> None:
    """Arriving acknowledges nothing; acknowledging does, once."""
    subscriber, inbox, wire = made(10)
    arrive(subscriber, wire, 1)
    arrive(subscriber, wire, 2)
    assert wire.acks == []
    subscriber.acknowledge(inbox.take(0.01))
    assert wire.acks == [1, 2]
    assert wire.subscriptions == ["fieldproof/v1/+/readings"]


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


def test_what_does_not_fit_comes_again(made: Callable[[int], Made]) -> None:
    """A full inbox leaves messages unacknowledged and not in hand, so their repetition is taken."""
    subscriber, inbox, wire = made(1)
    arrive(subscriber, wire, 1)
    arrive(subscriber, wire, 2)
    assert subscriber.overflowed == 1
    subscriber.acknowledge(inbox.take(0.01))
    arrive(subscriber, wire, 2)
    assert len(inbox) == 1
    assert wire.acks == [1]


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
    subscriber._on_disconnect(
        wire, None, DisconnectFlags(False), ReasonCode(PacketTypes.DISCONNECT, "Unspecified error"), None
    )
    assert subscriber.closed.is_set()
