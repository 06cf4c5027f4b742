"""Exactly one row for each reading: sorts out what is new, repeated or contradictory before anything is written.

Of several values for one key the one with the lowest sequence number stands, whichever arrived first, as long as rules
have not judged it; so the stored readings depend on what was sent and not on the order of delivery.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, update
from sqlalchemy.orm import Session

from schemas.telemetry import FACTOR_NUMBERS, FACTORS, FLAG_NUMBERS, KIND_NUMBERS, REASON_NUMBERS, Message, Reading
from server.db.base import instant, micros
from server.db.bulk import Bulk
from server.telemetry.judging import in_factor_unit, judge, skew_ms
from server.telemetry.letters import CONTRADICTION, Letter, refuse_reading
from server.telemetry.models import StoredReading
from server.telemetry.registry import SensorEntry

Key = tuple[datetime, str, str, str]
"""(data time, sensor, factor, kind): the primary key of a reading."""
COLUMNS = tuple(column.name for column in StoredReading.__table__.columns)
_READINGS = Bulk(cast(Table, StoredReading.__table__), COLUMNS)
_FACTORS, _KINDS, _FLAGS, _REASONS = (
    {number: code for code, number in numbers.items()}
    for numbers in (FACTOR_NUMBERS, KIND_NUMBERS, FLAG_NUMBERS, REASON_NUMBERS)
)


@dataclass(frozen=True, slots=True)
class Row:
    """A reading as it is, or is to be, stored."""

    at: datetime
    sensor_id: str
    factor: str
    kind: str
    value: float | None
    flag: str
    valid: bool
    reason: str | None
    seq: int
    received_at: datetime
    skew_ms: int | None = None

    @property
    def corrected_at(self) -> datetime:
        """The data time by our clock: where the sensor's ran ahead, put back by as much; `at` stays as it was said.

        A clock that seems to lie behind may as well be a message that was long on its way, and is left alone.
        """
        return self.at + timedelta(milliseconds=min(0, self.skew_ms or 0))

    @property
    def unit(self) -> str:
        """The factor's unit."""
        return FACTORS[self.factor].unit

    @property
    def key(self) -> Key:
        """The primary key."""
        return (self.at, self.sensor_id, self.factor, self.kind)

    def same_content(self, other: "Row") -> bool:
        """Tell whether another row of this key says the same."""
        return (self.value, self.flag) == (other.value, other.flag)

    def as_dict(self) -> dict[str, Any]:
        """Return the column values."""
        return {name: getattr(self, name) for name in COLUMNS}

    def as_stored(self) -> tuple[Any, ...]:
        """Return the columns as the driver takes them, in the order of :data:`COLUMNS`."""
        return (
            micros(self.at), self.sensor_id, FACTOR_NUMBERS[self.factor], KIND_NUMBERS[self.kind], self.value,
            FLAG_NUMBERS[self.flag], self.valid, None if self.reason is None else REASON_NUMBERS[self.reason], self.seq,
            micros(self.received_at), self.skew_ms,
        )  # fmt: skip


@dataclass
class Settled:
    """What became of the candidates of one batch."""

    rows: dict[Key, Row] = field(default_factory=dict)
    """Every key of the batch and its row after the batch."""
    fresh: set[Key] = field(default_factory=set)
    """Keys that were not stored before."""
    contradictions: list[Letter] = field(default_factory=list)
    standing: set[str] = field(default_factory=set)
    """Identities of values that came to stand in this batch: an earlier letter about one of them is void."""
    changed: set[Key] = field(default_factory=set)
    """Keys that were stored or whose row was replaced."""
    duplicates: int = 0
    valid: int = 0
    """By how much the number of valid stored readings grew (a replaced one may lower it)."""
    invalid: int = 0


def make_row(sensor: SensorEntry, message: Message, reading: Reading) -> Row:
    """Judge one reading of a registered channel and return its row."""
    reading, behind_ms = in_factor_unit(reading, sensor.channels[reading.factor]), skew_ms(message)
    reason = judge(sensor, reading, message.received_at, behind_ms)
    return Row(
        at=reading.at,
        sensor_id=sensor.id,
        factor=reading.factor,
        kind=reading.kind,
        value=reading.value,
        flag=reading.flag,
        valid=reason is None,
        reason=reason,
        seq=message.seq or 0,
        received_at=message.received_at,
        skew_ms=behind_ms,
    )


