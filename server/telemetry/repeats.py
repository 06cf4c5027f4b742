"""Exact repetitions: messages that are stored already and come again word for word, told apart in one look-up.

A sensor that got no receipt sends everything again, and a broker repeats what an ingester that died had not
acknowledged. That changes nothing and must cost little, or those who ask again would keep a platform that is behind
from ever catching up.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.orm import Session

from schemas.telemetry import FACTOR_NUMBERS, FLAG_NUMBERS, KIND_NUMBERS, Message
from server.db.bulk import Bulk, Micros
from server.telemetry.gaps import covers_any
from server.telemetry.judging import in_factor_unit
from server.telemetry.models import StoredReading
from server.telemetry.registry import SensorEntry

_CONTENT = Bulk(cast(Table, StoredReading.__table__), ("at", "sensor_id", "factor", "kind", "value", "flag"))
_MICROS = Micros()
Content = tuple[int, str, int, int, float | None, int]
"""What a stored reading says: data time in microseconds, sensor, factor, kind, value, flag; codes as numbers."""
Repeated = tuple[SensorEntry, int, Sequence[Message]]
"""(sensor, how many of its numbers were given up, messages with numbers that are complete)."""


def unlike_stored(session: Session, repeated: Iterable[Repeated]) -> set[str]:
    """Return the sensors with a message that is not, reading for reading, what is stored."""
    odd: set[str] = set()
    said: dict[str, set[Content]] = {}
    for sensor, skipped, messages in repeated:
        numbers = [message.seq or 0 for message in messages]
        if skipped and covers_any(session, sensor.id, min(numbers), max(numbers)):
            odd.add(sensor.id)  # one that was given up and comes after all closes its gap
            continue
        contents = set(_contents(sensor, messages))
        if None in contents:
            odd.add(sensor.id)
        else:
            said[sensor.id] = cast(set[Content], contents)
    keys = sorted({content[:2] for contents in said.values() for content in contents})
    stored: set[Any] = set(map(tuple, _CONTENT.find_pairs(session, ("at", "sensor_id"), keys)))
    return odd | {sensor_id for sensor_id, contents in said.items() if not contents <= stored}


def _contents(sensor: SensorEntry, messages: Iterable[Message]) -> Iterator[Content | None]:
    """Return what messages say, in the form in which it is stored; None for what cannot be stored."""
    for message in messages:
        for reading in message.readings:
            channel = sensor.channels.get(reading.factor)
            if channel is None:
                yield None
                return
            believed = in_factor_unit(reading, channel)
            yield (
                _MICROS[reading.at], sensor.id, FACTOR_NUMBERS[reading.factor], KIND_NUMBERS[reading.kind],
                believed.value, FLAG_NUMBERS[reading.flag],
            )  # fmt: skip
