"""A gunicorn worker that leaves a new connection to a sibling which holds fewer.

Workers share one listening socket, and whichever wakes first accepts. Connections stay open, so a burst of handhelds
can end up with one process for minutes while another one idles; an interpreter uses one processor only.
"""

import mmap
import time
from collections.abc import Iterable
from typing import Any, Protocol

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]  # gunicorn ships no types

STAND_BACK_S = 0.01
"""How long a sibling has to take what it is left: longer than a thread holds the interpreter at a stretch. A worker
that is stuck costs new connections no more than this."""
GONE = 2**31 - 1
"""Said of a worker that accepts nothing: not started yet, or dead."""


class Board:
    """How many connections each worker holds, in memory that they share; made before they fork."""

    def __init__(self, places: int) -> None:
        """Make it with a place for each worker."""
        self._counts = memoryview(mmap.mmap(-1, 4 * places)).cast("i")
        for place in range(places):
            self._counts[place] = GONE

    def say(self, place: int, count: int) -> None:
        """Note what the worker at a place holds."""
        self._counts[place] = count

    def fewest(self) -> int:
        """Return how many the worker holds that has the fewest."""
        return min(self._counts)

    def free(self, taken: Iterable[int]) -> int:
        """Return a place that none of `taken` is."""
        return min(set(range(len(self._counts))) - set(taken), default=0)


class _Worker(Protocol):
    board: Board
    place: int


class FairWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn ships no types
    """Threads as gunicorn's own worker has them; fair to its siblings when it accepts."""

    board: Board
    place: int

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Say how many connections there are, before and after what happens next."""
        self.board.say(self.place, self.nr_conns)
        super().wait_for_and_dispatch_events(timeout)
        self.board.say(self.place, self.nr_conns)

    def accept(self, listener: Any) -> None:  # noqa: ANN401 - one of gunicorn's sockets
        """Accept a connection; a sibling that holds fewer goes first."""
        if self.nr_conns > self.board.fewest():
            time.sleep(STAND_BACK_S)
        super().accept(listener)
        self.board.say(self.place, self.nr_conns)


class Seating:
    """gunicorn's hooks by which its master gives each worker a place on the board."""

    def __init__(self, workers: int) -> None:
        """Make the board for a number of workers."""
        self._board = Board(workers)

    def pre_fork(self, server: Any, worker: _Worker) -> None:  # noqa: ANN401 - gunicorn's arbiter
        """Give a worker that is about to start the place of one that is gone."""
        worker.board = self._board
        worker.place = self._board.free(sibling.place for sibling in server.WORKERS.values())

    def child_exit(self, _server: object, worker: _Worker) -> None:
        """Nobody waits for a dead worker."""
        self._board.say(worker.place, GONE)
