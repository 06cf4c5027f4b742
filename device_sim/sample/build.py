"""Makes the shipped sample from the public data sets: `python -m device_sim.sample.build DIR` writes `sample/data`.

Run by hand when the sample changes, never by the product. The result depends only on the input: gzip headers carry no
time or name.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from device_sim.sample.divisions import unit_interval
from device_sim.sample.inspections import RealBusiness
from device_sim.sample.mapping import map_entity
from device_sim.sample.naming import business_key
from device_sim.sample.sources import SAMPLE_DIR, DataSet, open_data
from device_sim.sample.telemetry import FACTORS, FILE_PREFIX, FILE_SUFFIX

BUSINESSES = 300
INSPECTIONS_EACH = 6
"""The newest inspections of a business that ship; histories in the source go up to 39."""

WINDOW_HOURS = 600
WINDOWS = {"Aotizhongxin": 0, "Dongsi": 3_800, "Gucheng": 7_600, "Wanshouxigong": 33_300}
"""Station -> first hour of its window, chosen by looking: March 2013 with a blank SO2 value; August 2013 with O3 stuck
at 1071; January 2014 with SO2 episodes; December 2016 with PM, NO2 and CO episodes. All of them have missing values."""

COLUMNS = ("No", "year", "month", "day", "hour", *FACTORS, "station")


def _write_gzip(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 9, raw, mtime=0) as stream:
        for line in lines:
            stream.write(line.encode())


def _telemetry_lines(path: Path, first: int) -> Iterator[str]:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream)):
            if first <= number < first + WINDOW_HOURS:
                writer.writerow(row)
    yield out.getvalue()


def _interest(business: RealBusiness) -> tuple[int, float]:
    """Order in which businesses are taken: the odd ones first, so that the sample has them, the rest by hash."""
    odd = not business.address or business.latitude is None
    return (0 if odd and len(business.inspections) > 1 else 1), unit_interval("sample", business.source_id)


def _business_lines(data: DataSet) -> Iterator[str]:
    eligible = [business for business in data.businesses if business.inspections]
    chosen = sorted(eligible, key=_interest)
    odd = [business for business in chosen if _interest(business)[0] == 0][:20]
    regular = [business for business in chosen if _interest(business)[0] == 1][: BUSINESSES - len(odd)]
    for number, business in enumerate(odd + regular, start=1):
        entity = map_entity(business_key(f"sample-{number:04d}"), data.divisions)
        row = {
            "id": f"SAMPLE{number:04d}",
            "name": entity.name,
            "address": entity.address if business.address else None,
            "city": "样例市（虚构）",
            "zip": None,
            "lat": entity.point.latitude if business.latitude is not None else 0,
            "lon": entity.point.longitude if business.longitude is not None else 0,
            "inspections": [
                {
                    "date": inspection.day.isoformat(),
                    "reason": inspection.reason,
                    "result": inspection.result,
                    "violations": [
                        {"item": found.item, "severity": found.severity, "status": found.status}
                        for found in inspection.violations
                    ],
                }
                for inspection in reversed(business.inspections[-INSPECTIONS_EACH:])
            ],
        }
        yield json.dumps(row, ensure_ascii=False) + "\n"


def build(source: Path, target: Path) -> None:
    """Write telemetry, inspections and divisions of the sample below `target` from the full sets below `source`."""
    data = open_data(source)
    for station, first in WINDOWS.items():
        name = f"{FILE_PREFIX}{station}{FILE_SUFFIX}"
        _write_gzip(target / "telemetry" / name, _telemetry_lines(source / "telemetry" / name, first))
    _write_gzip(target / "inspections" / "food_inspections.jsonl.gz", _business_lines(data))


if __name__ == "__main__":
    build(Path(sys.argv[1]), SAMPLE_DIR)
