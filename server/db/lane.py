"""Work of many threads that one of them does for all: who comes first leads, and takes along what waits by then.

Threads of a process share one interpreter. Several that work at once only keep each other from it, and above all the
one that holds the database's write lock. What waits together can share a commit, which is a wait for the disk.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Job = TypeVar("Job")
Work = Callable[[Sequence[Job]], Sequence[Any]]


@dataclass
class _Ticket(Generic[Job]):
    job: Job
    size: int
    woken: threading.Lock = field(default_factory=threading.Lock)
    done: bool = False
    result: Any = None


class Lane(Generic[Job]):
    """A queue of jobs in one process, worked off in the order in which they came."""

    def __init__(self) -> None:
        """Make it, empty."""
        self._guard = threading.Lock()
        self._waiting: deque[_Ticket[Job]] = deque()
        self._led = False

    @property
    def waiting(self) -> int:
        """How many jobs wait for their turn."""
        return len(self._waiting)

    def run(self, job: Job, size: int, work: Work[Job], limit: int) -> Any:  # noqa: ANN401 - whatever the work returns
        """Have a job done, by this thread or by another one, and return its result.

        Args:
            job: what is to be done.
            size: how large it is.
            work: does some jobs together and returns a result for each; one that is an exception is raised where that
                job was handed in. It is the same for all jobs of a lane.
            limit: jobs are taken together while their sizes add up to no more than this.
        """
        ticket = _Ticket(job, size)
        ticket.woken.acquire()
        with self._guard:
            self._waiting.append(ticket)
            lead, self._led = not self._led, True
        if not lead:
            ticket.woken.acquire()  # until it is done, or is the first of those that wait
        if not ticket.done:
            self._lead(work, limit)
        if isinstance(ticket.result, BaseException):
            raise ticket.result
        return ticket.result

    def _lead(self, work: Work[Job], limit: int) -> None:
        """Do what waits; then wake the others, and the next leader."""
        batch = self._take(limit)
        try:
            results = work([ticket.job for ticket in batch])
        except BaseException as error:  # noqa: BLE001 - raised again where each job was handed in
            results = [error] * len(batch)
        for ticket, result in zip(batch, results, strict=True):
            ticket.result, ticket.done = result, True
        with self._guard:
            following = self._waiting[0] if self._waiting else None
            self._led = following is not None
        for ticket in batch[1:]:
            ticket.woken.release()
        if following is not None:
            following.woken.release()

    def _take(self, limit: int) -> list[_Ticket[Job]]:
        """Take the first job, and those behind it that fit in with it."""
        with self._guard:
            batch = [self._waiting.popleft()]
            size = batch[0].size
            while self._waiting and size + self._waiting[0].size <= limit:
                size += self._waiting[0].size
                batch.append(self._waiting.popleft())
        return batch
