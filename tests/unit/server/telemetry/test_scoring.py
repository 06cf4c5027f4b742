"""Precision and recall over labelled windows."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from server.cli import main
from server.telemetry.rules import Rule
from server.telemetry.scoring import builtin_rules, read_series, read_windows, score, usual_interval_s

START = datetime(2014, 1, 1, tzinfo=UTC)
HOT = Rule("r", "hot", 1, "machine-temperature", "degC", 100.0, 90.0, 1 / 12, 1 / 12, 6, step_s=300)


def test_right_and_found_are_counted() -> None:
    """Three episodes: two within one window, one outside; the other window is missed."""
    values = [20.0] * 40
    values[5] = values[10] = values[30] = 120.0
    series = [(START + timedelta(minutes=5 * n), value) for n, value in enumerate(values)]
    windows = [(series[4][0], series[12][0]), (series[20][0], series[25][0])]
    (one, total), episodes = score([HOT], series, windows, usual_interval_s(at for at, _ in series))
    assert (one.episodes, one.right, one.found, one.windows) == (3, 2, 1, 2)
    assert (one.precision, one.recall) == (2 / 3, 0.5)
    assert (total.name, total.episodes) == ("all", 3)
    assert [episode.peak for episode in episodes["hot"]] == [120.0] * 3


def test_nothing_found_has_no_precision() -> None:
    """A rule without episodes has a recall, and no precision."""
    (one, _), _ = score([HOT], [(START, 20.0)], [(START, START)], 300)
    assert (one.precision, one.recall) == (None, 0.0)


@pytest.mark.parametrize("text", ["when,value\n2014-01-01,2\n", "timestamp,value\nyesterday,2\n"])
def test_a_file_that_is_no_series_is_refused(text: str) -> None:
    """Columns and times are checked."""
    with pytest.raises(ValueError, match="."):
        read_series(text)


def test_a_clock_put_back_leaves_one_value_for_each_time() -> None:
    """Values come in order of time; of two for one time the first stands."""
    text = "timestamp,value\n2014-01-01 02:00:00,1\n2014-01-01 02:05:00,2\n2014-01-01 02:00:00,3\n"
    assert [value for _, value in read_series(text)] == [1.0, 2.0]
    with pytest.raises(ValueError, match="windows"):
        read_windows("[]")


def test_the_command_reports_both(tmp_path: Path) -> None:
    """A table of the built-in rules of the factor, and their episodes in words."""
    lines = [f"{(START + timedelta(minutes=5 * n)):%Y-%m-%d %H:%M:%S},{110 + n % 3}" for n in range(12)]
    series, windows = tmp_path / "series.csv", tmp_path / "windows.json"
    series.write_text("\n".join(["timestamp,value", *lines]), "utf-8")
    windows.write_text(json.dumps({"a": [["2014-01-01 00:00:00", "2014-01-01 12:00:00"]]}), "utf-8")
    result = CliRunner().invoke(main, ["rules", "score", str(series), str(windows), "--episodes"])
    assert result.exit_code == 0, result.output
    assert "machine-hot" in result.output
    assert "5 of 5 valid five-minute means of machine-temperature above 100" in result.output
    assert len(builtin_rules("machine-temperature")) == 4
