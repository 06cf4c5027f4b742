"""What the ingester needs of a broker, on real ones: nats-server and mosquitto, MQTT 3.1.1 and 5, one and several."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from device_sim.bench.brokers import BROKERS, BrokerAddress, mosquitto_program
from device_sim.bench.ingest_runs import payloads
from device_sim.bench.mqtt_load import Pace, Publisher, publish_packets
from device_sim.broker import HOST, Broker, BrokerUser, ingest_user
from iot_ingest import client, transport
from iot_ingest.batcher import BatchRule
from iot_ingest.cli import Ingester, subscriptions
from schemas.telemetry import PARTITIONED, SUBSCRIPTION, readings_topic
from server.runtime import Runtime
from tests.integration.iot_ingest.test_cli import Running
from tests.integration.telemetry.programs import counted, register, until

SENSORS = tuple(f"s{number}" for number in range(6))
EACH = 40
FOREVER = float("inf")
VERSIONS = {"nats": (4,), "mosquitto": (4, 5)}


def publish(broker: BrokerAddress, sensors: tuple[str, ...] = SENSORS, *, start: int = 0, count: int = EACH) -> None:
    """Publish messages of sensors, each acknowledged by the broker."""
    publisher = Publisher((HOST, broker.port), "load", broker.load_user, broker.load_password)
    for sensor in sensors:
        packets = publish_packets(readings_topic(sensor), payloads(sensor, start + count)[start:])
        publisher.publish(packets, Pace(1, ahead_limit=count), FOREVER)
    publisher.close()


def stored(rt: Runtime, each: int) -> bool:
    """Whether so many readings of each sensor are stored."""
    return counted(rt)["valid"] == each * len(SENSORS)


def ingester(rt: Runtime, broker: BrokerAddress, name: str, topics: tuple[str, ...], version: int) -> Running:
    """A running ingester that is subscribed."""
    address = client.BrokerAddress(HOST, broker.port, "ingest", broker.ingest_password, name, topics, version)
    running = Running(Ingester(rt, address, BatchRule()))
    until(running.ingester._subscriber.subscribed.is_set, "the subscription")
    return running


@pytest.fixture(params=["nats", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, BrokerAddress]]:
    """A running broker and its name."""
    if request.param == "mosquitto" and mosquitto_program() is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    with BROKERS[request.param](tmp_path / "broker") as running:
        yield request.param, running


@pytest.mark.parametrize("stock", [False, True], ids=["blocks", "stock"])
def test_one_ingester(
    rt: Runtime, broker: tuple[str, BrokerAddress], monkeypatch: pytest.MonkeyPatch, stock: bool
) -> None:
    """What is published while it is away waits in its session; stock paho does the same as the client of blocks."""
    if stock:
        monkeypatch.setattr(client, "fault_of_block_client", lambda: "a changed library")
    register(rt, *SENSORS)
    name, address = broker
    for version in VERSIONS[name]:
        done = counted(rt)["valid"] // len(SENSORS)
        first = ingester(rt, address, f"one-{version}", subscriptions(None, None), version)
        assert isinstance(first.ingester._subscriber._client, transport.BlockClient) != stock
        publish(address, start=done)
        until(partial(stored, rt, done + EACH), "the readings")
        assert first.stop() == 0
        publish(address, start=done + EACH)
        second = ingester(rt, address, f"one-{version}", subscriptions(None, None), version)
        until(partial(stored, rt, done + 2 * EACH), "what waited")
        assert second.stop() == 0
    assert counted(rt)["dead_lettered"] == 0


def test_several_ingesters_share(rt: Runtime, tmp_path: Path) -> None:
    """A shared subscription of mosquitto: each message goes to one of them, whichever version it speaks."""
    if mosquitto_program() is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    register(rt, *SENSORS)
    with BROKERS["mosquitto"](tmp_path / "broker") as address:
        running = [ingester(rt, address, f"part-{version}", subscriptions("crew", None), version) for version in (4, 5)]
        publish(address)
        until(lambda: counted(rt)["valid"] == EACH * len(SENSORS), "the readings")
        shares = [item.ingester._writer.totals["messages"] for item in running]
        assert [item.stop() for item in running] == [0, 0]
    assert min(shares) > 0
    assert sum(shares) == EACH * len(SENSORS)
    assert counted(rt)["duplicate"] == 0


def test_several_ingesters_by_partition(rt: Runtime, tmp_path: Path) -> None:
    """nats-server divides the topics by the sensor's id: each ingester has its own sensors, nobody's are left out."""
    register(rt, *SENSORS)
    load = BrokerUser("load", "load", publish=(SUBSCRIPTION, f"{PARTITIONED}/+/+/readings"))
    with ExitStack() as stack:
        broker = stack.enter_context(Broker(tmp_path / "broker", [ingest_user("in"), load], partitions=2))
        address = BrokerAddress(broker.port, 0, "in", "load", "load", "")
        running = [ingester(rt, address, f"part-{number}", subscriptions(None, number), 4) for number in range(2)]
        publish(address)
        until(lambda: counted(rt)["valid"] == EACH * len(SENSORS), "the readings")
        shares = [item.ingester._writer.totals["messages"] for item in running]
        assert [item.stop() for item in running] == [0, 0]
    assert sorted(share % EACH for share in shares) == [0, 0]
    assert sum(shares) == EACH * len(SENSORS)
    assert min(shares) > 0
