"""Bad input through real brokers: kept with its reason or turned away by the broker, and nobody else suffers."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from device_sim.bench.brokers import BROKERS, BrokerAddress, mosquitto_program
from device_sim.bench.frame import BenchFailed
from device_sim.bench.ingest_runs import payloads
from device_sim.bench.mqtt_load import MAX_PACKET_ID, WINDOW, Pace, Publisher, publish_packet, publish_packets
from device_sim.broker import HOST
from iot_ingest import client
from iot_ingest.batcher import BatchRule
from iot_ingest.cli import Ingester
from iot_ingest.throttle import Throttle
from schemas.telemetry import MESSAGE_LIMIT_BYTES, readings_topic
from server.runtime import Runtime
from server.telemetry import service
from server.telemetry.letters import PAYLOAD_KEPT_BYTES
from tests.integration.iot_ingest.test_cli import Running
from tests.integration.telemetry.programs import counted, register, until

RETAIN = 0x01
MEGABYTE = 1_000_000
FLOOD, QUIET = 20_000, 80
LOUD, BURST = 1_500, 100
"""Messages that one sensor sends as fast as it can, and how many of them it is allowed."""
FOREVER = float("inf")
NONSENSE = (
    b"\xff\xfe\x00",
    b"[" * 20_000,
    b'{"seq":1,"readings":[{"time":"2013-03-01T00:00:00Z","factor":"SO2","value":NaN,"unit":"ug/m3","flag":"N"}]}',
    b'{"seq":1,"sensor":"other","readings":[]}',
    b"x" * (MESSAGE_LIMIT_BYTES + 1),
    b"",
)


@pytest.fixture(params=["nats", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerAddress]:
    """A running broker."""
    if request.param == "mosquitto" and mosquitto_program() is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    with BROKERS[request.param](tmp_path / "broker") as running:
        yield running


def ingester(rt: Runtime, broker: BrokerAddress, throttle: Throttle | None = None) -> Running:
    """A running ingester that is subscribed."""
    address = client.BrokerAddress(HOST, broker.port, "ingest", broker.ingest_password, "hostile")
    running = Running(Ingester(rt, address, BatchRule(), throttle=throttle))
    until(running.ingester._subscriber.subscribed.is_set, "the subscription")
    return running


def send(broker: BrokerAddress, packets: list[bytes], name: str = "load") -> None:
    """Publish packets on a connection of their own, each acknowledged by the broker."""
    publisher = Publisher((HOST, broker.port), name, broker.load_user, broker.load_password, broker.publisher_window)
    try:
        publisher.publish(packets, Pace(1, ahead_limit=len(packets)), FOREVER)
    finally:
        publisher.close()


def retained(topic: str, payload: bytes, packet_id: int) -> bytes:
    """Return a PUBLISH that the broker keeps for whoever subscribes later."""
    packet = publish_packet(topic, payload, packet_id)
    return bytes([packet[0] | RETAIN]) + packet[1:]


def test_nonsense_is_kept_with_its_reason(rt: Runtime, broker: BrokerAddress) -> None:
    """Every message that arrives is a dead letter once, however often it comes; the reading behind them is stored."""
    register(rt, "a", "b")
    running = ingester(rt, broker)
    packets = [publish_packet(readings_topic("a"), body, number) for number, body in enumerate(NONSENSE * 2, 1)]
    send(broker, packets)
    send(broker, publish_packets(readings_topic("b"), payloads("b", 3)))
    until(lambda: counted(rt)["valid"] == 3, "the readings of the other sensor")
    until(lambda: counted(rt)["messages"] == len(packets) + 3, "everything else")
    assert running.stop() == 0
    with rt.db.read() as session:
        assert len(service.list_letters(session)) == counted(rt)["dead_lettered"] == len(NONSENSE)
    assert counted(rt)["duplicate"] == len(NONSENSE)


def test_a_megabyte_is_not_read(rt: Runtime, broker: BrokerAddress) -> None:
    """The broker ends the sender's connection, or it is one letter that says how large it was; the others go on."""
    register(rt, "a", "b")
    running = ingester(rt, broker)
    with suppress(BenchFailed, ConnectionError):  # turned away
        send(broker, [publish_packet(readings_topic("a"), b"x" * MEGABYTE, 1)], "huge")
    send(broker, publish_packets(readings_topic("b"), payloads("b", 3)))
    until(lambda: counted(rt)["valid"] == 3, "the readings of the other sensor")
    if broker.publisher_window == WINDOW:  # mosquitto has no limit of its own
        until(lambda: counted(rt)["messages"] == 4, "the letter")
    assert running.stop() == 0
    with rt.db.read() as session:
        found = [(one.reason, one.detail, len(one.payload)) for one in service.list_letters(session)]
    expected = ("message-too-large", f"{MEGABYTE} bytes, limit {MESSAGE_LIMIT_BYTES}", PAYLOAD_KEPT_BYTES)
    assert found == [expected] * (broker.publisher_window == WINDOW)


