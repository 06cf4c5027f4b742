"""What the ingest benchmark publishes, and how it tells latencies."""

from datetime import UTC, datetime

import pytest
from paho.mqtt.client import MQTTMessage

from device_sim.bench.ingest_runs import SENSORS, latencies, payloads
from device_sim.bench.stock_ingester import rows_of
from iot_ingest.decode import decode
from schemas.telemetry import readings_topic

NOW = datetime(2026, 3, 2, tzinfo=UTC)


def test_every_message_is_one_valid_reading_of_its_own() -> None:
    """Numbers are dense, each message has about 140 bytes, and no two say the same."""
    topic = readings_topic(SENSORS[0])
    messages = [decode(topic, payload, NOW) for payload in payloads(SENSORS[0], 30)]
    assert [message.seq for message in messages] == list(range(1, 31))
    readings = [message.readings for message in messages]
    assert {len(one) for one in readings} == {1}
    assert not any(message.refusals for message in messages)
    assert len({(one[0].at, one[0].factor) for one in readings}) == 30
    assert {len(payload) // 10 for payload in payloads(SENSORS[0], 30)} <= {13, 14}


def test_stock_ingester_reads_the_same_messages() -> None:
    """The limit stores the same readings."""
    message = MQTTMessage(topic=readings_topic(SENSORS[0]).encode())
    message.payload = payloads(SENSORS[0], 1)[0]
    assert rows_of(message) == [("2020-01-01T00:00:00.000+08:00", SENSORS[0], "PM2.5", 5.5, "ug/m3", "N", 1)]


def test_latency_runs_until_the_message_was_seen_stored() -> None:
    """The n-th message sent is matched with the first look that found n of them."""
    seen = [(0, 10.0), (2, 11.0), (3, 13.0)]
    assert latencies([10.0, 10.5, 11.5], seen) == pytest.approx([1.0, 0.5, 1.5])
