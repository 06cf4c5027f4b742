"""The command `fieldproof device sensors`: a fleet that replays real hours to a broker."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click
from marshmallow import Schema, ValidationError, fields, validate

from device_sim.sensors.fleet import SENSORS_LIMIT, FleetResult, SensorSpec, Stalled, run_fleet, station_paths
from device_sim.sensors.record import PublishedRecord
from device_sim.sensors.replay import ReplayPlan
from schemas.telemetry import SENSOR_ID

FILE_LIMIT_BYTES = 1024 * 1024


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
    seed: int,
    published: Path | None,
    json_file: Path | None,
) -> None:
    """Replay real air-quality hours over MQTT QoS 1 (传感器模拟).

    Each sensor keeps its messages until the broker acknowledges them, also over a restart of the broker.
    """
    specs = read_specs(sensors_file, station_paths(data))
    plan = ReplayPlan(hours_per_message, repeat_every, nonsense_every, seed)
    try:
        if published is None:
            result = run_fleet(
                specs, (host, port), plan, readings, PublishedRecord(None), readings_per_s=rate, say=click.echo
            )
        else:
            with published.open("w", encoding="utf-8") as out:
                record = PublishedRecord(out)
                result = run_fleet(specs, (host, port), plan, readings, record, readings_per_s=rate, say=click.echo)
    except Stalled as error:
        click.echo(f"sensors: {error}", err=True)
        sys.exit(1)
    _report(result, json_file)


def _report(result: FleetResult, json_file: Path | None) -> None:
    text = json.dumps(asdict(result), ensure_ascii=False)
    if json_file is not None:
        json_file.write_text(text + "\n", encoding="utf-8")
    click.echo(text)
