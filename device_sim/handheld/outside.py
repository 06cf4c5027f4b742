"""The outside world of a handheld: clocks, randomness and waiting. A simulation passes its own."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from sync.ids import RANDOM_BYTES, uuid7


def _system_wall_ms() -> int:
    return time.time_ns() // 1_000_000


def _system_mono_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass(frozen=True)
class Outside:
    """What a handheld may not take from thin air.

    `wall_ms` is the device's own idea of Unix time and may be wrong; `mono_ms` only ever rises within one boot;
    `jitter` gives numbers in [0, 1) for the spread of retries; `random_bytes` serves ids, salts, keys and nonces.
    """

    wall_ms: Callable[[], int] = _system_wall_ms
    mono_ms: Callable[[], int] = _system_mono_ms
    random_bytes: Callable[[int], bytes] = os.urandom
    jitter: Callable[[], float] = field(default_factory=lambda: random.Random().random)
    sleep: Callable[[float], None] = time.sleep

    def new_id(self) -> str:
        """A fresh UUIDv7 by this device's clock and randomness."""
        return uuid7(max(0, self.wall_ms()), self.random_bytes(RANDOM_BYTES))
