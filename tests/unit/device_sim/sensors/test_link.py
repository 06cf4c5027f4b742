"""How much a sensor sends at once: less after each lost connection, more again as it is acknowledged."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from device_sim.broker import HOST
from device_sim.sensors.downlink import Downlink
from device_sim.sensors.link import WINDOW, SensorLink, SensorSpec

NOBODY = 1
"""A port on which nobody listens."""


@pytest.fixture
def link() -> Iterator[SensorLink]:
    """A sensor that cannot reach its broker."""
    made = SensorLink(SensorSpec("s1", "s1", "x", Path("none")), iter(()), (HOST, NOBODY), Downlink("s1"))
    yield made
    made.close()


def test_the_window_narrows_and_widens(link: SensorLink) -> None:
    """Half of it after a failure, never nothing; one more after each full window, never more than at first."""
    client = link._client
    for expected in (25, 12, 6, 3, 1, 1):
        link._on_disconnect(client, None, None, ReasonCode(PacketTypes.DISCONNECT, "Unspecified error"), None)
        assert link._window == expected
    link._on_disconnect(client, None, None, ReasonCode(PacketTypes.DISCONNECT, "Normal disconnection"), None)
    widths = []
    for _ in range(1 + 2 + 3):
        link._widen()
        widths.append(link._window)
    assert widths == [2, 2, 3, 3, 3, 4]
    for _ in range(WINDOW**2):
        link._widen()
    assert link._window == WINDOW
