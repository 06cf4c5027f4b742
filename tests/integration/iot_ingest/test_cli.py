"""The ingester's main loop and command, with a real broker: readiness, drain, refusal, and a database that is away."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from device_sim.broker import HOST, Broker, ingest_user, sensor_user
from device_sim.sensors.fleet import run_fleet, station_files
from device_sim.sensors.link import SensorSpec
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import ReplayPlan
from iot_ingest import cli
from iot_ingest.batcher import BatchRule, Delivery
from iot_ingest.cli import Ingester
from iot_ingest.client import BrokerAddress
from iot_ingest.throttle import Throttle
from iot_ingest.writer import Abandoned
from schemas.telemetry import FORMATS
from server.runtime import Runtime
from tests.integration.telemetry.programs import counted, register, until

OPTIONS = [
    "--sensor-rate",
    "0.5",
    "--sensor-burst",
    "5",
    "--port",
    "1999",
    "--batch",
    "7",
    "--silence-ms",
    "3",
    "--mqtt",
    "5",
    "--share",
    "g",
    "--partition",
    "2",
]
OPTIONS += ["--hj212", "127.0.0.1:9212"]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A running broker with one sensor."""
    with Broker(tmp_path / "broker", [ingest_user(), sensor_user("s1")], ack_wait_s=1) as running:
        yield running


def made(rt: Runtime, broker: Broker, password: str = "") -> Ingester:
    """An ingester for the broker."""
    address = BrokerAddress(HOST, broker.port, "ingest", password or broker.users["ingest"].password, "test-ingest")
    return Ingester(rt, address, BatchRule())


def publish(broker: Broker, readings: int) -> None:
    """Replay the beginning of a shipped station."""
    spec = SensorSpec("s1", "s1", broker.users["s1"].password, station_files(None)[0])
    run_fleet([spec], (HOST, broker.port), ReplayPlan(), readings, PublishedRecord(None))


class Running:
    """An ingester on a thread of its own."""

    def __init__(self, ingester: Ingester) -> None:
        """Start it."""
        self.ingester, self.status = ingester, -1
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self.status = self.ingester.run()

    def stop(self) -> int:
        """Stop it and return its exit status."""
        self.ingester.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()
        return self.status


def test_readings_flow_and_the_drain_is_clean(
    rt: Runtime, broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published is stored; stopped and started again nothing comes twice; it says when it is ready and what it did."""
    monkeypatch.setattr(cli, "PROGRESS_S", 0.01)
    monkeypatch.setattr(cli, "TEND_S", 0.01)
    register(rt, "s1")
    first = Running(made(rt, broker))
    until(first.ingester._subscriber.subscribed.is_set, "the subscription")
    publish(broker, 600)
    until(lambda: counted(rt)["messages"] == 100, "the readings")
    assert first.stop() == 0
    second = Running(made(rt, broker))
    until(second.ingester._subscriber.subscribed.is_set, "the subscription")
    publish(broker, 600)
    until(lambda: counted(rt)["messages"] == 200, "the repetition")
    assert second.stop() == 0
    totals = counted(rt)
    assert totals["valid"] + totals["invalid"] + totals["dead_lettered"] == totals["duplicate"] == 600
    out = capsys.readouterr().out
    assert "ingest: ready, subscribed to fieldproof/v1/+/readings" in out
    assert "ingest: progress: messages 100" in out
    assert "ingest: drained: messages 100" in out


def test_a_refused_ingester_says_so(
    rt: Runtime, broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong password is reported in the progress, and the ingester can still be stopped."""
    monkeypatch.setattr(cli, "PROGRESS_S", 0.01)
    running = Running(made(rt, broker, password="wrong"))
    until(lambda: running.ingester._subscriber.fault != "", "the refusal")
    shown: list[str] = []

    def reported() -> bool:
        shown.append(capsys.readouterr().out)
        return "refuses the connection" in "".join(shown)

    until(reported, "the report")
    assert running.stop() == 0


def test_stopped_while_the_database_is_away(
    rt: Runtime, broker: Broker, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged, the exit status tells, and the next ingester gets everything."""
    register(rt, "s1")

    def away(*_: object) -> None:
        raise Abandoned

    with monkeypatch.context() as patch:
        patch.setattr("iot_ingest.writer.Writer.write", away)
        running = Running(made(rt, broker))
        until(running.ingester._subscriber.subscribed.is_set, "the subscription")
        publish(broker, 60)
        until(lambda: running.status == 1, "the end")
        assert running.stop() == 1
    assert "the broker keeps what was not committed" in capsys.readouterr().err
    again = Running(made(rt, broker))
    until(lambda: counted(rt)["messages"] == 10, "the redelivery")
    assert again.stop() == 0
    assert counted(rt)["duplicate"] == 0


def test_the_command_wires_settings_and_signals(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Options win over settings; SIGTERM and SIGINT stop the loop; the loop's status is the exit status."""
    seen: dict[str, object] = {}

    class Loop:
        def __init__(
            self,
            rt: Runtime,
            address: BrokerAddress,
            rule: BatchRule,
            stations: tuple[str, int] | None,
            throttle: Throttle,
        ) -> None:
            seen["allowed"] = len(throttle.sift([Delivery("t", b"", rt.now(), 0, 0)] * 9)[0])
            seen.update(address=address, rule=rule, stations=stations, home=rt.settings.home, stopped=0)

        def stop(self) -> None:
            seen["stopped"] = int(str(seen["stopped"])) + 1

        def run(self) -> int:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            return 3

    monkeypatch.setattr(cli, "Ingester", Loop)
    monkeypatch.setenv("FIELDPROOF_HOME", str(tmp_path))
    monkeypatch.setenv("FIELDPROOF_MQTT_PASSWORD", "secret")
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        reply = CliRunner().invoke(cli.ingest, OPTIONS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert (reply.exit_code, seen["stopped"]) == (3, 2)
    shared = tuple(f"$share/g/fieldproof/part/2/+/{name}" for name in (*FORMATS, "presence", "answer"))
    assert seen["address"] == BrokerAddress("127.0.0.1", 1999, "ingest", "secret", "fieldproof-ingest", shared, 5)
    assert seen["stations"] == ("127.0.0.1", 9212)
    assert seen["allowed"] == 5
    assert seen["rule"] == BatchRule(limit=7, silence_s=0.003)


@pytest.mark.parametrize("text", ["9212", "host:", "host:x", "host:99999"])
def test_a_bad_station_address_is_refused(text: str) -> None:
    """Before anything is started."""
    reply = CliRunner().invoke(cli.ingest, ["--hj212", text])
    assert reply.exit_code == 2
    assert "HOST:PORT" in reply.output
