"""What a day's work costs on a bad network: a figure that may only change on purpose."""

from pathlib import Path

import httpx
import pytest

from device_sim.bench.bad_network import LOSSES_TO_CUT, PACKET_BYTES, PACKET_HEAD_BYTES, BadNetwork, Speed, Spent
from device_sim.bench.network_suite import LOSS, PATIENT, SEED, Day, hand_in_a_day, seeded
from device_sim.handheld.client import Handheld
from tests.integration.device_sim.conftest import Platform

REQUESTS, ROUND_TRIPS, UP_BYTES, DOWN_BYTES = 109, 1_890, 23_600_000, 280_000
"""The budget: what was measured, and room for ids and times that are spelled longer or shorter. 100 requests bring
photos, two fetch their custody receipts, two were repeated because a connection broke."""


def answering(size_bytes: int) -> httpx.MockTransport:
    """A server that answers with so many bytes."""
    return httpx.MockTransport(lambda _: httpx.Response(200, content=b"x" * size_bytes))


def test_a_day_in_the_field(platform: Platform, tmp_path: Path) -> None:
    """50 inspections and 100 photos of 200 kB at a loss of 10 %."""
    network = BadNetwork(httpx.WSGITransport(platform.app), seed=SEED)
    client = httpx.Client(transport=network, base_url="http://platform.example")
    handheld = Handheld(tmp_path / "handheld", client, outside=seeded(), backoff=PATIENT)
    account = platform.client().post("/api/v1/sign-in", json=platform.accounts[0]).json()
    handheld.enrol(account["token"], platform.officers[0], "样例终端")
    platform.approve(handheld.device)
    handheld.sync()
    entity = next(iter(platform.entity_ids.values()))
    spent = hand_in_a_day(handheld, network, entity, platform.officers[:2], Day())
    handheld.close()
    assert spent.requests == REQUESTS
    assert spent.round_trips <= ROUND_TRIPS
    assert spent.up_bytes <= UP_BYTES
    assert spent.down_bytes <= DOWN_BYTES
    assert spent.cut_connections > 0
    assert spent.up_bytes > Day().photo_bytes / (1 - LOSS)


def test_every_byte_and_packet_is_counted() -> None:
    """Heads, bodies, what each packet adds, and one connection for two requests."""
    network = BadNetwork(answering(2 * PACKET_BYTES))
    with httpx.Client(transport=network, base_url="http://server.example", headers={}) as client:
        spent = network.begin(0.0)
        client.get("/")
        before = spent.up_bytes, spent.down_bytes
        client.post("/", content=b"y" * 1_000)
    assert (spent.requests, spent.connections, spent.round_trips, spent.lost_packets) == (2, 1, 4, 0)
    head = spent.down_bytes - before[1] - 2 * PACKET_BYTES - 3 * PACKET_HEAD_BYTES
    assert 0 < head < 200
    assert 1_000 + PACKET_HEAD_BYTES < spent.up_bytes - before[0] < 1_400


def test_a_connection_breaks_when_a_packet_never_arrives() -> None:
    """What was sent in vain counts, and the next request opens a connection of its own."""
    network = BadNetwork(answering(0))
    with httpx.Client(transport=network, base_url="http://server.example") as client:
        spent = network.begin(1.0)
        with pytest.raises(httpx.ReadError):
            client.get("/")
        assert (spent.cut_connections, spent.lost_packets, spent.down_bytes) == (1, LOSSES_TO_CUT, 3_500)
        network.loss = 0.0
        client.get("/")
    assert spent.connections == 2


def test_time_is_bytes_and_round_trips() -> None:
    """Nothing overlaps."""
    assert Spent(round_trips=4, up_bytes=1_000, down_bytes=3_000).seconds(Speed(8_000, 24_000, 0.5)) == 4.0
