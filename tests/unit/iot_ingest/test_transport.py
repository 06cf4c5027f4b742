"""The client of blocks: the rehearsal that must pass before it is trusted, and streams cut anywhere."""

import socket
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from device_sim.bench.mqtt_load import publish_packet
from iot_ingest import client as client_module
from iot_ingest.batcher import BatchRule, Inbox
from iot_ingest.client import BrokerAddress, Subscriber
from iot_ingest.transport import Arrival, BlockClient, fault_of_block_client
from tests.unit.iot_ingest.test_client import StillClock


def test_the_installed_paho_is_as_expected() -> None:
    """The contract test over paho's private members; a new version that breaks it fails here and falls back."""
    assert fault_of_block_client() == ""


class WithoutMember(BlockClient):
    """As if a private member had gone."""

    def loop_write(self) -> MQTTErrorCode:
        """Lose it before it is needed."""
        raise AttributeError("_out_packet")


class Deaf(BlockClient):
    """As if other packets no longer reached paho."""

    def _other(self, command: int, content: bytes) -> MQTTErrorCode:
        return MQTTErrorCode.MQTT_ERR_SUCCESS


class Mute(BlockClient):
    """As if acknowledgements were queued elsewhere."""

    def ack_all(self, mids: Sequence[int]) -> None:
        """Send something else."""
        self._packet_queue(0xC0, b"\xc0\x00" * len(mids), 0, 0)


class Forgetful(BlockClient):
    """As if messages were handed over changed."""

    def _hand_over(self, arrivals: Sequence[Arrival]) -> None:
        super()._hand_over([item._replace(payload=b"") for item in arrivals])


@pytest.mark.parametrize("kind", [WithoutMember, Deaf, Mute, Forgetful])
def test_a_changed_paho_is_noticed(kind: type[BlockClient]) -> None:
    """Whatever has changed, the rehearsal says so and does not raise."""
    assert fault_of_block_client(kind) != ""


def test_without_trust_stock_paho_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The subscriber works the same, only slower."""
    monkeypatch.setattr(client_module, "fault_of_block_client", lambda: "changed")
    subscriber = Subscriber(BrokerAddress("127.0.0.1", 1, "u", "p", "c"), Inbox(BatchRule()), StillClock())
    assert type(subscriber._client) is Client


def conversation(pieces: Sequence[bytes], version: int = 4) -> tuple[list[Arrival], MQTTErrorCode]:
    """Let a client read pieces of a stream; return what it handed over and how it ended."""
    options = {} if version == 5 else {"clean_session": True}
    reader = BlockClient(
        CallbackAPIVersion.VERSION2, client_id="c", protocol=MQTTProtocolVersion(version), manual_ack=True, **options
    )
    taken: list[Arrival] = []
    reader.on_block = lambda _client, arrivals: taken.extend(arrivals)
    near, far = socket.socketpair()
    near.setblocking(False)
    reader._sock = near
    result = MQTTErrorCode.MQTT_ERR_SUCCESS
    for piece in pieces:
        if piece and result == MQTTErrorCode.MQTT_ERR_SUCCESS:
            far.sendall(piece)
            result = reader._packet_read()
    reader._sock = None
    near.close()
    far.close()
    return taken, result


MESSAGES = st.lists(st.tuples(st.text("ab/é", min_size=1, max_size=9), st.binary(max_size=300)), min_size=1, max_size=8)


@given(MESSAGES, st.lists(st.integers(0, 2_000), max_size=6))
def test_messages_come_whole_wherever_the_stream_is_cut(said: list[tuple[str, bytes]], cuts: list[int]) -> None:
    """Long lengths, empty payloads, cuts within a head or a length."""
    stream = b"".join(publish_packet(topic, payload, mid) for mid, (topic, payload) in enumerate(said, 1))
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    taken, result = conversation([stream[a:b] for a, b in pairwise(places)])
    assert result == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert taken == [Arrival(topic.encode(), body, mid, dup=False) for mid, (topic, body) in enumerate(said, 1)]


def test_properties_are_skipped() -> None:
    """MQTT 5 has properties between packet id and payload."""
    packet = b"\x32\x0e\x00\x01t\x00\x07\x05\x02\x00\x00\x00\x3c" + b"abc"
    taken, result = conversation([packet], version=5)
    assert (taken, result) == ([Arrival(b"t", b"abc", 7, dup=False)], MQTTErrorCode.MQTT_ERR_SUCCESS)


@pytest.mark.parametrize(
    "stream",
    [b"\x34\x05\x00\x01t\x00\x07", b"\x32\x02\x00\x09", b"\x32\xff\xff\xff\xff\x01", b"\x00\x00", b"\x30\x00"],
    ids=["QoS 2", "head beyond the packet", "length of five bytes", "no such packet", "without a topic"],
)
def test_what_is_not_mqtt_ends_the_connection(stream: bytes) -> None:
    """Nothing is handed over of it."""
    taken, result = conversation([stream])
    assert taken == []
    assert result == MQTTErrorCode.MQTT_ERR_PROTOCOL


@given(st.binary(max_size=300))
def test_noise_never_raises(noise: bytes) -> None:
    """Whatever arrives, the network thread lives."""
    conversation([noise])
