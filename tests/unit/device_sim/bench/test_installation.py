"""The platform that benchmarks run on is their own."""

import sys
from pathlib import Path

import pytest

from device_sim.bench.frame import BenchFailed
from device_sim.bench.installation import Installation, running
from device_sim.demo import programs
from server.config import load_settings
from server.seed import SeedSchema


def test_nothing_leads_outside_the_folder(tmp_path: Path) -> None:
    """Whatever the caller's shell says, database, evidence and keys lie below the temporary home."""
    foreign = {
        "FIELDPROOF_DATABASE_URL": "postgresql+psycopg://in/use",
        "FIELDPROOF_EVIDENCE_DIR": "/srv/evidence",
        "FIELDPROOF_KEYS_DIR": "/srv/keys",
    }
    installation = Installation(tmp_path / "home")
    settings = load_settings(
        {**foreign, "FIELDPROOF_HOME": str(installation.home), **installation.programs.environment}
    )
    assert settings.database_url == f"sqlite:///{installation.database}"
    assert installation.database.is_relative_to(tmp_path)
    assert settings.evidence_dir.is_relative_to(tmp_path)
    assert settings.keys_dir.is_relative_to(tmp_path)


def test_seed_is_a_seed_file(tmp_path: Path) -> None:
    """What it enters is what the platform's seed command takes."""
    installation = Installation(tmp_path, devices_wanted=2, sensors=("s-1",), channels=("SO2",))
    loaded = SeedSchema().load(installation.seed_content())
    assert [len(loaded[name]) for name in ("officers", "entities", "sensors", "accounts")] == [2, 1, 1, 5]


def test_a_program_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a program cannot do its part, the benchmark fails with the end of its log."""
    monkeypatch.setattr(programs, "program_path", lambda: sys.executable)
    with pytest.raises(BenchFailed, match=r"migrate ended with 2:\n.*can't open file"), running(Installation(tmp_path)):
        pytest.fail("must not get this far")


def test_server_pid_needs_a_server(tmp_path: Path) -> None:
    """Asking for the server before it runs is a mistake that is told."""
    with pytest.raises(BenchFailed, match="not running"):
        _ = Installation(tmp_path).server_pid