@pytest.mark.parametrize(
    "topic", ["fieldproof/v1/+/readings", "fieldproof/v1/#", "$SYS/broker/x", "fieldproof/v1/\ud800"]
)
def test_a_forbidden_name_reaches_nobody(rt: Runtime, broker: BrokerAddress, topic: str) -> None:
    """Wildcards, the broker's own topics and what is no text: the broker refuses or drops it, the others go on."""
    register(rt, "b")
    running = ingester(rt, broker)
    packet = publish_packet("T" * len(topic.encode(errors="surrogatepass")), payloads("a", 1)[0], 1)
    head = packet.index(b"T")
    name = topic.encode(errors="surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("device_sim.bench.mqtt_load.TIMEOUT_S", 1.0)
        with suppress(BenchFailed, ConnectionError):  # turned away
            send(broker, [packet[:head] + name + packet[head + len(name) :]], "rude")
    send(broker, publish_packets(readings_topic("b"), payloads("b", 3)))
    until(lambda: counted(rt)["valid"] == 3, "the readings of the other sensor")
    assert running.stop() == 0
    assert counted(rt)["messages"] == 3


def test_retained_messages_come_again_and_count_once(rt: Runtime, broker: BrokerAddress) -> None:
    """Whoever subscribes gets them, at each connection; readings stay single, strangers stay single letters."""
    register(rt, "a", "b")
    strangers = 60
    packets = [
        retained(readings_topic(f"nobody-{number}"), payloads("x", 1)[0], number + 1) for number in range(strangers)
    ]
    packets.append(retained(readings_topic("a"), payloads("a", 1)[0], MAX_PACKET_ID))
    send(broker, packets)
    for life in (1, 2):
        running = ingester(rt, broker)
        until(partial(lambda wanted: counted(rt)["messages"] >= wanted, life * len(packets)), "the retained messages")
        assert running.stop() == 0
    totals = counted(rt)
    assert (totals["valid"], totals["dead_lettered"]) == (1, strangers)
    assert totals["duplicate"] == totals["messages"] - len(packets)


def test_a_loud_sensor_is_throttled_and_the_others_are_not(rt: Runtime, broker: BrokerAddress) -> None:
    """What it sends beyond its allowance is counted with a reason; every reading of the others is stored."""
    register(rt, "loud", "b")
    running = ingester(rt, broker, Throttle(0.01, BURST))
    send(broker, publish_packets(readings_topic("loud"), payloads("loud", LOUD)))
    send(broker, publish_packets(readings_topic("b"), payloads("b", 20)))
    until(lambda: counted(rt)["messages"] == LOUD + 20, "all messages")
    assert running.stop() == 0
    totals = counted(rt)
    assert (totals["valid"], totals["dead_lettered"]) == (BURST + 20, LOUD - BURST)
    with rt.db.read() as session:
        letters = service.list_letters(session)
    assert {letter.reason for letter in letters} == {"rate-limited"}
    assert sum(letter.readings for letter in letters) == LOUD - BURST


def test_ten_thousand_a_second_are_cut_to_a_share(rt: Runtime) -> None:
    """A sensor that goes on at ten times its share: the excess is refused with the reason, the others are whole.

    The platform's clock stands still, so that the allowance is no more than what was saved up.
    """
    if mosquitto_program() is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    register(rt, "loud", "b")
    with BROKERS["mosquitto"](rt.settings.home / "broker") as broker:
        running = ingester(rt, broker, Throttle(1_000, BURST))
        loud = threading.Thread(
            target=send_at, args=(broker, publish_packets(readings_topic("loud"), payloads("loud", FLOOD)), 10_000)
        )
        loud.start()
        send_at(broker, publish_packets(readings_topic("b"), payloads("b", QUIET)), 100)
        loud.join()
        until(lambda: counted(rt)["messages"] == FLOOD + QUIET, "all messages")
        assert running.stop() == 0
    with rt.db.read() as session:
        stored = len(service.list_readings(session, "b", limit=QUIET + 1))
        letters = service.list_letters(session)
    totals = counted(rt)
    assert (stored, {letter.reason for letter in letters}) == (QUIET, {"rate-limited"})
    assert (totals["valid"], totals["dead_lettered"]) == (BURST + QUIET, FLOOD - BURST)
    assert {letter.sensor_id for letter in letters} == {"loud"}


def send_at(broker: BrokerAddress, packets: list[bytes], rate_per_s: float) -> None:
    """Publish so many packets a second."""
    name = f"at-{rate_per_s:.0f}"
    publisher = Publisher((HOST, broker.port), name, broker.load_user, broker.load_password, broker.publisher_window)
    try:
        pace = Pace(1, ahead_limit=len(packets), rate_per_s=rate_per_s, started=time.perf_counter())
        publisher.publish(packets, pace, FOREVER)
    finally:
        publisher.close()
