"""HJ 212 stations that speak MQTT are answered by 9014 as those over TCP are."""

import queue
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from device_sim.broker import HOST, Broker, ingest_user, sensor_user
from iot_ingest.batcher import BatchRule
from iot_ingest.cli import Ingester
from iot_ingest.client import BrokerAddress
from schemas import hj212
from schemas.telemetry import HJ212, readings_topic, receipt_topic
from server.runtime import Runtime
from tests.integration.iot_ingest.test_cli import Running
from tests.integration.iot_ingest.test_hj212_listener import MN, packet
from tests.integration.telemetry.programs import counted, register, until


def test_stored_then_answered(rt: Runtime, tmp_path: Path) -> None:
    """Each message that asks is answered with its own number, once it is stored, on the sensor's own topic."""
    register(rt, MN)
    heard: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    with Broker(tmp_path / "broker", [ingest_user(), sensor_user(MN)]) as broker:
        address = BrokerAddress(HOST, broker.port, "ingest", broker.users["ingest"].password, "test-hj212")
        running = Running(Ingester(rt, address, BatchRule()))
        until(running.ingester._subscriber.subscribed.is_set, "the subscription")
        station = Client(CallbackAPIVersion.VERSION2, client_id="station")
        station.username_pw_set(MN, broker.users[MN].password)
        station.on_message = lambda _client, _data, message: heard.put(bytes(message.payload))
        subscribed: queue.SimpleQueue[int] = queue.SimpleQueue()
        station.on_subscribe = lambda _client, _data, mid, *_: subscribed.put(mid)
        station.on_connect = lambda client, *_: client.subscribe(receipt_topic(MN))
        station.connect(HOST, broker.port)
        station.loop_start()
        subscribed.get(timeout=30)
        for number, flag in ((1, 8), (2, 9), (3, 9)):
            station.publish(readings_topic(MN, HJ212), hj212.encode(packet(number, flag=flag)), qos=1)
        frames: list[bytes] = []
        while len(frames) < 2:
            frames += hj212.frames_of(heard.get(timeout=30))
        until(lambda: counted(rt)["valid"] == 3, "the reading that asks for nothing")
        station.disconnect()
        station.loop_stop()
        assert running.stop() == 0
    found = [hj212.decode(frame) for frame in frames]
    assert [(one.cn, one.qn) for one in found] == [(hj212.DATA_ANSWER, packet(number).qn) for number in (2, 3)]
    assert heard.empty()
