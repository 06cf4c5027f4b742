"""The ordinary course: messages that continue their sensor's numbers with data newer than all that is stored.

Such a reading is new for certain, contradicts nothing, and is next in the order in which rules look at readings; so it
is stored without looking anything up. A message that is stored already and comes again word for word changes nothing,
and is only counted (`repeats`). A sensor that sent anything else in a batch (a gap, another value, something to refuse)
is left out whole, with its messages in :attr:`Sorted.rest`: `intake` then sorts them out with all care. Both ways lead
to the same rows, leads and counters; only the price differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from typing import Any, cast

import msgspec
from sqlalchemy import Table
from sqlalchemy.orm import Session

from schemas.telemetry import CHANNEL_UNIT, FACTOR_NUMBERS, FLAG_NUMBERS, HOUR, KIND_NUMBERS, REASON_NUMBERS, Message
from server.db.bulk import Bulk, Micros, time_binder
from server.telemetry.judging import in_factor_unit, judge, skew_ms
from server.telemetry.models import SensorProgress, StoredReading
from server.telemetry.registry import SensorEntry
from server.telemetry.repeats import unlike_stored
from server.telemetry.validation import UNBELIEVABLE_TIMES, invalid_reason

EARLIEST = -(2**63)
Tuple = tuple[Any, ...]
ValidMean = tuple[datetime, str, float]
"""(data time, factor, value)."""

_PLAIN = ("at", "sensor_id", "factor", "kind", "value", "flag", "valid", "seq", "received_at")
_READINGS = Bulk(cast(Table, StoredReading.__table__), _PLAIN)
"""Without the columns that are null in valid readings: the driver takes long over each null."""
_OTHERS = Bulk(cast(Table, StoredReading.__table__), (*_PLAIN, "reason", "skew_ms"))
_PROGRESS = Bulk(
    cast(Table, SensorProgress.__table__),
    ("sensor_id", "complete_seq", "held", "skipped", "last_seen_at", "newest"),
)
_MICROS = Micros()
_newest = msgspec.json.Decoder(dict[str, int])
_encode = msgspec.json.encode
_seq = attrgetter("seq")


@dataclass(slots=True)
class Line:
    """One sensor's progress, and what its messages of this batch add to it."""

    sensor: SensorEntry
    complete_seq: int
    skipped: int
    newest: dict[str, int]
    """Channel → newest data time stored, in microseconds."""
    messages: list[Message] = field(default_factory=list)
    rows: list[Tuple] = field(default_factory=list)
    """Valid readings, in the order of `_PLAIN`."""
    others: list[Tuple] = field(default_factory=list)
    """Invalid readings, and those of a sensor that said what time it had: the same with reason and skew."""
    means: list[ValidMean] = field(default_factory=list)
    new: bool = False
    """Whether it has no progress yet."""
    repeated: list[Message] = field(default_factory=list)
    """Messages with numbers that were complete before this batch: to be compared with what is stored."""
    duplicates: int = 0
    """Readings that came a second time within this batch."""
    last: Message | None = None
    """The message that was added last."""


@dataclass(slots=True)
class Sorted:
    """A batch, sorted: `lines` are ordinary and ready to be stored, `rest` needs care."""

    lines: list[Line] = field(default_factory=list)
    rest: list[Message] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """How many readings had come before."""
        return sum(line.duplicates + sum(len(one.readings) for one in line.repeated) for line in self.lines)

    @property
    def valid(self) -> int:
        """How many readings of the ordinary course are valid."""
        return sum(len(line.rows) + sum(row[6] for row in line.others) for line in self.lines)

    @property
    def invalid(self) -> int:
        """How many are not."""
        return sum(1 - row[6] for line in self.lines for row in line.others)


def sort(session: Session, sensors: Mapping[str, SensorEntry], messages: Sequence[Message]) -> Sorted:
    """Split a batch. Locks the progress of the sensors it takes up (in order of id, so that lockers never cross)."""
    lines = _load(session, sensors)
    result = Sorted()
    for message in messages:
        line = lines.get(message.sensor)
        if line is None:
            result.rest.append(message)
        else:
            line.messages.append(message)
    spoken = [line for line in lines.values() if line.messages]
    ordinary = [line for line in spoken if _take_up(line)]
    odd = unlike_stored(session, [(line.sensor, line.skipped, line.repeated) for line in ordinary if line.repeated])
    result.lines = [line for line in ordinary if line.sensor.id not in odd]
    taken = {line.sensor.id for line in result.lines}
    result.rest += [message for line in spoken if line.sensor.id not in taken for message in line.messages]
    return result


