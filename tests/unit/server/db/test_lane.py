"""A lane: everybody gets the result of its own job, whoever has done it, and what waits is done together."""

import threading
from collections.abc import Sequence

import pytest

from server.db.lane import Lane

LIMIT = 3


class Held:
    """Work that waits until it is let go, and remembers which jobs it was given together."""

    def __init__(self) -> None:
        """Hold."""
        self.let_go, self.begun, self.batches = threading.Event(), threading.Event(), list[list[int]]()

    def __call__(self, jobs: Sequence[int]) -> list[object]:
        """Double each job; 13 is refused."""
        self.batches.append(list(jobs))
        self.begun.set()
        self.let_go.wait()
        if 99 in jobs:
            raise KeyError("99")
        return [ValueError("13") if job == 13 else 2 * job for job in jobs]


def run_all(jobs: Sequence[int]) -> tuple[list[list[int]], dict[int, object]]:
    """Hand jobs in, each on a thread of its own and in order, while the first is being worked on."""
    lane, work, results = Lane[int](), Held(), dict[int, object]()

    def hand_in(job: int) -> None:
        try:
            results[job] = lane.run(job, 1, work, LIMIT)
        except (ValueError, KeyError) as error:
            results[job] = error

    threads = [threading.Thread(target=hand_in, args=(job,)) for job in jobs]
    for number, thread in enumerate(threads):
        thread.start()
        work.begun.wait()
        while lane.waiting < number:
            thread.join(0.001)
    work.let_go.set()
    for thread in threads:
        thread.join()
    assert lane.waiting == 0
    return work.batches, results


def test_what_waits_is_done_together_in_order_and_within_the_limit() -> None:
    """The first came alone; behind it three and two share their turns."""
    batches, results = run_all([1, 2, 3, 4, 5, 6])
    assert batches == [[1], [2, 3, 4], [5, 6]]
    assert results == {job: 2 * job for job in range(1, 7)}


def test_a_refused_job_is_refused_alone() -> None:
    """An exception among the results is raised for its own job only."""
    _, results = run_all([1, 2, 13, 4])
    assert isinstance(results.pop(13), ValueError)
    assert results == {1: 2, 2: 4, 4: 8}


def test_a_failure_of_the_work_reaches_everybody_and_the_lane_goes_on() -> None:
    """Nobody waits forever for a leader that failed."""
    batches, results = run_all([1, 2, 99, 3, 5])
    assert batches == [[1], [2, 99, 3], [5]]
    assert results[1] == 2
    assert results[5] == 10
    assert all(isinstance(results[job], KeyError) for job in (2, 99, 3))


def test_a_large_job_goes_alone() -> None:
    """What is larger than the limit is done all the same."""
    assert Lane[int]().run(4, LIMIT + 1, lambda jobs: [2 * job for job in jobs], LIMIT) == 8
    with pytest.raises(ZeroDivisionError):
        Lane[int]().run(4, 1, lambda jobs: [1 // 0 for _ in jobs], LIMIT)
