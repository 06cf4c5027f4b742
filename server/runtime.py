"""What every service needs from outside, gathered once: settings, database, clock, randomness.

Everything a simulation must control is here and nowhere else.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from server.clock import Clock, SystemClock, to_ms
from server.config import Settings
from server.db.engine import Database
from server.rates import Rates
from sync.ids import uuid7


@dataclass(frozen=True)
class Runtime:
    """The outside world as the services see it."""

    settings: Settings
    db: Database
    clock: Clock
    random_bytes: Callable[[int], bytes]
    rates: Rates = field(default_factory=Rates, compare=False)
    """How often each device has asked this process."""

    def now(self) -> datetime:
        """Return the present instant, aware, UTC."""
        return self.clock.now()

    def now_ms(self) -> int:
        """Return the present Unix time in milliseconds."""
        return to_ms(self.clock.now())

    def new_id(self) -> str:
        """Return a fresh UUIDv7: ordered by time, so that index pages fill in order."""
        return uuid7(self.now_ms(), self.random_bytes(10))


def build_runtime(settings: Settings) -> Runtime:
    """Return the runtime of a real program: system clock, system randomness, the configured database."""
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return Runtime(settings=settings, db=Database(settings.database_url), clock=SystemClock(), random_bytes=os.urandom)