def _take_up(line: Line) -> bool:
    """Add a line's messages, in the order of their numbers; False, with the line spoilt, if one is not ordinary."""
    messages, complete_seq = line.messages, line.complete_seq
    numbers = [message.seq or 0 for message in messages]
    if 0 not in numbers and numbers != sorted(numbers):
        messages.sort(key=_seq)
    for message in messages:
        if message.seq and message.seq <= line.complete_seq and not message.refusals:
            if message.seq <= complete_seq:
                line.repeated.append(message)
                continue
            if line.last is None or (line.last.seq, line.last.readings) != (message.seq, message.readings):
                return False
            line.duplicates += len(message.readings)
        elif _continue(line, message):
            line.last = message
        else:
            return False
    return True


def _continue(line: Line, message: Message) -> bool:
    """Add a message to its line; False, with the line spoilt, if it is not ordinary."""
    seq = message.seq
    if message.refusals or seq is None or (seq and seq != line.complete_seq + 1):
        return False
    line.complete_seq = seq or line.complete_seq
    sensor_id, channels, newest, rows = line.sensor.id, line.sensor.channels, line.newest, line.rows
    received_at = message.received_at
    received = _MICROS[received_at]
    behind_ms = skew_ms(message) if message.sent_at is not None else None
    plain = behind_ms is None and not line.sensor.periods
    for reading in message.readings:
        factor, kind, flag = reading.factor, reading.kind, reading.flag
        believed = channels.get(factor)
        if believed is None:
            return False
        if reading.unit == CHANNEL_UNIT:
            reading = in_factor_unit(reading, believed)  # noqa: PLW2901 - the same reading, in other words
        value = reading.value
        channel = factor if kind == HOUR else f"{factor} {kind}"
        at = _MICROS[reading.at]
        if at <= newest.get(channel, EARLIEST):
            return False
        if plain:
            reason = invalid_reason(reading, believed, received_at)
        else:
            reason = judge(line.sensor, reading, received_at, behind_ms)
        if reason is None and behind_ms is None:
            rows.append((at, sensor_id, FACTOR_NUMBERS[factor], KIND_NUMBERS[kind], value, FLAG_NUMBERS[flag], 1, seq, received))  # fmt: skip  # noqa: E501
            if kind == HOUR and value is not None:
                line.means.append((reading.at, factor, value))
        elif reason in UNBELIEVABLE_TIMES:
            return False
        else:
            number = None if reason is None else REASON_NUMBERS[reason]
            line.others.append((at, sensor_id, FACTOR_NUMBERS[factor], KIND_NUMBERS[kind], value, FLAG_NUMBERS[flag], int(reason is None), seq, received, number, behind_ms))  # fmt: skip  # noqa: E501
            if reason is None and kind == HOUR and value is not None:
                line.means.append((reading.at, factor, value))
        newest[channel] = at
    return True


def _load(session: Session, sensors: Mapping[str, SensorEntry]) -> dict[str, Line]:
    """Return the lines of sensors that wait for nothing; of one without a progress nothing is stored yet."""
    wanted = sorted(sensors)
    found = {row[0]: row for row in _PROGRESS.find(session, "sensor_id", wanted, lock=True)}
    lines: dict[str, Line] = {}
    for sensor_id in wanted:
        row = found.get(sensor_id)
        if row is None:
            lines[sensor_id] = Line(sensors[sensor_id], 0, 0, {}, new=True)
        elif not row[2]:
            lines[sensor_id] = Line(sensors[sensor_id], row[1], row[3], _newest.decode(row[5]))
    return lines


def store(session: Session, lines: Sequence[Line], now: datetime) -> None:
    """Write the readings and the progress of ordinary lines.

    Raises:
        sqlalchemy.exc.IntegrityError: a reading is stored already, or another ingester has met a sensor for the first
            time; the batch needs care throughout.
    """
    rows = [row for line in lines for row in line.rows]
    rows.sort()  # no two have one key, so nothing behind the key is compared
    _READINGS.append(session, rows)
    _OTHERS.append(session, sorted(row for line in lines for row in line.others))
    seen = time_binder(session)(now)
    progress: dict[bool, list[Tuple]] = {True: [], False: []}
    for line in lines:
        row = (line.sensor.id, line.complete_seq, 0, line.skipped, seen, _encode(line.newest).decode())
        progress[line.new].append(row)
    _PROGRESS.append(session, progress[True])
    _PROGRESS.replace(session, progress[False], keys=("sensor_id",))
