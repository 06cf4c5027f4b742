"""A fleet against a real broker: all that is acknowledged is on record, also over a restart."""

import gzip
import json
import queue
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from device_sim.broker import HOST, Broker, ingest_user, sensor_user
from device_sim.sensors import fleet
from device_sim.sensors.cli import sensors
from device_sim.sensors.fleet import run_fleet, station_files, station_paths
from device_sim.sensors.link import SensorSpec, Stalled
from device_sim.sensors.record import PublishedRecord, read_record
from device_sim.sensors.replay import ReplayPlan


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker with two sensors."""
    with Broker(tmp_path / "broker", [ingest_user(), sensor_user("s1"), sensor_user("s2")]) as running:
        yield running


def specs(broker: Broker, *names: str, password: str = "") -> list[SensorSpec]:
    """Sensors that speak for the shipped stations."""
    paths = station_files(None)
    return [
        SensorSpec(name, name, password or broker.users[name].password, path)
        for name, path in zip(names, paths, strict=False)
    ]


def test_messages_are_kept_until_the_puback(broker: Broker, tmp_path: Path) -> None:
    """The broker is killed and started again in the middle: everything is acknowledged in the end."""
    path = tmp_path / "published.jsonl"
    record_size = threading.Event()
    said: list[str] = []

    def restart() -> None:
        record_size.wait(30)
        broker.kill()
        broker.start()

    def say(line: str) -> None:
        said.append(line)
        record_size.set()

    helper = threading.Thread(target=restart)
    helper.start()
    with path.open("w") as out:
        result = run_fleet(
            specs(broker, "s1", "s2"), (HOST, broker.port), ReplayPlan(repeat_every=10), 3_000, PublishedRecord(out),
            readings_per_s=900, say=say,
        )  # fmt: skip
    helper.join()
    assert said
    assert (result.sensors, result.messages, result.published) == (2, 500, 3_000)
    assert result.repeats == 50
    assert len(list(read_record(path))) == 3_000


def test_a_refused_sensor_is_said(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wrong password the fleet gives up and names the reason."""
    monkeypatch.setattr(fleet, "STALL_S", 1.0)
    with pytest.raises(Stalled, match="Not authorized"):
        run_fleet(specs(broker, "s1", password="wrong"), (HOST, broker.port), ReplayPlan(), 10, PublishedRecord(None))


def test_a_fleet_has_limits(broker: Broker) -> None:
    """No sensors is no fleet."""
    with pytest.raises(ValueError, match="1 to 1000"):
        run_fleet([], (HOST, broker.port), ReplayPlan(), 10, PublishedRecord(None))


def test_stations_come_from_the_folder_or_the_sample(tmp_path: Path) -> None:
    """A folder with station files is used; one without falls back to the sample."""
    assert station_paths(tmp_path) == station_paths(None) != {}
    (tmp_path / "telemetry").mkdir()
    (tmp_path / "telemetry" / "air_quality_Here.csv.gz").touch()
    assert list(station_paths(tmp_path)) == ["Here"]


def entries(broker: Broker, path: Path, **changes: str) -> Path:
    """A file of one sensor."""
    entry = {"sensor": "s1", "password": broker.users["s1"].password, "station": next(iter(station_paths(None)))}
    path.write_text(json.dumps([entry | changes]))
    return path


def test_the_command_replays(broker: Broker, tmp_path: Path) -> None:
    """It publishes, writes record and result, and prints the result."""
    out, published = tmp_path / "out.json", tmp_path / "published.jsonl"
    arguments = ["--sensors", str(entries(broker, tmp_path / "sensors.json")), "--port", str(broker.port),
                 "--readings", "60", "--json", str(out), "--published", str(published)]  # fmt: skip
    reply = CliRunner().invoke(sensors, arguments)
    assert reply.exit_code == 0, reply.output
    assert json.loads(reply.output.splitlines()[-1]) == json.loads(out.read_text())
    assert json.loads(out.read_text())["published"] == len(list(read_record(published))) == 60


