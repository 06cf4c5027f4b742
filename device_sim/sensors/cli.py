"""The command `fieldproof device sensors`: a fleet that replays real data to a broker, with faults."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
from marshmallow import Schema, ValidationError, fields, validate

from device_sim.sensors.faults import Faults
from device_sim.sensors.fleet import SENSORS_LIMIT, FleetResult, run_fleet, station_paths
from device_sim.sensors.link import SensorSpec, Stalled
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import ReplayPlan
from schemas.telemetry import SENSOR_ID

FILE_LIMIT_BYTES = 1024 * 1024
CLOCK_ERROR = click.FloatRange(-1e9, 1e9)
"""Seconds; some thirty years."""


class SensorEntry(Schema):
    """One sensor in the file of sensors."""

    sensor = fields.String(required=True, validate=validate.Regexp(rf"^{SENSOR_ID.pattern}\Z"))
    user = fields.String()
    password = fields.String(required=True)
    station = fields.String(required=True)


def read_specs(path: Path, stations: dict[str, Path]) -> list[SensorSpec]:
    """Return the sensors of a JSON file `[{"sensor", "password", "station", "user"?}]`.

    Raises:
        click.ClickException: the file cannot be read as that, or names a station that has no file.
    """
    try:
        if path.stat().st_size > FILE_LIMIT_BYTES:
            raise click.ClickException(f"{path}: larger than {FILE_LIMIT_BYTES} bytes")
        entries = SensorEntry(many=True).load(json.loads(path.read_text("utf-8")))
    except (ValueError, ValidationError) as error:
        raise click.ClickException(f"{path}: not a list of sensors: {error}") from error
    missing = sorted({entry["station"] for entry in entries} - stations.keys())
    if missing:
        raise click.ClickException(
            f"no telemetry file for station {missing[0]}; there are {', '.join(sorted(stations))}"
        )
    if not 0 < len(entries) <= SENSORS_LIMIT:
        raise click.ClickException(f"{path}: needs 1 to {SENSORS_LIMIT} sensors")
    return [
        SensorSpec(entry["sensor"], entry.get("user", entry["sensor"]), entry["password"], stations[entry["station"]])
        for entry in entries
    ]


SHARES = {
    "loss": "do not leave when their turn comes",
    "duplicate": "are sent twice",
    "disorder": "change places with the next",
    "burst": "begin a silence, after which all come at once",
    "power_cut": "end in a power cut",
    "stuck": "begin a day of values that do not change (of hours, not messages)",
    "deaf": "are commands that nobody hears (of commands, not messages)",
}
"""Fault → which share of the messages it befalls."""


def fault_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each fault."""
    for name, what in reversed(SHARES.items()):
        option = f"--{name.replace('_', '-')}"
        command = click.option(option, type=click.FloatRange(0, 1), default=0.0, help=f"Share of those that {what}.")(
            command
        )
    return command


@click.command()
@click.option(
    "--sensors",
    "sensors_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help='JSON list of {"sensor", "password", "station"}.',
)
@click.option("--data", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Folder with telemetry/.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Broker host.")
@click.option("--port", type=click.IntRange(1, 65535), default=1883, show_default=True, help="Broker port.")
@click.option("--readings", type=click.IntRange(0), default=12_000, show_default=True, help="About how many; 0: all.")
@click.option("--rate", type=click.FloatRange(0), default=0, show_default=True, help="Readings a second; 0: no limit.")
@click.option("--hours-per-message", type=click.IntRange(1, 80), default=1, show_default=True)
@click.option("--repeat-every", type=click.IntRange(0), default=0, help="Send every so many messages twice; 0: never.")
@click.option("--nonsense-every", type=click.IntRange(0), default=0, help="Add nonsense every so many messages.")
@fault_options
@click.option(
    "--clock-error", "clock_error_s", type=CLOCK_ERROR, default=0.0, help="Seconds by which clocks are wrong."
)
@click.option("--receipts", is_flag=True, help="Keep messages until the platform says that they are stored.")
@click.option("--keep", type=click.Path(file_okay=False, exists=True, path_type=Path), help="… in this folder.")
@click.option("--seed", type=int, default=7, show_default=True, help="Chooses which messages are affected.")
@click.option("--published", type=click.Path(dir_okay=False, path_type=Path), help="Write what was published (JSONL).")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result as JSON.")
def sensors(
    *,
    sensors_file: Path,
    data: Path | None,
    host: str,
    port: int,
    readings: int,
    rate: float,
    hours_per_message: int,
    repeat_every: int,
    nonsense_every: int,
    clock_error_s: float,
    receipts: bool,
    keep: Path | None,
    seed: int,
    published: Path | None,
    json_file: Path | None,
    **shares: Any,  # noqa: ANN401 - click hands each option over under its name
) -> None:
    """Replay real air-quality hours, or a machine's temperatures, over MQTT QoS 1 (传感器模拟).

    Each sensor keeps its messages until the broker acknowledges them, also over a restart of the broker; with
    --receipts until the platform has stored them. It answers when it is asked for its history or for another interval.
    """
    specs = read_specs(sensors_file, station_paths(data))
    plan = ReplayPlan(hours_per_message, repeat_every, nonsense_every, seed, receipts=receipts)
    faults = Faults(**shares, clock_error=timedelta(seconds=clock_error_s), seed=seed)
    try:
        with ExitStack() as stack:
            out = stack.enter_context(published.open("w", encoding="utf-8")) if published is not None else None
            result = run_fleet(
                specs, (host, port), plan, readings, PublishedRecord(out),
                readings_per_s=rate, say=click.echo, faults=faults, outboxes=keep,
            )  # fmt: skip
    except Stalled as error:
        click.echo(f"sensors: {error}", err=True)
        sys.exit(1)
    _report(result, json_file)


def _report(result: FleetResult, json_file: Path | None) -> None:
    text = json.dumps(asdict(result), ensure_ascii=False)
    if json_file is not None:
        json_file.write_text(text + "\n", encoding="utf-8")
    click.echo(text)
