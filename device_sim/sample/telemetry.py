"""Readers of telemetry files: hourly air quality, and a series of machine temperatures.

`air_quality_STATION.csv.gz` has six factors in µg/m³ for each hour, in the shape of the UCI "Beijing Multi-Site Air
Quality" set (doi:10.24432/C5RK5G). A file of the columns `timestamp` and `value` is a machine's temperature at moments,
in the shape of the Numenta Anomaly Benchmark. Values stay the text they are in the file, `NA` and nonsense included:
judging them is the ingester's work, replaying them is the sensor's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from device_sim.sample.reading import SkipReport, clean_text, gzip_lines
from schemas.telemetry import HOUR, REALTIME

FACTORS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
"""Column names of the six factors, all in µg/m³."""

FILE_PREFIX, FILE_SUFFIX = "air_quality_", ".csv.gz"
SERIES_FILES = "*machine_temperature*.csv.gz"
SERIES_COLUMNS, SERIES_FACTOR, SERIES_UNIT = ("timestamp", "value"), "machine-temperature", "degC"

BEIJING_TIME = timezone(timedelta(hours=8))
"""The files' year, month, day and hour are local clock time; China has had no summer time since 1991."""

VALUE_LIMIT_CHARS = 40


@dataclass(frozen=True, slots=True)
class Observation:
    """What one station says of one time (aware UTC): the raw text of each factor that the row has.

    It is of an hour that began then, or of the moment itself, as `kind` says.
    """

    station: str
    at: datetime
    values: dict[str, str]
    unit: str = "ug/m3"
    kind: str = HOUR


def station_of(path: Path) -> str:
    """The station's name as the file's name gives it."""
    return clean_text(path.name.removeprefix(FILE_PREFIX).removesuffix(FILE_SUFFIX), 80) or "unnamed"


def _moment(row: Mapping[str, str]) -> datetime | None:
    """Return the time of a row of a series; without a zone it is taken as UTC."""
    try:
        at = datetime.fromisoformat(row["timestamp"])
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def _hour(row: Mapping[str, str]) -> datetime | None:
    try:
        local = datetime(int(row["year"]), int(row["month"]), int(row["day"]), int(row["hour"]), tzinfo=BEIJING_TIME)
        return local.astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def read_observations(path: Path, report: SkipReport) -> Iterator[Observation]:
    """The hours or moments of one station in file order, streamed.

    The first line names the columns; their order is free and further columns are ignored. Rows without a readable time
    are counted in `report`. The station is named by the file, so that one file is one device whatever its rows say.
    """
    station = station_of(path)
    for number, row in _rows(path, report):
        series = row.keys() >= set(SERIES_COLUMNS)
        at = _moment(row) if series else _hour(row)
        values = {factor: row[factor][:VALUE_LIMIT_CHARS] for factor in FACTORS if factor in row}
        if at is None:
            report.add(path.name, number, "hour-unreadable")
        elif series:
            values = {SERIES_FACTOR: row["value"][:VALUE_LIMIT_CHARS]}
            yield Observation(station, at, values, SERIES_UNIT, REALTIME)
        elif values:
            yield Observation(station, at, values)
        else:
            report.add(path.name, number, "hour-without-values")


def _rows(path: Path, report: SkipReport) -> Iterator[tuple[int, dict[str, str]]]:
    """Return the rows of a file by the names of its columns, each with its line's number."""
    columns = list[str]()
    for number, line in gzip_lines(path, report):
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line.decode("utf-8-sig", "replace")]), [])
        except csv.Error:
            report.add(path.name, number, "not-csv")
            continue
        if columns:
            yield number, dict(zip(columns, cells, strict=False))
            continue
        columns = [cell.strip() for cell in cells]
        if not set(columns) & set(FACTORS) and not set(columns) >= set(SERIES_COLUMNS):
            report.add(path.name, number, "no-known-factor")
            return
