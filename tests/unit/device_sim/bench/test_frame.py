"""Running suites: order, sizes, clean ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_sim.bench.frame import BenchFailed, Case, Options, Suite, run_suite, temporary_folder
from device_sim.bench.measurement import PRODUCT, RAW, Measurement, Row


class Recorder:
    """A suite of two cases that writes down what happens; the second may fail."""

    def __init__(self, *, fails: bool = False) -> None:
        """Prepare it."""
        self.fails = fails
        self.events: list[str] = []
        self.folder = Path()

    @contextmanager
    def open(self, options: Options, folder: Path) -> Iterator[list[Case]]:
        """Give the cases."""
        self.folder = folder
        (folder / "left over").write_text("data")
        try:
            yield [
                Case(PRODUCT, "push", "records", lambda: self.measure("push", options.size(40))),
                Case(RAW, "push", "records", self.fail if self.fails else lambda: self.measure("raw", 80)),
            ]
        finally:
            self.events.append("closed")

    def measure(self, name: str, count: int) -> Measurement:
        """Measure nothing."""
        self.events.append(name)
        return Measurement(count, 1.0, [1.0], 1.0, name)

    def fail(self) -> Measurement:
        """Lose something."""
        raise BenchFailed("a record was lost")

    @property
    def suite(self) -> Suite:
        """The suite itself."""
        return Suite("recorder", "nothing", {"push": "nothing"}, self.open)


def test_cases_run_in_order_and_nothing_is_left() -> None:
    """Cases run one after the other, are reported before and after, and the folder is gone at the end."""
    recorder, reported = Recorder(), list[tuple[str, Row | None]]()
    rows = run_suite(recorder.suite, Options(), lambda what, row: reported.append((what, row)))
    assert recorder.events == ["push", "raw", "closed"]
    assert [(row.system, row.case, row.measured.count) for row in rows] == [(PRODUCT, "push", 40), (RAW, "push", 80)]
    assert [row for _, row in reported] == [None, None, rows[0], None, rows[1]]
    assert not recorder.folder.exists()


def test_a_failing_case_ends_the_suite_cleanly() -> None:
    """What a suite started is ended and its folder removed when a case fails."""
    recorder = Recorder(fails=True)
    with pytest.raises(BenchFailed, match="lost"):
        run_suite(recorder.suite, Options(), lambda _what, _row: None)
    assert recorder.events == ["push", "closed"]
    assert not recorder.folder.exists()


def test_size() -> None:
    """What was asked for replaces each case's own size."""
    assert Options().size(40) == 40
    assert Options(records=7).size(40) == 7


def test_temporary_folder_goes_whatever_happens() -> None:
    """An exception inside does not leave the folder behind."""
    kept: list[Path] = []

    def fail_inside() -> None:
        with temporary_folder() as folder:
            kept.append(folder)
            raise KeyError

    with pytest.raises(KeyError):
        fail_inside()
    assert not kept[0].exists()
