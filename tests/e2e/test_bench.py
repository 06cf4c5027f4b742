"""The benchmarks from end to end, as small as they go: real programs, and every count is checked by the run itself."""

import json
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from device_sim.bench.brokers import mosquitto_program
from device_sim.bench.cli import bench
from device_sim.bench.curve_suite import Curve
from device_sim.bench.frame import Options
from device_sim.bench.measurement import PRODUCT, RAW

pytestmark = pytest.mark.slow

CASES = {
    "sync": ("push-25", "push-200", "push-500", "update-200", "pull"),
    "feed": ("first-sync", "second-sync", "stream", "stream-zstd"),
    "evidence": ("upload", "upload-100-parallel", "read", "verify", "prove"),
    "prove": ("append", "prove"),
}
INGEST = ("sqlite", "sqlite-rules", "postgresql", "drain", "latency-5k", "nats")
RECORDS = 40
SIZES = {"upload-100-parallel": ("100 ", "140 "), "read": "140 "}
"""How the notes of cases begin that have a size of their own: a hundred uploads, and whatever was uploaded by then."""
MEMBERS = {"system", "case", "rate_per_s", "unit", "p50_ms", "p99_ms", "peak_rss_mb", "note"}


@pytest.mark.parametrize("name", CASES)
def test_benchmark_measures_the_product_and_its_limit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything that was sent arrives, each case has its limit in the same run, and nothing is left behind."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    out = tmp_path / "out.json"
    result = CliRunner().invoke(bench, [name, "--records", str(RECORDS), "--seconds", "60", "--json", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text("utf-8"))
    assert [(row["case"], row["system"]) for row in rows] == [
        (case, system) for case in CASES[name] for system in (PRODUCT, RAW)
    ]
    for row in rows:
        assert row.keys() - {"missed"} == MEMBERS
        assert row["rate_per_s"] > 0
        assert 0 < row["p50_ms"] <= row["p99_ms"]
        assert 1 < row["peak_rss_mb"] < 2_000
        assert row["note"].startswith(SIZES.get(row["case"], f"{RECORDS} ")) or row["case"] == "pull"
    if name == "sync":
        assert [row["missed"] for row in rows if "missed" in row] == [0]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_log_is_measured_on_top_of_a_large_one(tmp_path: Path) -> None:
    """The worker continues a tree that was written at once, and its head proves random leaves of it."""
    out = tmp_path / "out.json"
    result = CliRunner().invoke(bench, ["log", "--records", "10000", "--seconds", "1", "--json", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text("utf-8"))
    assert [(row["case"], row["system"]) for row in rows] == [
        (case, system) for case in ("append-10k", "prove-10k") for system in (PRODUCT, RAW)
    ]
    assert rows[0]["note"].startswith("5,000 leaves on top of 5,000 ")


def test_ingest_is_compared_with_stock(tmp_path: Path) -> None:
    """Every case stores all that was sent; without mosquitto one line says what is missing."""
    out = tmp_path / "out.json"
    result = CliRunner().invoke(bench, ["ingest", "--records", str(RECORDS), "--seconds", "60", "--json", str(out)])
    if mosquitto_program() is None:
        assert result.exit_code != 0
        assert "apt-get install mosquitto" in result.output
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text("utf-8"))
    assert [(row["case"], row["system"]) for row in rows] == [("stock", RAW), *((case, PRODUCT) for case in INGEST)]
    assert all(row["rate_per_s"] > 0 and row["note"].startswith(f"{RECORDS} ") for row in rows)


@pytest.mark.parametrize("past", [False, True])
def test_the_curve_of_ingestion(tmp_path: Path, past: bool) -> None:
    """Every device has spoken before and speaks again, among readings of the past."""
    if mosquitto_program() is None:
        pytest.skip("mosquitto is missing: apt-get install mosquitto")
    curve = Curve(Options(records=RECORDS), tmp_path)
    measured = curve.stored(50) if past else curve.devices(8)
    assert measured.count == RECORDS
    assert measured.note.startswith(
        f"{RECORDS} messages of {RECORDS if past else 8} devices among {40 if past else 0} "
    )
    assert measured.extra["cost_ns"] > 0


def test_registers_are_compared_with_reading_the_file(tmp_path: Path) -> None:
    """Everything is imported, found and drawn from; importing and drawing stand beside reading and hashing the file."""
    out = tmp_path / "out.json"
    result = CliRunner().invoke(bench, ["registers", "--records", str(RECORDS), "--json", str(out)])
    assert result.exit_code == 0, result.output
    rows = [(row["case"], row["system"]) for row in json.loads(out.read_text("utf-8"))]
    assert rows == [
        ("import", PRODUCT), ("import", RAW), ("search-name", PRODUCT), ("search-code", PRODUCT),
        ("search-place", PRODUCT), ("draw", PRODUCT), ("draw", RAW),
    ]  # fmt: skip
