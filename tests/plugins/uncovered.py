"""Leave out of the coverage measurement what repeats itself: measuring doubles the time a test takes.

A property is tried on hundreds of examples, a simulation on hundreds of seeds, a fuzzed route on whatever comes; they
reach no line that the tests by example do not reach. So every Hypothesis test and the folders of REPEATING get the
marker `no_cover`, which pytest-cov heeds by pausing its measurement, and a test may carry the marker itself. Programs
that such a test starts are not measured.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest
from hypothesis import is_hypothesis_test

MARKER = "no_cover"
REPEATING = tuple(Path(__file__).parents[1] / name for name in ("fuzz", "power_loss", "simulation", "soak"))
CHILDREN_ARE_MEASURED_BY = "COVERAGE_PROCESS_CONFIG"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every Hypothesis test, and every test of a folder that repeats itself."""
    for item in items:
        hypothesis_test = isinstance(item, pytest.Function) and is_hypothesis_test(item.obj)
        if hypothesis_test or item.path.parent in REPEATING:
            item.add_marker(MARKER)


@pytest.hookimpl(wrapper=True, trylast=True)  # inside pytest-cov's own wrapper, which has paused by then
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Measure neither the marked test nor the programs that it starts."""
    if not item.get_closest_marker(MARKER):
        return (yield)
    stop_the_outer_measurements()
    hidden = os.environ.pop(CHILDREN_ARE_MEASURED_BY, None)
    try:
        return (yield)
    finally:
        if hidden is not None:
            os.environ[CHILDREN_ARE_MEASURED_BY] = hidden


def stop_the_outer_measurements() -> None:
    """Stop what else measures: a parallel worker measures as a child process, as a pytest session and as a worker, one
    within the other. Pausing the innermost, the only one that is kept, lets the next one go on in its place.
    """
    while outer := coverage.Coverage.current():
        outer.stop()
