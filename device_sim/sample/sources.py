"""Finding the data: a folder given with `--data`, and the shipped sample for every part that the folder lacks.

The folder is laid out as `inspections/*.jsonl.gz`, `telemetry/air_quality_*.csv.gz`, `divisions/*.csv` and pictures
anywhere below `photos/`. Photos are not shipped: without any, handhelds draw their own (`device_sim.photos`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import schemas
from device_sim.sample.divisions import Divisions, read_centres, read_divisions
from device_sim.sample.inspections import RealBusiness, read_businesses
from device_sim.sample.reading import SkipReport
from device_sim.sample.telemetry import FILE_PREFIX, FILE_SUFFIX, Observation, read_observations, station_of

SAMPLE_DIR = Path(__file__).with_name("data")
SCHEMAS_DIR = Path(schemas.__file__).parent
"""Divisions are part of the wire contract: region codes are checked against them."""

PICTURE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".png", ".heic", ".heif", ".webp", ".tif", ".tiff", ".bmp", ".gif"}
)

PHOTOS_LIMIT = 10_000
PHOTO_LIMIT_BYTES = 20 * 1024 * 1024
"""Larger pictures are skipped: a handheld would refuse them as evidence too."""

BUSINESSES_LIMIT = 200_000
STATIONS_LIMIT = 1_000


class DataFolderMissing(Exception):
    """The folder given with --data does not exist or is no folder."""


@dataclass(frozen=True)
class DataSet:
    """Everything the simulated outsiders replay, and where each part came from ("sample" or the folder's path)."""

    businesses: tuple[RealBusiness, ...]
    telemetry: tuple[Path, ...]
    divisions: Divisions
    photos: tuple[Path, ...]
    skipped: SkipReport
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def stations(self) -> tuple[str, ...]:
        """The stations' names, in the order of `telemetry`."""
        return tuple(station_of(path) for path in self.telemetry)

    def station_hours(self, path: Path) -> Iterator[Observation]:
        """The hours of one telemetry file; rows that cannot be replayed are added to `skipped`."""
        return read_observations(path, self.skipped)


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if path.is_file()) if folder.is_dir() else []


def _businesses(folder: Path, latest: date, report: SkipReport) -> tuple[RealBusiness, ...]:
    found: list[RealBusiness] = []
    known_ids: set[str] = set()
    for path in _files(folder / "inspections", "*.jsonl.gz"):
        for business in read_businesses(path, latest, report, known_ids):
            if len(found) >= BUSINESSES_LIMIT:
                report.add(path.name, 0, "too-many-businesses")
                return tuple(found)
            found.append(business)
    return tuple(found)


def _telemetry(folder: Path, report: SkipReport) -> tuple[Path, ...]:
    paths = _files(folder / "telemetry", f"{FILE_PREFIX}*{FILE_SUFFIX}")
    for path in paths[STATIONS_LIMIT:]:
        report.add(path.name, 0, "too-many-stations")
    return tuple(paths[:STATIONS_LIMIT])


def _photos(folder: Path, report: SkipReport) -> tuple[Path, ...]:
    found: list[Path] = []
    # os.walk does not follow links to folders, so a loop of links cannot trap it; unreadable folders are passed over.
    for parent, folders, names in os.walk(folder / "photos"):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if path.suffix.lower() not in PICTURE_SUFFIXES:
                continue
            size_bytes = path.stat().st_size if path.is_file() and os.access(path, os.R_OK) else None
            if size_bytes is None:
                report.add(name, 0, "photo-unreadable")
            elif not 0 < size_bytes <= PHOTO_LIMIT_BYTES:
                report.add(name, 0, "photo-size-out-of-limit")
            elif len(found) >= PHOTOS_LIMIT:
                report.add(name, 0, "too-many-photos")
            else:
                found.append(path)
    return tuple(found)


def _division_rows(folder: Path, report: SkipReport) -> dict[str, tuple[str, str, str]]:
    rows: dict[str, tuple[str, str, str]] = {}
    for path in _files(folder / "divisions", "*.csv"):
        if path.name != "city_centres.csv":
            rows |= read_divisions(path, report)
    return rows


def open_data(folder: Path | None, *, latest: date | None = None) -> DataSet:
    """Read the businesses and divisions, and list the telemetry files and photos, of `folder` or of the sample.

    A part counts as missing when the folder has no usable row of it: the sample then stands in (for photos: none).
    `latest` is the newest believable inspection day, by default today. Raises `DataFolderMissing`; irregular content
    is never raised but counted in `DataSet.skipped`.
    """
    if folder is not None and not folder.is_dir():
        raise DataFolderMissing(f"--data: {folder} is not a folder")
    latest = latest or datetime.now(UTC).date()
    report, origins = SkipReport(), dict[str, str]()
    given = folder or SAMPLE_DIR

    def origin(part: str, found: bool) -> Path:
        origins[part] = str(folder) if found and folder is not None else "sample"
        return given if found else SAMPLE_DIR

    businesses = _businesses(given, latest, report)
    if origin("inspections", any(business.inspections for business in businesses)) is not given:
        businesses = _businesses(SAMPLE_DIR, latest, report)
    telemetry = _telemetry(given, report)
    if origin("telemetry", bool(telemetry)) is not given:
        telemetry = _telemetry(SAMPLE_DIR, report)
    centres = read_centres(SCHEMAS_DIR / "divisions" / "city_centres.csv")
    divisions = Divisions(_division_rows(given, report), centres)
    if folder is None or origin("divisions", bool(divisions.townships)) is not given:
        origins["divisions"] = "sample"
        divisions = Divisions(_division_rows(SCHEMAS_DIR, report), centres)
    photos = _photos(folder, report) if folder is not None else ()
    origins["photos"] = str(folder) if photos else "drawn"
    return DataSet(businesses, telemetry, divisions, photos, report, origins)
