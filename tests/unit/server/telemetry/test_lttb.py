"""Down-sampling for charts: few points, all of them real, none of the outstanding ones lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.telemetry.lttb import Point, lttb

SERIES = st.lists(st.floats(-1e9, 1e9), max_size=300).map(lambda ys: [(float(x), y) for x, y in enumerate(ys)])


@given(SERIES, st.integers(3, 100))
def test_a_few_of_the_points(points: list[Point], limit: int) -> None:
    """As many as asked for, or all; in order, each one a point of the series, both ends kept."""
    chosen = lttb(points, limit)
    assert len(chosen) == min(limit, len(points))
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(points)
    assert (chosen[:1], chosen[-1:]) == (points[:1], points[-1:])


@given(st.integers(1, 998), st.integers(3, 50))
def test_a_single_peak_is_kept(peak: int, limit: int) -> None:
    """In a flat series the one point that stands out is among the chosen ones."""
    points = [(float(x), 100.0 if x == peak else 1.0) for x in range(1_000)]
    assert points[peak] in lttb(points, limit)


@given(SERIES, st.integers(3, 100))
def test_doing_it_twice_changes_nothing(points: list[Point], limit: int) -> None:
    """What is short enough stays as it is."""
    once = lttb(points, limit)
    assert lttb(once, limit) == once


def test_too_few_points_are_refused() -> None:
    """A first and a last point alone make no chart."""
    with pytest.raises(ValueError, match="room"):
        lttb([], 2)