def test_the_command_has_faults(broker: Broker, tmp_path: Path) -> None:
    """What is lost without receipts is not on record; a machine's series is a station; no fault is more than always."""
    (tmp_path / "telemetry").mkdir()
    with gzip.open(tmp_path / "telemetry" / "nab_machine_temperature.csv.gz", "wt") as out:
        out.write("timestamp,value\n" + "".join(f"2013-12-02 {hour:02}:00:00,{hour}\n" for hour in range(24)))
    path = entries(broker, tmp_path / "sensors.json", station="nab_machine_temperature")
    arguments = ["--sensors", str(path), "--data", str(tmp_path), "--port", str(broker.port), "--readings", "0"]
    reply = CliRunner().invoke(sensors, [*arguments, "--loss", "0.5", "--duplicate", "0.5", "--clock-error", "60"])
    assert reply.exit_code == 0, reply.output
    result = json.loads(reply.output.splitlines()[-1])
    assert 0 < result["published"] == result["messages"] < 24
    assert result["repeats"] > 0
    reply = CliRunner().invoke(sensors, [*arguments, "--loss", "2"])
    assert (reply.exit_code, "--loss" in reply.output) == (2, True)


def test_the_command_fails_in_words(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad files and unknown stations are named; a fleet that stalls exits with 1."""
    monkeypatch.setattr(fleet, "STALL_S", 1.0)
    path = tmp_path / "sensors.json"
    for text, expected in [
        ("{", "not a list"),
        ('[{"sensor": "a/b"}]', "not a list"),
        ("[]", "1 to 1000"),
        (" " * 2**21, "larger"),
    ]:
        path.write_text(text)
        reply = CliRunner().invoke(sensors, ["--sensors", str(path)])
        assert (reply.exit_code, expected in reply.output) == (1, True), reply.output
    entries(broker, path, station="Nowhere")
    assert "no telemetry file for station Nowhere" in CliRunner().invoke(sensors, ["--sensors", str(path)]).output
    entries(broker, path, password="wrong")
    reply = CliRunner().invoke(sensors, ["--sensors", str(path), "--port", str(broker.port), "--readings", "6"])
    assert (reply.exit_code, "Not authorized" in reply.output) == (1, True)


class Office:
    """Asks one sensor something over the broker, once, when the fleet has begun; and hears the answer."""

    def __init__(self, broker: Broker, name: str, **parameters: object) -> None:
        """Connect."""
        self.answers: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._client = Client(CallbackAPIVersion.VERSION2, client_id="office")
        self._client.username_pw_set("ingest", broker.users["ingest"].password)
        self._client.on_message = lambda _client, _data, message: self.answers.put(json.loads(message.payload))
        self._client.on_connect = lambda client, *_: client.subscribe("fieldproof/v1/s1/answer", qos=1)
        self._client.connect(HOST, broker.port)
        self._client.loop_start()
        until = "2100-01-01T00:00:00+00:00"
        self._command = json.dumps({"id": "c1", "name": name, "parameters": parameters, "expires_at": until})
        self.asked_at: int | None = None

    def ask(self, count: int) -> None:
        """Ask, unless it has asked already; `count` readings are settled."""
        if self.asked_at is None:
            self.asked_at = count
            self._client.publish("fieldproof/v1/s1/command", self._command, qos=1)

    def hear(self) -> dict[str, Any]:
        """Wait for the answer, and disconnect."""
        answer = self.answers.get(timeout=30)
        self._client.disconnect()
        self._client.loop_stop()
        return answer


def test_a_sensor_answers_what_it_is_asked(broker: Broker) -> None:
    """Asked for its history over the broker, it says it again and answers; nothing new is on record for it."""
    office = Office(broker, "history", since="2000-01-01T00:00:00+00:00", until="2100-01-01T00:00:00+00:00")
    result = run_fleet(
        specs(broker, "s1"), (HOST, broker.port), ReplayPlan(), 1_200, PublishedRecord(None), readings_per_s=300,
        disturb=office.ask,
    )  # fmt: skip
    answer = office.hear()
    assert (answer["id"], answer["status"]) == ("c1", "done")
    assert result.published == 1_200
    assert result.repeats > 0


def test_a_sensor_takes_another_interval(broker: Broker, tmp_path: Path) -> None:
    """Told over the broker to speak every six hours, it answers, and from then on says no other hours."""
    office, path = Office(broker, "set-interval", seconds=6 * 3_600), tmp_path / "published.jsonl"
    with path.open("w") as out:
        run_fleet(
            specs(broker, "s1"), (HOST, broker.port), ReplayPlan(), 1_200, PublishedRecord(out), readings_per_s=300,
            disturb=office.ask,
        )  # fmt: skip
    assert office.hear() == {"id": "c1", "status": "done", "detail": "every 21600 s"}
    hours = [datetime.fromisoformat(item.time).astimezone(UTC).hour for item in read_record(path)]
    assert {hour % 6 for hour in hours[:36]} == {0, 1, 2, 3, 4, 5}
    assert {hour % 6 for hour in hours[-36:]} == {0}
