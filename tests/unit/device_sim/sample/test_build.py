"""Making the sample is repeatable: made from the sample itself, it keeps its shape."""

import gzip
import shutil
from pathlib import Path

import pytest

from device_sim.sample import build
from device_sim.sample.sources import SAMPLE_DIR, open_data


def test_building_from_the_sample_gives_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built folder opens as a data set; building twice gives the same bytes."""
    monkeypatch.setattr(build, "WINDOWS", dict.fromkeys(build.WINDOWS, 0))
    source = tmp_path / "source"
    shutil.copytree(SAMPLE_DIR, source)
    build.build(source, tmp_path / "one")
    build.build(source, tmp_path / "two")
    data = open_data(tmp_path / "one")
    assert len(data.businesses) == build.BUSINESSES
    assert data.skipped.total == 0
    assert "sample" not in {data.origins[part] for part in ("inspections", "telemetry")}
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
    telemetry = gzip.decompress((tmp_path / "one" / "telemetry" / "air_quality_Dongsi.csv.gz").read_bytes()).decode()
    assert telemetry.startswith("No,year,month,day,hour,PM2.5,PM10,SO2,NO2,CO,O3,station\n")
