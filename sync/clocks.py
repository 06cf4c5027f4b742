"""Device clocks: from readings as they stand, when something happened by the server's clock, and how far off that is.

A device reads two clocks: `wall_ms`, which anyone can set, and `mono_ms`, which only counts up within one start of the
device (its boot). One exchange of messages with the server ties the second to the server's clock: the server's time
lay between sending and receiving. Nothing else bounds how long a message travelled, so without an exchange the error
reaches back to the earliest instant that is possible at all. Pure: the server's clock is an argument.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sync.acts import ActError
from sync.dots import MAX_SEQUENCE
from sync.ids import is_id

DRIFT_PPM = 100
"""How fast a handheld's monotonic clock may run away from true time: crystals keep 20 to 50 millionths."""
STEP_MS = 2_000
"""A wall clock that moves by more than this against the monotonic one was set by someone."""


class Basis(StrEnum):
    """What a corrected time rests on."""

    EXCHANGE = "exchange"
    """An exchange with the server in the same boot."""
    ARRIVAL = "arrival"
    """The monotonic clock, and when the segment arrived: right if the segment did not wait on its way."""
    WALL = "wall"
    """The wall clock, as if nobody had set it since: the act was written in an earlier boot without an exchange."""
    NONE = "none"
    """No usable reading: the act counts as of its arrival."""


@dataclass(frozen=True)
class Exchange:
    """The server's time, and the device's monotonic clock around asking for it."""

    boot: str
    sent_mono_ms: int
    server_ms: int
    received_mono_ms: int

    def text(self) -> str:
        """Return the exchange as it stands in a header field."""
        return f"{self.boot} {self.sent_mono_ms} {self.server_ms} {self.received_mono_ms}"


@dataclass(frozen=True)
class Reading:
    """Both clocks of a device at one moment of a boot."""

    boot: str
    wall_ms: int
    mono_ms: int


@dataclass(frozen=True)
class Correction:
    """How readings of one boot become times: add `offset_ms`.

    `error_ms` bounds the error at the reading `reference_ms` and grows with the distance from it; None: nothing but the
    earliest possible instant bounds it.
    """

    basis: Basis
    offset_ms: int
    reference_ms: int
    error_ms: int | None


def parse_exchange(text: str) -> Exchange:
    """Read an exchange from a header field.

    Raises:
        ActError: it is not `<boot> <sent> <server> <received>` with numbers in range and in order.
    """
    boot, *numbers = text.split(" ")
    if not is_id(boot) or len(numbers) != 3 or not all(one.isascii() and one.isdecimal() for one in numbers):
        raise ActError("exchange", "must be a boot id and three whole numbers")
    if any(len(one) > len(str(MAX_SEQUENCE)) or int(one) > MAX_SEQUENCE for one in numbers):
        raise ActError("exchange", "is past the largest number", MAX_SEQUENCE)
    sent, server, received = map(int, numbers)
    if sent > received:
        raise ActError("exchange", "was received before it was sent")
    return Exchange(boot, sent, server, received)


def correct(head: Reading, now_ms: int, boot: str, exchange: Exchange | None) -> Correction:
    """Return how readings of `boot` are corrected when a segment with this head arrives at `now_ms`.

    `exchange` is one of that boot. It is left aside when it cannot be true: the server's time in it is yet to come, or
    it makes the segment's head later than its arrival by more than drift explains.
    """
    if exchange is not None and exchange.boot == boot and _possible(exchange, head, now_ms):
        middle = (exchange.sent_mono_ms + exchange.received_mono_ms) // 2
        error = (exchange.received_mono_ms - exchange.sent_mono_ms + 1) // 2
        return Correction(Basis.EXCHANGE, exchange.server_ms - middle, middle, error)
    if boot == head.boot:
        return Correction(Basis.ARRIVAL, now_ms - head.mono_ms, head.mono_ms, None)
    return Correction(Basis.WALL, now_ms - head.wall_ms, head.wall_ms, None)


def _possible(exchange: Exchange, head: Reading, now_ms: int) -> bool:
    if exchange.server_ms > now_ms:
        return False
    if exchange.boot != head.boot:
        return True
    earliest = exchange.server_ms + head.mono_ms - exchange.received_mono_ms
    return earliest - drift_ms(head.mono_ms - exchange.received_mono_ms) <= now_ms


def drift_ms(distance_ms: int) -> int:
    """Return how far a clock may have run away over a distance, rounded up."""
    return -(-abs(distance_ms) * DRIFT_PPM // 1_000_000)


def reading_of(correction: Correction, members: Mapping[str, Any]) -> int | None:
    """Return the reading in an act's header that a correction applies to; None when it is not usable."""
    value = members.get("wall_ms" if correction.basis is Basis.WALL else "mono_ms")
    return value if type(value) is int and 0 <= value <= MAX_SEQUENCE else None


def stamp(correction: Correction | None, members: Mapping[str, Any], now_ms: int) -> int:
    """Return the corrected time of an act that arrives at `now_ms`: never later than that, never below 0."""
    reading = None if correction is None else reading_of(correction, members)
    if correction is None or reading is None:
        return now_ms
    return max(0, min(now_ms, reading + correction.offset_ms))


def error_ms(
    correction: Correction | None, members: Mapping[str, Any], at_ms: int, *, earliest_ms: int, arrived_ms: int
) -> int:
    """Return how far the true time of an act may lie from its stamp.

    Args:
        correction: how its time was corrected.
        members: its header.
        at_ms: its stamp.
        earliest_ms: before this instant it cannot have been written: its device was enrolled then.
        arrived_ms: when it arrived.
    """
    reading = None if correction is None else reading_of(correction, members)
    backward, forward = max(0, at_ms - earliest_ms), max(0, arrived_ms - at_ms)
    if correction is None or reading is None or correction.basis is Basis.WALL:
        return max(backward, forward)
    if correction.error_ms is None:
        return backward
    return min(correction.error_ms + drift_ms(reading - correction.reference_ms), max(backward, forward))
