"""The bounded queue between the network thread and the writer, cut into batches.

A batch ends at a count, after a short silence, or at an age: never at a count alone, since a broker whose window of
unacknowledged messages is smaller than the count would wait for acknowledgements that never come.
"""

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

INBOX_LIMIT = 5_000
"""Most deliveries waiting; while it is full the subscriber does not read its connection."""
BATCH_LIMIT = 1_000
"""Most deliveries in one transaction."""
SILENCE_S = 0.005
"""A pause this long after a delivery ends the batch."""
AGE_S = 0.25
"""A batch is not kept open longer than this, however steadily deliveries arrive."""


@dataclass(frozen=True, slots=True)
class Delivery:
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
    silence_s: float = SILENCE_S
    age_s: float = AGE_S

    def __post_init__(self) -> None:
        """Refuse a rule that would collect nothing, or never flush.

        Raises:
            ValueError: a number is not positive.
        """
        if self.limit < 1 or self.silence_s <= 0 or self.age_s <= 0:
            raise ValueError("a batch rule needs positive numbers")


class Inbox:
    """A bounded queue of deliveries: one thread offers, one takes batches."""

    def __init__(
        self, rule: BatchRule, capacity: int = INBOX_LIMIT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Make an empty inbox; `clock` gives monotonic seconds."""
        self._queue: queue.Queue[Delivery] = queue.Queue(capacity)
        self._rule = rule
        self._clock = clock

    def offer(self, delivery: Delivery, wait_s: float = 0.0) -> bool:
        """Add a delivery; False when the inbox is still full after `wait_s` seconds."""
        try:
            self._queue.put(delivery, block=wait_s > 0, timeout=wait_s)
        except queue.Full:
            return False
        return True

    @property
    def full(self) -> bool:
        """Whether a delivery would have to wait."""
        return self._queue.full()

    def take(self, wait_s: float) -> list[Delivery]:
        """Return the next batch, or [] when nothing arrives within `wait_s` seconds."""
        try:
            batch = [self._queue.get(timeout=wait_s)]
        except queue.Empty:
            return []
        ends_at = self._clock() + self._rule.age_s
        while len(batch) < self._rule.limit:
            remaining_s = min(self._rule.silence_s, ends_at - self._clock())
            if remaining_s <= 0:
                break
            try:
                batch.append(self._queue.get(timeout=remaining_s))
            except queue.Empty:
                break
        return batch

    def __len__(self) -> int:
        """Return how many deliveries wait."""
        return self._queue.qsize()
