"""Pushes that arrive at the same time: checked one after the other, then written in one transaction.

Checking needs no lock. While this process writes, another one checks what it has; in each process one thread works for
all (see :mod:`server.db.lane`). A commit waits for the disk, so segments that wait together share one on SQLite, which
has one writer. If one of them is refused, nothing of that transaction stands, and each is written in its own.

PostgreSQL gathers commits itself, and locks rows: there each segment has a transaction of its own, since one that holds
the feed's counter must not wait for records (the lock order of :mod:`server.records.batch`).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from server.errors import Problem
from server.fieldsync.checks import CheckedAct, check_acts
from server.fieldsync.push import push
from server.fieldsync.segment import Segment, read_segment
from server.fieldsync.signatures import segment_verifier
from server.runtime import Runtime
from server.web.principal import Principal
from sync.clocks import Exchange

T = TypeVar("T")
MAX_TOGETHER_BYTES = 512 * 1024
"""Bodies that are written in one transaction have no more than this, unless there is only one."""


class Arrival(NamedTuple):
    """A pushed body, who sent it, and what came with it."""

    caller: Principal
    data: bytes
    exchange: Exchange | None
    pending: tuple[int, int] | None


class Checked(NamedTuple):
    """An arrival whose frame, chain and signature hold, and what was found in its acts."""

    arrival: Arrival
    segment: Segment
    content: Mapping[int, CheckedAct | Problem]


Outcome = list[bytes] | Exception
"""The lines of a reply, or why there is none."""


def take_in(rt: Runtime, arrival: Arrival) -> list[bytes]:
    """Take in a pushed body, and return the lines of the reply when it is durable.

    Raises:
        Problem: it is refused.
    """
    together = partial(take_in_together, rt)
    lines: list[bytes] = rt.db.lane.run(arrival, len(arrival.data), together, MAX_TOGETHER_BYTES * rt.db.is_sqlite)
    return lines


def take_in_together(rt: Runtime, arrivals: Sequence[Arrival]) -> list[Outcome]:
    """Take in some pushes; returns the outcome of each, in order, when all of them are durable."""
    found = [_outcome(partial(_check, rt, one)) for one in arrivals]
    sound = [one for one in found if isinstance(one, Checked)]
    ordered = iter(_write_together(rt, sound))
    return [next(ordered) if isinstance(one, Checked) else one for one in found]


def _check(rt: Runtime, arrival: Arrival) -> Checked:
    segment = read_segment(arrival.data, segment_verifier(rt, arrival.caller))
    return Checked(arrival, segment, check_acts(segment, arrival.caller))


def _write_together(rt: Runtime, checked: Sequence[Checked]) -> Sequence[Outcome]:
    replies = _outcome(partial(_write, rt, checked)) if checked else []
    if not isinstance(replies, Exception):
        return replies
    return [replies] if len(checked) == 1 else [_outcome(partial(_write_one, rt, one)) for one in checked]


def _write(rt: Runtime, checked: Sequence[Checked]) -> list[list[bytes]]:
    with rt.db.write() as session:
        return [
            push(session, rt, a.caller, segment, content, exchange=a.exchange, pending=a.pending)
            for a, segment, content in checked
        ]


def _write_one(rt: Runtime, checked: Checked) -> list[bytes]:
    return _write(rt, [checked])[0]


def _outcome(action: Callable[[], T]) -> T | Exception:
    try:
        return action()
    except Exception as error:  # noqa: BLE001 - raised again where the request is answered
        return error
