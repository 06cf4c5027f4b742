"""A sensor's answers to commands: its history again, and what it cannot do."""

import json
from datetime import UTC, datetime, timedelta

from device_sim.sensors.downlink import Downlink
from device_sim.sensors.replay import Outgoing, Published

START = datetime(2026, 3, 1, tzinfo=UTC)


def _message(seq: int) -> Outgoing:
    at = (START + timedelta(hours=seq)).isoformat()
    return Outgoing("t", b"{}", (Published(str(seq), "s1", "SO2", at),), seq=seq)


def _ask(downlink: Downlink, name: str, **parameters: str) -> tuple[list[int], dict[str, str]]:
    command = {"id": "c1", "name": name, "parameters": parameters, "expires_at": START.isoformat()}
    again, answer = downlink.respond(json.dumps(command).encode())
    return [one.seq for one in again], json.loads(answer)


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


def test_an_interval_is_refused() -> None:
    """Real hours that are replayed have the interval they were measured at."""
    again, answer = _ask(Downlink("s1"), "set-interval", seconds="60")
    assert (again, answer["status"]) == ([], "refused")
