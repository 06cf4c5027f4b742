"""The worker's step that makes stale aggregates anew, a bounded window at a time.

It reads without holding the writer's lock, and writes in a short transaction that begins by claiming the notes it
read: if one of them is gone, another worker was there first, and nothing is written. A note that came meanwhile is not
claimed and stays. So the aggregates end up as what the readings say, whatever came when.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import BigInteger, SmallInteger, Table, delete, func, or_, select, type_coerce
from sqlalchemy.orm import Session

from schemas.telemetry import DAY, FACTOR_NUMBERS, HOUR, KIND_NUMBERS, MINUTE, REALTIME, REASON_NUMBERS, TIER_NUMBERS
from server.db.base import instant, micros
from server.db.bulk import Bulk
from server.runtime import Runtime
from server.telemetry.averaging import (
    DAY_US,
    HOUR_US,
    Aggregate,
    HourData,
    Sample,
    aggregate_day,
    aggregate_hour,
    day_start,
    hour_start,
)
from server.telemetry.models import JudgingSpan, LiveHour, StaleSpan, StoredAggregate, StoredReading, TierHorizon
from server.telemetry.registry import Channel, sampling_intervals
from server.telemetry.staleness import EVERY_SENSOR, SETTLING, SPANS
from server.telemetry.validation import UNBELIEVABLE_TIMES

NOTES = 400
"""Most notes of one window; below `IN_LIST_LIMIT`."""
RAW = "raw"
_FACTORS = {number: code for code, number in FACTOR_NUMBERS.items()}
_NUMBER = TIER_NUMBERS
_AGGREGATES = Bulk(
    cast(Table, StoredAggregate.__table__),
    ("sensor_id", "factor", "tier", "at", "mean", "low", "high", "share", "valid"),
)
TO_JUDGE = Bulk(cast(Table, JudgingSpan.__table__), ("rule_id", "sensor_id", "first", "last"))
Row = tuple[Any, ...]


class OvertakenError(Exception):
    """Another worker was there first."""


@dataclass(frozen=True, slots=True)
class Note:
    """A stale span."""

    id: int
    sensor_id: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Window:
    """What one step makes anew: one tier, from `start` to `end` (not included), for some sensors or for every one."""

    tier: str
    start: int
    end: int
    notes: Sequence[Note]
    resume: int | None
    """The first data time behind it for which there is a reading, where spans that reach further go on."""

    @property
    def sensors(self) -> list[str] | None:
        """The sensors, or None for every one."""
        found = {note.sensor_id for note in self.notes}
        return None if EVERY_SENSOR in found else sorted(found)


def aggregate_step(rt: Runtime) -> int:
    """Worker step: make the aggregates of one window anew; returns how many notes it dealt with."""
    if _close_live_hours(rt):
        return 1
    for tier in (HOUR, DAY):
        with rt.db.read() as session:
            window = _next_window(session, rt, tier)
            if window is None:
                continue
            cleared = _cleared_to(session)
            rows = _compute(session, window, cleared)
        return _write(rt, window, rows, cleared)
    return 0


def _close_live_hours(rt: Runtime) -> int:
    """Turn the live hours that are over and settled into notes."""
    over = LiveHour.at < instant(micros(rt.now() - SETTLING) - HOUR_US)
    with rt.db.read() as session:
        if session.scalar(select(LiveHour.at).where(over).limit(1)) is None:
            return 0
    with rt.db.write() as session:
        hours = [micros(at) for at in session.scalars(delete(LiveHour).where(over).returning(LiveHour.at))]
        SPANS.append(session, [(_NUMBER[HOUR], EVERY_SENSOR, at, at + HOUR_US - 1) for at in sorted(hours)])
        return len(hours)


def _next_window(session: Session, rt: Runtime, tier: str) -> Window | None:
    """Return the earliest window with something to do: an hour of every sensor, or a day of some."""
    settled = micros(rt.now() - SETTLING)
    over = hour_start(settled) if tier == HOUR else day_start(settled)
    columns = (StaleSpan.id, StaleSpan.sensor_id, StaleSpan.first, StaleSpan.last)
    mine = (StaleSpan.tier == tier, StaleSpan.first < instant(over))
    first = session.scalar(select(func.min(StaleSpan.first)).where(*mine))
    if first is None:
        return None
    start = hour_start(micros(first)) if tier == HOUR else day_start(micros(first))
    end = min(start + DAY_US, over)
    query = select(*columns).where(*mine, StaleSpan.first < instant(end)).order_by(StaleSpan.first, StaleSpan.id)
    found = session.execute(query.limit(NOTES))
    notes = [Note(key, sensor, micros(since), micros(last)) for key, sensor, since, last in found]
    if any(note.sensor_id == EVERY_SENSOR for note in notes) and tier == HOUR:
        end = start + HOUR_US
        notes = [note for note in notes if note.first < end]
    behind = session.scalar(select(func.min(StoredReading.at)).where(StoredReading.at >= instant(end)))
    return Window(tier, start, end, notes, None if behind is None else micros(behind))


def _cleared_to(session: Session) -> dict[str, int]:
    """Return tier → before which data time its rows are gone."""
    query = select(TierHorizon.tier, TierHorizon.cleared_to)
    return {tier: micros(at) for tier, at in session.execute(query)}


def _compute(session: Session, window: Window, cleared: dict[str, int]) -> list[Row]:
    """Return the aggregates of a window; none for periods that cannot be made anew because their data are gone."""
    horizon = max(cleared.get(RAW, 0), cleared.get(window.tier, 0), cleared.get(HOUR, 0))
    if window.tier == HOUR:
        return _hours(session, window, max(horizon, cleared.get(MINUTE, 0)))
    return _days(session, window) if window.start >= horizon else []


def _hours(session: Session, window: Window, horizon: int) -> list[Row]:
    data: defaultdict[tuple[str, int, int], HourData] = defaultdict(HourData)
    kinds = {KIND_NUMBERS[REALTIME]: "realtime", KIND_NUMBERS[MINUTE]: "minute", KIND_NUMBERS[HOUR]: "hour"}
    for at, sensor_id, factor, kind, value, valid in _readings(session, window, kinds):
        if hour_start(at) >= horizon:
            samples = getattr(data[sensor_id, factor, hour_start(at)], kinds[kind])
            samples.append(Sample(at, value, valid))
    intervals = sampling_intervals(session, {sensor_id for sensor_id, _, _ in data})
    rows: list[Row] = []
    for (sensor_id, factor, start), said in data.items():
        minutes, hour = aggregate_hour(start, said, intervals.get((sensor_id, factor)))
        rows += [_row((sensor_id, factor), MINUTE, minute) for minute in minutes]
        rows += [_row((sensor_id, factor), HOUR, hour)] if hour else []
    return rows


def _days(session: Session, window: Window) -> list[Row]:
    own: defaultdict[Channel, list[Sample]] = defaultdict(list)
    for at, sensor_id, factor, _, value, valid in _readings(session, window, (KIND_NUMBERS[DAY],)):
        own[sensor_id, factor].append(Sample(at, value, valid))
    hours: defaultdict[Channel, list[Aggregate]] = defaultdict(list)
    table = StoredAggregate
    query = select(
        table.sensor_id, type_coerce(table.factor, SmallInteger), type_coerce(table.at, BigInteger),
        table.mean, table.low, table.high, table.share, table.valid,
    ).where(table.tier == HOUR, table.at >= instant(window.start), table.at < instant(window.end))  # fmt: skip
    if window.sensors is not None:
        query = query.where(table.sensor_id.in_(window.sensors))
    for sensor_id, factor, at, mean, low, high, share, valid in session.execute(query):
        hours[sensor_id, factor].append(Aggregate(at, mean, low, high, share, valid))
    channels = sorted(own.keys() | hours.keys())
    days = ((channel, aggregate_day(window.start, own[channel], hours[channel])) for channel in channels)
    return [_row(channel, DAY, day) for channel, day in days if day]


def _readings(session: Session, window: Window, kinds: Iterable[int]) -> Iterable[Row]:
    """Return a window's readings of some kinds: (data time, sensor, factor, kind, value, valid), in numbers."""
    table = StoredReading
    query = select(
        type_coerce(table.at, BigInteger),
        table.sensor_id,
        type_coerce(table.factor, SmallInteger),
        type_coerce(table.kind, SmallInteger),
        table.value,
        table.valid,
    ).where(
        table.at >= instant(window.start),
        table.at < instant(window.end),
        type_coerce(table.kind, SmallInteger).in_(list(kinds)),
        or_(
            table.reason.is_(None),
            type_coerce(table.reason, SmallInteger).not_in([REASON_NUMBERS[reason] for reason in UNBELIEVABLE_TIMES]),
        ),
    )
    if window.sensors is not None:
        query = query.where(table.sensor_id.in_(window.sensors))
    return session.execute(query.execution_options(yield_per=10_000))


