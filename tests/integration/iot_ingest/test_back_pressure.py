"""A database that stalls while sensors go on: more arrives than inbox and window hold, and nothing is lost for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import func, select

from device_sim.bench import brokers
from device_sim.bench.brokers import BROKERS, BrokerAddress, mosquitto_program
from device_sim.bench.ingest_runs import payloads
from device_sim.bench.mqtt_load import Pace, Publisher, publish_packets
from device_sim.broker import HOST, Broker
from iot_ingest import cli, client, transport
from iot_ingest.batcher import BatchRule, Inbox
from iot_ingest.cli import Ingester
from schemas.telemetry import readings_topic
from server.runtime import Runtime
from server.telemetry.models import StoredReading
from tests.integration.iot_ingest.test_cli import Running
from tests.integration.telemetry.programs import counted, register, until

SENSOR = "s1"
CAPACITY, WINDOW, BATCH = 40, 100, 20
MESSAGES = 600
"""More than inbox, window and the batch in hand together."""
BLOCK_BYTES = 1_000
"""One read brings far less than the inbox holds."""
FOREVER = float("inf")


@pytest.fixture(params=["nats", "mosquitto"])
def broker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokerAddress]:
    """A running broker with a small window, and an ingester's inbox smaller than that."""
    if request.param == "mosquitto" and mosquitto_program() is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    monkeypatch.setattr(cli, "Inbox", partial(Inbox, capacity=CAPACITY))
    monkeypatch.setattr(transport, "BLOCK_BYTES", BLOCK_BYTES)
    monkeypatch.setattr(brokers, "WINDOW", WINDOW)
    monkeypatch.setattr("device_sim.broker.MAX_UNACKNOWLEDGED", WINDOW)
    monkeypatch.setattr(brokers, "Broker", partial(Broker, ack_wait_s=1))
    with BROKERS[request.param](tmp_path / "broker") as running:
        yield running


@contextmanager
def started(rt: Runtime, broker: BrokerAddress) -> Iterator[Running]:
    """A running ingester that is subscribed; stopped at the end, whatever the test met."""
    address = client.BrokerAddress(HOST, broker.port, "ingest", broker.ingest_password, "test-ingest")
    running = Running(Ingester(rt, address, BatchRule(limit=BATCH)))
    try:
        until(running.ingester._subscriber.subscribed.is_set, "the subscription")
        yield running
    finally:
        running.stop()


def publish(broker: BrokerAddress) -> None:
    """Publish the sensor's messages, each acknowledged by the broker."""
    publisher = Publisher((HOST, broker.port), "load", broker.load_user, broker.load_password)
    packets = publish_packets(readings_topic(SENSOR), payloads(SENSOR, MESSAGES))
    assert len(publisher.publish(packets, Pace(1, ahead_limit=MESSAGES), FOREVER)) == MESSAGES
    publisher.close()


def stored(rt: Runtime) -> int:
    """Count the readings in the database."""
    with rt.db.read() as session:
        return session.execute(select(func.count()).select_from(StoredReading)).scalar_one()


@pytest.mark.parametrize("patience_s", [60.0, 0.1], ids=["waiting", "reconnecting"])
def test_a_stalled_database_loses_nothing(
    rt: Runtime, broker: BrokerAddress, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    """All that was published is stored once the database is back, with nothing restarted, and the drain is clean."""
    monkeypatch.setattr(client, "PATIENCE_S", patience_s)
    register(rt, SENSOR)
    with started(rt, broker) as running:
        subscriber, inbox = running.ingester._subscriber, running.ingester._inbox
        with rt.db.write():
            publish(broker)
            until(lambda: inbox.full, "the inbox to fill")
            if patience_s < 1:
                until(lambda: subscriber.given_up > 0, "the connection to be given up")
        until(lambda: stored(rt) == MESSAGES, "every reading")
        assert running.stop() == 0
    totals = counted(rt)
    assert (stored(rt), totals["valid"], totals["dead_lettered"]) == (MESSAGES, MESSAGES, 0)
    assert (subscriber.given_up > 0) == (patience_s < 1)


def test_the_receive_maximum_bounds_what_is_on_its_way(
    rt: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MQTT 5: while nothing is acknowledged the broker sends no more than the window, and then goes on.

    Debian's mosquitto 2.0.11 keeps to it only so far: after a block of acknowledgements it sent 541 at once. What
    bounds an ingester's memory is its own inbox.
    """
    if mosquitto_program() is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    window = 30
    monkeypatch.setattr(client, "RECEIVE_MAXIMUM", window)
    register(rt, SENSOR)
    with BROKERS["mosquitto"](tmp_path / "broker") as broker:
        address = client.BrokerAddress(HOST, broker.port, "ingest", "", "five", version=5)
        running = Running(Ingester(rt, address, BatchRule()))
        subscriber = running.ingester._subscriber
        until(subscriber.subscribed.is_set, "the subscription")
        with rt.db.write():
            publish(broker)
            until(lambda: len(subscriber._in_hand) == window, "a full window")
            assert len(running.ingester._inbox) <= window
        until(lambda: stored(rt) == MESSAGES, "every reading")
        assert running.stop() == 0


def test_stopping_while_the_inbox_is_full(rt: Runtime, broker: BrokerAddress) -> None:
    """The drain commits what is in hand and leaves the rest with the broker, for whoever comes next."""
    register(rt, SENSOR)
    with started(rt, broker) as running:
        with rt.db.write():
            publish(broker)
            until(lambda: running.ingester._inbox.full, "the inbox to fill")
            running.ingester.stop()
        assert running.stop() == 0
    assert CAPACITY <= stored(rt) < MESSAGES
    with started(rt, broker) as again:
        until(lambda: stored(rt) == MESSAGES, "the rest")
        assert again.stop() == 0
    assert counted(rt)["valid"] == MESSAGES
