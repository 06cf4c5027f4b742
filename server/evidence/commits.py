"""One commit for requests that finish at the same moment.

A commit waits for the disk, and SQLite has one writer. So a request leaves what it wants recorded in a queue; the first
that gets the writer's lock records all that is in the queue by then, and the others find theirs done.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.orm import Session

from server.runtime import Runtime

Item = TypeVar("Item")
MAX_BATCH = 64
"""Most items of one transaction."""


@dataclass
class _Ticket(Generic[Item]):
    item: Item
    done: bool = False
    result: str = ""
    error: BaseException | None = None


class CommitGroup(Generic[Item]):
    """Records items of the threads of one process, several in one transaction where several wait."""

    def __init__(self, record: Callable[[Session, Runtime, Sequence[Item]], list[str]]) -> None:
        """Record with a function that takes a write session and items, and returns a result for each."""
        self._record = record
        self._queue: list[_Ticket[Item]] = []
        self._queue_lock = threading.Lock()
        self._leader = threading.Lock()

    def run(self, rt: Runtime, item: Item) -> str:
        """Record an item durably and return its result; whatever recording it raises is raised here."""
        ticket = _Ticket(item)
        with self._queue_lock:
            self._queue.append(ticket)
        with self._leader:
            while not ticket.done:
                self._lead(rt)
        if ticket.error is not None:
            raise ticket.error
        return ticket.result

    def _lead(self, rt: Runtime) -> None:
        batch: list[_Ticket[Item]] = []
        try:
            with rt.db.write() as session:
                batch = self._take()  # with the lock in hand: what came while waiting for it is in
                results = self._record(session, rt, [ticket.item for ticket in batch])
        except Exception:  # noqa: BLE001 - each ticket gets its own error below
            for ticket in batch or self._take():
                self._alone(rt, ticket)
            return
        except BaseException as error:
            for ticket in batch:
                ticket.error, ticket.done = error, True
            raise
        for ticket, result in zip(batch, results, strict=True):
            ticket.result, ticket.done = result, True

    def _alone(self, rt: Runtime, ticket: _Ticket[Item]) -> None:
        """After a failure: record one by one, so that one item's fault is not the others'."""
        try:
            with rt.db.write() as session:
                (ticket.result,) = self._record(session, rt, [ticket.item])
        except BaseException as error:  # noqa: BLE001 - raised in the thread that owns the ticket
            ticket.error = error
        ticket.done = True

    def _take(self) -> list[_Ticket[Item]]:
        with self._queue_lock:
            batch, self._queue[:MAX_BATCH] = self._queue[:MAX_BATCH], []
        return batch
