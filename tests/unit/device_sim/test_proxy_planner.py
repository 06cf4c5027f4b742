"""What the fault proxy plans for each connection."""

from collections import Counter

import pytest

from device_sim.proxy import LONGEST_BAD_RUN, Fault, Planner


def test_plans_depend_on_the_seed_alone() -> None:
    """The same seed spoils the n-th connection in the same way."""
    one, two, other = Planner("7", 0.5), Planner("7", 0.5), Planner("8", 0.5)
    plans = [one.next() for _ in range(100)]
    assert plans == [two.next() for _ in range(100)] != [other.next() for _ in range(100)]


def test_progress_stays_possible() -> None:
    """Even at the highest rate, no more than the longest bad run is spoiled in a row; all faults occur."""
    planner = Planner("1", 0.9)
    plans = [planner.next() for _ in range(3000)]
    run = 0
    for plan in plans:
        run = 0 if plan.fault is Fault.NONE else run + 1
        assert run <= LONGEST_BAD_RUN
    assert set(Counter(plan.fault for plan in plans)) == set(Fault)
    assert all(1 <= plan.after_bytes <= planner.longest_cut_bytes for plan in plans if plan.fault is not Fault.NONE)


def test_a_rate_of_zero_spoils_nothing() -> None:
    """Without faults the proxy only passes on."""
    planner = Planner("1", 0.0)
    assert {planner.next().fault for _ in range(100)} == {Fault.NONE}


@pytest.mark.parametrize("rate", [-0.1, 0.91, 1.0])
def test_rates_without_progress_are_refused(rate: float) -> None:
    """A rate at which nothing would ever come through is no rate."""
    with pytest.raises(ValueError, match="between 0 and 0.9"):
        Planner("1", rate)