def settle(
    session: Session, candidates: Sequence[Row], complete: Mapping[str, int], topics: Mapping[str, str]
) -> Settled:
    """Write each candidate that is new, and say what became of the others.

    Args:
        session: the write session.
        candidates: rows in order of arrival.
        complete: sensor → number up to which rules have judged its messages.
        topics: sensor → its topic, for letters.

    Raises:
        sqlalchemy.exc.IntegrityError: another ingester stored one of them meanwhile; run the transaction again.
    """
    stored = load_rows(session, {row.key for row in candidates})
    settled = Settled(rows=dict(stored))
    touched: set[Key] = set()
    for row in sorted(candidates, key=lambda row: row.seq):
        standing = settled.rows.get(row.key)
        if standing is None:
            settled.rows[row.key] = row
            settled.fresh.add(row.key)
            _count(settled, row, 1)
            continue
        earlier = row.seq < standing.seq and standing.seq > complete.get(row.sensor_id, 0)
        if standing.same_content(row):
            settled.duplicates += 1
        elif earlier:
            settled.contradictions.append(_contradiction(standing, topics))
            _count(settled, standing, -1)
            _count(settled, row, 1)
        else:
            settled.contradictions.append(_contradiction(row, topics))
        if earlier:
            same = standing.same_content(row)
            settled.rows[row.key] = replace(standing, seq=row.seq) if same else row
            touched.add(row.key)
    settled.changed = settled.fresh | touched
    settled.standing = {_contradiction(settled.rows[key], topics).refusal.identity for key in touched}
    void = [item for item in settled.contradictions if item.refusal.identity in settled.standing]
    settled.contradictions = [item for item in settled.contradictions if item not in void]
    settled.duplicates += len(void)
    _write(session, settled, touched)
    return settled


def _count(settled: Settled, row: Row, by: int) -> None:
    if row.valid:
        settled.valid += by
    else:
        settled.invalid += by


def _write(session: Session, settled: Settled, touched: set[Key]) -> None:
    _READINGS.append(session, [settled.rows[key].as_stored() for key in sorted(settled.fresh)])
    for key in sorted(touched - settled.fresh):
        changed = settled.rows[key].as_dict()
        session.execute(update(StoredReading).where(*is_key(key)).values(changed))


def is_key(key: Key) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that select one reading."""
    return (
        StoredReading.at == key[0],
        StoredReading.sensor_id == key[1],
        StoredReading.factor == key[2],
        StoredReading.kind == key[3],
    )


def load_rows(session: Session, keys: Iterable[Key]) -> dict[Key, Row]:
    """Return the stored rows among `keys`."""
    wanted = set(keys)
    pairs = sorted({(micros(key[0]), key[1]) for key in wanted})
    found = (_as_row(record) for record in _READINGS.find_pairs(session, ("at", "sensor_id"), pairs))
    return {row.key: row for row in found if row.key in wanted}


def _as_row(record: Sequence[Any]) -> Row:
    at, sensor_id, factor, kind, value, flag, valid, reason, seq, received_at, skew_ms = record
    return Row(
        instant(at), sensor_id, _FACTORS[factor], _KINDS[kind], value, _FLAGS[flag], bool(valid), _REASONS.get(reason),
        seq, instant(received_at), skew_ms,
    )  # fmt: skip


def _contradiction(row: Row, topics: Mapping[str, str]) -> Letter:
    """Return the letter of a reading that contradicts the one that stands."""
    reading = Reading(row.at, row.factor, row.value, row.unit, row.flag, row.kind)
    refusal = refuse_reading(row.sensor_id, reading, CONTRADICTION, "another value is stored for this data time")
    return Letter(refusal, topics.get(row.sensor_id, ""), row.sensor_id, row.seq, row.received_at, whole=False)
