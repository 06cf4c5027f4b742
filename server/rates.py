"""How often one caller may ask: a steady rate with room for a burst, kept in this process's memory.

The generic cell rate algorithm: for each caller one number, the time at which all its requests so far would be paid
off. Each server process counts for itself, so the limit holds for each process.
"""

import math
import threading

from server.errors import Problem

BURST_S = 20
"""A caller that was quiet may send what the rate allows in so many seconds at once."""
MAX_CALLERS = 100_000
"""Callers remembered; past it those are forgotten that have paid off everything."""


class Rates:
    """The requests of all callers of one process."""

    def __init__(self) -> None:
        """Remember nobody yet."""
        self._paid_off_ms: dict[str, float] = {}
        self._lock = threading.Lock()

    def take(self, caller: str, now_ms: int, per_s: int) -> None:
        """Count one request of a caller that may make `per_s` a second; 0: any number.

        Raises:
            Problem: `rate-limited` with `retry_after_s`.
        """
        if per_s <= 0:
            return
        with self._lock:
            paid_off_ms = max(self._paid_off_ms.get(caller, 0.0), now_ms) + 1000 / per_s
            excess_ms = paid_off_ms - now_ms - BURST_S * 1000
            if excess_ms > 0:
                wait_s = math.ceil(excess_ms / 1000)
                raise Problem("rate-limited", detail="too many requests", limit=per_s, retry_after_s=wait_s)
            if len(self._paid_off_ms) >= MAX_CALLERS:
                self._paid_off_ms = {one: at_ms for one, at_ms in self._paid_off_ms.items() if at_ms > now_ms}
            self._paid_off_ms[caller] = paid_off_ms