def _row(channel: Channel, tier: str, made: Aggregate) -> Row:
    return (*channel, _NUMBER[tier], made.at, made.mean, made.low, made.high, made.share, made.valid)


def _write(rt: Runtime, window: Window, rows: Sequence[Row], cleared: dict[str, int]) -> int:
    """Claim the notes of a window and write its aggregates; nothing if it was not as it was read."""
    ids = [note.id for note in window.notes]
    try:
        with rt.db.write() as session:
            claimed = session.scalars(delete(StaleSpan).where(StaleSpan.id.in_(ids)).returning(StaleSpan.id)).all()
            if len(claimed) != len(ids) or _cleared_to(session) != cleared:
                raise OvertakenError
            SPANS.append(session, _following(window))
            ordered = sorted(rows, key=lambda row: row[:4])
            _AGGREGATES.replace(session, ordered, keys=("sensor_id", "factor", "tier", "at"))
            if window.tier == HOUR:
                TO_JUDGE.append(session, [("", name, window.start, window.end - 1) for name in _names(window)])
    except OvertakenError:
        return 0
    return len(ids)


def _following(window: Window) -> list[tuple[int, str, int, int]]:
    """Return the spans that a window leaves: the rest of its own, and the days of its hours."""
    left: list[tuple[int, str, int, int]] = []
    if window.resume is not None:
        rest = [note for note in window.notes if note.last >= window.resume]
        left += [(_NUMBER[window.tier], note.sensor_id, window.resume, note.last) for note in rest]
    if window.tier == HOUR:
        days = range(day_start(window.start), window.end, DAY_US)
        left += [(_NUMBER[DAY], sensor_id, at, at) for sensor_id in _names(window) for at in days]
    return left


def _names(window: Window) -> list[str]:
    """Return the sensors of a window, as notes name them."""
    return [EVERY_SENSOR] if window.sensors is None else window.sensors
