"""Workers share connections evenly: who holds more stands back, who is stuck or dead is not waited for."""

from types import SimpleNamespace

import pytest
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]  # gunicorn ships no types

from server.fair_worker import FairWorker, Seating


class Crew:
    """Two workers that were seated, without processes: gunicorn's part of accepting only counts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin with nobody."""
        self.seating, self.events = Seating(2), list[str]()
        self.master = SimpleNamespace(WORKERS={})
        monkeypatch.setattr(ThreadWorker, "accept", self._accept)
        monkeypatch.setattr(ThreadWorker, "wait_for_and_dispatch_events", lambda *_: None)
        monkeypatch.setattr("server.fair_worker.time.sleep", lambda _: self.events.append("stands back"))

    def _accept(self, _listener: object) -> None:
        self.events.append("accepts")

    def worker(self, pid: int) -> FairWorker:
        """Start a worker as gunicorn's master does."""
        worker = FairWorker.__new__(FairWorker)
        worker.nr_conns = 0
        self.seating.pre_fork(self.master, worker)
        self.master.WORKERS[pid] = worker
        return worker

    def holds(self, worker: FairWorker, count: int) -> None:
        """Let a worker go round its loop with so many connections."""
        worker.nr_conns = count
        worker.wait_for_and_dispatch_events(0)

    def accepts(self, worker: FairWorker) -> list[str]:
        """Let a worker see a new connection; what it did."""
        self.events.clear()
        worker.accept(None)
        return list(self.events)


@pytest.fixture
def crew(monkeypatch: pytest.MonkeyPatch) -> Crew:
    """A crew without members."""
    return Crew(monkeypatch)


def test_the_fuller_worker_stands_back(crew: Crew) -> None:
    """Whoever holds no more than the others accepts at once."""
    one, two = crew.worker(1), crew.worker(2)
    crew.holds(one, 3)
    crew.holds(two, 2)
    assert crew.accepts(one) == ["stands back", "accepts"]
    assert crew.accepts(two) == ["accepts"]
    crew.holds(two, 3)
    assert crew.accepts(one) == ["accepts"]


def test_nobody_waits_for_a_worker_that_is_not_there(crew: Crew) -> None:
    """Neither for one that has not begun to accept, nor for a dead one."""
    one, two = crew.worker(1), crew.worker(2)
    crew.holds(one, 3)
    assert crew.accepts(one) == ["accepts"]
    crew.holds(two, 1)
    assert crew.accepts(one) == ["stands back", "accepts"]
    crew.seating.child_exit(crew.master, two)
    assert crew.accepts(one) == ["accepts"]


def test_a_new_worker_takes_the_place_of_the_dead(crew: Crew) -> None:
    """Each living worker has a place of its own."""
    one, two = crew.worker(1), crew.worker(2)
    del crew.master.WORKERS[1]
    crew.seating.child_exit(crew.master, one)
    three = crew.worker(3)
    assert {two.place, three.place} == {0, 1}
