"""A sensor's answers to commands: its history again, and what it cannot do."""

import json
from datetime import UTC, datetime, timedelta

from device_sim.sample.telemetry import Observation
from device_sim.sensors.downlink import Downlink
from device_sim.sensors.faults import Faults
from device_sim.sensors.replay import Outgoing, Published

START = datetime(2026, 3, 1, tzinfo=UTC)


def _message(seq: int) -> Outgoing:
    at = (START + timedelta(hours=seq)).isoformat()
    return Outgoing("t", b"{}", (Published(str(seq), "s1", "SO2", at),), seq=seq)


def _ask(downlink: Downlink, name: str, **parameters: object) -> tuple[list[int], dict[str, str]]:
    command = {"id": "c1", "name": name, "parameters": parameters, "expires_at": START.isoformat()}
    again, answer = downlink.respond(json.dumps(command).encode())
    assert answer is not None
    return [one.seq for one in again], json.loads(answer)


def _said(downlink: Downlink, minutes: list[int]) -> list[tuple[int, list[str]]]:
    """Which minutes and factors are left of a series of two channels."""
    observations = [Observation("x", START + timedelta(minutes=one), {"SO2": "1", "NO2": "2"}) for one in minutes]
    return [
        ((one.at - START) // timedelta(minutes=1), list(one.values)) for one in downlink.sampling.thin(observations)
    ]


def test_history_is_said_again() -> None:
    """Exactly what was measured in the time asked for, end not included, stored or not; the answer counts it."""
    downlink = Downlink("s1")
    for seq in (0, 1, 2, 3, 4):
        downlink.note(_message(seq))
    since, until = ((START + timedelta(hours=hour)).isoformat() for hour in (0, 3))
    again, answer = _ask(downlink, "history", since=since, until=until)
    assert again == [1, 2], "a message without a number cannot be told apart from another"
    assert answer == {"id": "c1", "status": "done", "detail": "2 messages"}
    assert downlink.topic == "fieldproof/v1/s1/answer"


def test_an_interval_is_set() -> None:
    """From then on only whole intervals are said; a channel may have its own."""
    downlink = Downlink("s1")
    both = ["SO2", "NO2"]
    assert _said(downlink, [0, 5, 10, 15, 20, 30]) == [(one, both) for one in (0, 5, 10, 15, 20, 30)]
    assert _ask(downlink, "set-interval", seconds=900) == ([], {"id": "c1", "status": "done", "detail": "every 900 s"})
    assert _said(downlink, [35, 40, 45, 50, 60]) == [(45, both), (60, both)]
    assert _ask(downlink, "set-interval", seconds=600, factor="NO2")[1]["status"] == "done"
    assert _said(downlink, [65, 70, 75, 80, 90]) == [(70, ["NO2"]), (75, ["SO2"]), (80, ["NO2"]), (90, both)]


def test_what_it_cannot_do_is_refused() -> None:
    """An interval below that of the series has no values; a command that nobody knows has no effect."""
    downlink = Downlink("s1")
    _said(downlink, [0, 5, 10])
    again, answer = _ask(downlink, "set-interval", seconds=60)
    assert (again, answer["status"], answer["detail"]) == ([], "refused", "measures every 300 s")
    assert _ask(downlink, "dance")[1]["status"] == "refused"
    assert len(_said(downlink, [15, 20])) == 2


def test_a_deaf_sensor_does_not_answer() -> None:
    """It does nothing and says nothing, so that the platform's command expires."""
    downlink = Downlink("s1", Faults(deaf=1.0))
    command = {"id": "c1", "name": "set-interval", "parameters": {"seconds": 900}}
    assert downlink.respond(json.dumps(command).encode()) == ([], None)
    assert len(_said(downlink, [5, 10])) == 2
