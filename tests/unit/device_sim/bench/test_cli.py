"""The command line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from device_sim.bench import cli
from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.measurement import PRODUCT, Measurement


@contextmanager
def _open(options: Options, _folder: Path) -> Iterator[list[Case]]:
    def run() -> Measurement:
        if options.records == 13:
            raise BenchFailed("something was lost")
        return Measurement(options.size(5), options.seconds, [], 0.0, "quiet")

    yield [Case(PRODUCT, "only", "records", run)]


@pytest.fixture
def suites(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins under the names of two real suites."""
    made = {name: Suite(name, "stand-in", {"only": "nothing"}, _open) for name in ("sync", "prove")}
    monkeypatch.setattr(cli, "SUITES", made)


def test_list_names_every_suite_and_case() -> None:
    """Without a name, or with --list, it says what there is, and runs nothing."""
    for arguments in ([], ["--list"], ["sync", "--list"]):
        result = CliRunner().invoke(cli.bench, arguments)
        assert result.exit_code == 0
        assert all(name in result.output for name in ("sync", "evidence", "ingest", "prove", "push-500"))


@pytest.mark.usefixtures("suites")
def test_all_runs_every_suite_into_one_file(tmp_path: Path) -> None:
    """`all` runs all of them; sizes reach the cases; the file holds all rows."""
    out = tmp_path / "out.json"
    result = CliRunner().invoke(cli.bench, ["all", "--records", "8", "--seconds", "2", "--json", str(out)])
    assert result.exit_code == 0, result.output
    assert [row["rate_per_s"] for row in json.loads(out.read_text())] == [4.0, 4.0]


@pytest.mark.usefixtures("suites")
def test_a_failure_is_one_line_and_an_exit_code() -> None:
    """A benchmark that loses something says so and fails."""
    result = CliRunner().invoke(cli.bench, ["sync", "--records", "13"])
    assert result.exit_code == 1
    assert "Error: sync: something was lost" in result.output


def test_an_unknown_name_is_refused() -> None:
    """Only what exists can be run."""
    assert CliRunner().invoke(cli.bench, ["nonsense"]).exit_code == 2
