"""The frame of all benchmarks: suites of cases, run one after the other, each with its limit beside it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_sim.bench.measurement import Measurement, Row

DEFAULT_SECONDS = 3.0
"""A case stops sending after so long, whatever is left."""
MAX_SECONDS = 3_600.0
MAX_RECORDS = 10_000_000


class BenchFailed(Exception):
    """A benchmark could not be run, or what arrived is not what was sent; the message says what."""


@dataclass(frozen=True)
class Options:
    """How large a run is: `seconds` bounds each measured case; `records` replaces each case's own size."""

    seconds: float = DEFAULT_SECONDS
    records: int = 0
    peers: bool = False
    """Whether other products are measured as well, where they are installed."""

    def size(self, default: int) -> int:
        """Return how many records a case handles: what was asked for, else the case's own size."""
        return self.records or default


@dataclass(frozen=True)
class Case:
    """One thing to measure: `run` does the work of one system and returns what it measured."""

    system: str
    name: str
    unit: str
    run: Callable[[], Measurement]


@dataclass(frozen=True)
class Suite:
    """A named benchmark: `open` starts what its cases need below a folder, yields the cases, and ends it all again.

    A case may rely on the ones before it having run.
    """

    name: str
    about: str
    cases: Mapping[str, str]
    """Case name → what it measures."""
    open: Callable[[Options, Path], AbstractContextManager[list[Case]]]


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a private folder that is gone afterwards, whatever happened."""
    folder = Path(tempfile.mkdtemp(prefix="fieldproof-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run_suite(suite: Suite, options: Options, report: Callable[[str, Row | None], None]) -> list[Row]:
    """Run all cases of a suite in order.

    Args:
        suite: what to run.
        options: how large.
        report: called with what begins, and again with its row when it has ended.

    Raises:
        BenchFailed: a count does not add up, or a program did not do its part.
    """
    rows: list[Row] = []
    report(f"{suite.name}: set-up", None)
    with temporary_folder() as folder, suite.open(options, folder) as cases:
        for case in cases:
            report(f"{suite.name}: {case.name} ({case.system})", None)
            row = Row(case.system, case.name, case.unit, case.run())
            rows.append(row)
            report(f"{suite.name}: {case.name} ({case.system})", row)
    return rows
