"""Reader of hourly air-quality telemetry: `air_quality_STATION.csv.gz`, six factors in µg/m³ for each hour.

The shape is that of the UCI "Beijing Multi-Site Air Quality" set (doi:10.24432/C5RK5G). Values stay the text they
are in the file, `NA` and nonsense included: judging them is the ingester's work, replaying them is the sensor's.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from device_sim.sample.reading import SkipReport, clean_text, gzip_lines

FACTORS = ("PM2.5", "PM10", "SO2", "NO2", "CO", "O3")
"""Column names of the six factors, all in µg/m³."""

FILE_PREFIX, FILE_SUFFIX = "air_quality_", ".csv.gz"

BEIJING_TIME = timezone(timedelta(hours=8))
"""The files' year, month, day and hour are local clock time; China has had no summer time since 1991."""

VALUE_LIMIT_CHARS = 40


@dataclass(frozen=True, slots=True)
class StationHour:
    """One hour of one station: when it began (aware UTC) and the raw text of each factor that the row has."""

    station: str
    at: datetime
    values: dict[str, str]


def station_of(path: Path) -> str:
    """The station's name as the file's name gives it."""
    return clean_text(path.name.removeprefix(FILE_PREFIX).removesuffix(FILE_SUFFIX), 80) or "unnamed"


def _hour(row: dict[str, str]) -> datetime | None:
    try:
        local = datetime(int(row["year"]), int(row["month"]), int(row["day"]), int(row["hour"]), tzinfo=BEIJING_TIME)
        return local.astimezone(UTC)
    except (KeyError, ValueError, OverflowError):
        return None


def read_station_hours(path: Path, report: SkipReport) -> Iterator[StationHour]:
    """The hours of one station in file order, streamed.

    The first line names the columns; their order is free and further columns are ignored. Rows without a readable hour
    are counted in `report`. The station is named by the file, so that one file is one device whatever its rows say.
    """
    station, columns = station_of(path), list[str]()
    for number, line in gzip_lines(path, report):
        if not line.strip():
            continue
        try:
            cells = next(csv.reader([line.decode("utf-8-sig", "replace")]), [])
        except csv.Error:
            report.add(path.name, number, "not-csv")
            continue
        if not columns:
            columns = [cell.strip() for cell in cells]
            if not set(columns) & set(FACTORS):
                report.add(path.name, number, "no-known-factor")
                return
            continue
        row = dict(zip(columns, cells, strict=False))
        at = _hour(row)
        if at is None:
            report.add(path.name, number, "hour-unreadable")
            continue
        values = {factor: row[factor][:VALUE_LIMIT_CHARS] for factor in FACTORS if factor in row}
        if values:
            yield StationHour(station, at, values)
        else:
            report.add(path.name, number, "hour-without-values")
