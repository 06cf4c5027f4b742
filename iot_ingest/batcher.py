"""The bounded queue between the network thread and the writer, cut into batches.

A batch ends when enough has arrived, after a short silence, or at an age: never at a count alone, since a broker whose
window of unacknowledged messages is smaller than the count would wait for acknowledgements that never come. What piled
up while the last one was written is taken at once, up to a limit: in a larger batch each message costs less.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

INBOX_LIMIT = 20_000
"""With so many deliveries waiting it is full: the subscriber does not read its connection. One read may go beyond."""
BATCH_LIMIT = 2_000
"""Most deliveries in one transaction: beyond it each costs hardly less, and all of them are in memory."""
ENOUGH = 1_000
"""With so many deliveries nothing is waited for: a larger batch would save little more for each of them."""
SILENCE_S = 0.001
"""A pause this long after a delivery ends the batch."""
AGE_S = 0.02
"""A batch is not kept open longer than this, however steadily deliveries arrive."""


class Delivery(NamedTuple):
    """One PUBLISH as received. `mid` is its packet id within `session` (the broker's session, counted by us)."""

    topic: str
    payload: bytes
    received_at: datetime
    mid: int
    session: int


@dataclass(frozen=True, slots=True)
class BatchRule:
    """When a batch ends; durations in seconds."""

    limit: int = BATCH_LIMIT
    enough: int = ENOUGH
    silence_s: float = SILENCE_S
    age_s: float = AGE_S

    def __post_init__(self) -> None:
        """Refuse a rule that would collect nothing, or never flush.

        Raises:
            ValueError: a number is not positive.
        """
        if self.limit < 1 or self.enough < 1 or self.silence_s <= 0 or self.age_s <= 0:
            raise ValueError("a batch rule needs positive numbers")


class Inbox:
    """A bounded queue of deliveries: one thread offers what one read brought, one takes batches."""

    def __init__(
        self, rule: BatchRule, capacity: int = INBOX_LIMIT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make an empty inbox; `clock` gives monotonic seconds."""
        self._waiting: deque[Delivery] = deque()
        self._rule, self._capacity, self._clock = rule, capacity, clock
        self._lock = threading.Lock()
        self._arrived, self._room = threading.Condition(self._lock), threading.Condition(self._lock)

    def offer(self, deliveries: Sequence[Delivery], wait_s: float = 0.0) -> bool:
        """Add deliveries together; False, and none is added, when the inbox is still full after `wait_s` seconds."""
        with self._lock:
            if self.full and not (wait_s > 0 and self._room.wait_for(lambda: not self.full, wait_s)):
                return False
            self._waiting.extend(deliveries)
            self._arrived.notify()
        return True

    @property
    def full(self) -> bool:
        """Whether a delivery would have to wait."""
        return len(self._waiting) >= self._capacity

    def take(self, wait_s: float) -> list[Delivery]:
        """Return the next batch, or [] when nothing arrives within `wait_s` seconds."""
        rule, waiting = self._rule, self._waiting
        with self._lock:
            if not self._arrived.wait_for(lambda: bool(waiting), wait_s):
                return []
            ends_at = self._clock() + rule.age_s
            enough = min(rule.enough, rule.limit)
            while len(waiting) < enough and not self.full:
                count, remaining_s = len(waiting), min(rule.silence_s, ends_at - self._clock())
                if remaining_s <= 0:
                    break
                self._arrived.wait(remaining_s)
                if len(waiting) == count:
                    break
            batch = [waiting.popleft() for _ in range(min(len(waiting), rule.limit))]
            self._room.notify()
        return batch

    def __len__(self) -> int:
        """Return how many deliveries wait."""
        return len(self._waiting)
