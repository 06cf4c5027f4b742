"""In which order rules may look at messages: each sensor's own order, without gaps.

A broker may deliver out of order (after a crash of the ingester it sends new messages before it repeats old ones).
Readings are stored at once, but rules run over the gap-free beginning of each sensor's sequence only, and wait where
a message is missing. So they meet the same readings in the same order whatever the delivery and the batching were.
A gap that does not close is given up, so that one lost message does not end supervision.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from schemas.telemetry import HOUR
from server.db.base import micros
from server.telemetry.gaps import close_gaps, open_gap
from server.telemetry.models import HeldMessage, SensorProgress
from server.telemetry.settling import Key, Row

GAP_TIMEOUT = timedelta(minutes=10)
"""How long rules wait for a missing message while later ones are there."""
HELD_LIMIT = 2_000
"""Most messages of one sensor that may wait behind a gap before it is given up."""


@dataclass(frozen=True, slots=True)
class Step:
    """One message whose turn has come: rules look at those of its readings that stand under its number.

    `judged` is the number up to which the sensor's messages have been looked at, this one included. A late message
    was given up before it came: rules look only at what it adds.
    """

    sensor_id: str
    seq: int
    keys: tuple[Key, ...]
    judged: int
    late: bool = False


@dataclass
class Line:
    """One sensor's messages in this batch: arrived, by number; and the ones held before, loaded when needed."""

    progress: SensorProgress
    arrived: dict[int, tuple[Key, ...]] = field(default_factory=dict)


def load_progress(session: Session, sensor_ids: Iterable[str], now: datetime) -> dict[str, SensorProgress]:
    """Return (locked, created where missing) the progress of sensors, ordered by id so that lockers never cross."""
    wanted = sorted(set(sensor_ids))
    query = select(SensorProgress).where(SensorProgress.sensor_id.in_(wanted)).order_by(SensorProgress.sensor_id)
    found = {row.sensor_id: row for row in session.scalars(query.with_for_update())}
    for sensor_id in wanted:
        if sensor_id not in found:
            row = SensorProgress(sensor_id=sensor_id, complete_seq=0, held=0, skipped=0, last_seen_at=now, newest="{}")
            session.add(row)
            found[sensor_id] = row
        found[sensor_id].last_seen_at = now
    return found


def note_newest(progress: SensorProgress, rows: Iterable[Row]) -> None:
    """Remember the newest data time of each channel of a sensor: `ordinary` asks what may be stored already."""
    known: dict[str, int] = json.loads(progress.newest)
    newest = dict(known)
    for row in rows:
        channel = row.factor if row.kind == HOUR else f"{row.factor} {row.kind}"
        newest[channel] = max(newest.get(channel, micros(row.at)), micros(row.at))
    if newest != known:
        progress.newest = json.dumps(newest, separators=(",", ":"))


def release(session: Session, line: Line, now: datetime) -> list[Step]:
    """Return the steps that are now due for one sensor, and hold back the rest.

    Messages numbered at or below the complete beginning come first: they were given up earlier, and are late.
    """
    progress, sensor_id = line.progress, line.progress.sensor_id
    judged = progress.complete_seq
    steps = [
        Step(sensor_id, seq, keys, judged, late=True) for seq, keys in sorted(line.arrived.items()) if seq <= judged
    ]
    if progress.skipped and steps:
        close_gaps(session, sensor_id, [step.seq for step in steps])
    waiting = {seq: keys for seq, keys in line.arrived.items() if seq > progress.complete_seq}
    stored: set[int] = set()
    crowded = progress.held + len(waiting) > HELD_LIMIT
    if progress.held and (crowded or progress.complete_seq + 1 in waiting):
        held = _load_held(session, sensor_id)
        stored = set(held)
        waiting |= held
    steps += _drain(progress, waiting)
    while len(waiting) > HELD_LIMIT:
        _give_up(session, progress, min(waiting), now)
        steps += _drain(progress, waiting)
    _keep(session, progress, waiting, stored, now)
    return steps


def release_expired(session: Session, now: datetime) -> tuple[list[Step], int]:
    """Give up gaps that have stayed open for :data:`GAP_TIMEOUT`.

    Returns:
        The steps that are due then, and how many numbers were given up.
    """
    expired = session.scalars(select(HeldMessage.sensor_id).where(HeldMessage.held_at < now - GAP_TIMEOUT).distinct())
    steps: list[Step] = []
    skipped = 0
    for sensor_id in sorted(expired):
        progress = session.get_one(SensorProgress, sensor_id, with_for_update=True)
        skipped -= progress.skipped
        waiting = _load_held(session, sensor_id)
        stored = set(waiting)
        if waiting:
            _give_up(session, progress, min(waiting), now)
            steps += _drain(progress, waiting)
        _keep(session, progress, waiting, stored, now)
        skipped += progress.skipped
    return steps, skipped


def count_held(session: Session) -> int:
    """Return how many messages wait behind gaps."""
    return session.scalar(select(func.count()).select_from(HeldMessage)) or 0


def _load_held(session: Session, sensor_id: str) -> dict[int, tuple[Key, ...]]:
    rows = session.execute(select(HeldMessage.seq, HeldMessage.keys).where(HeldMessage.sensor_id == sensor_id))
    return {seq: _keys(sensor_id, keys) for seq, keys in rows}


def _keys(sensor_id: str, stored: Sequence[Sequence[str]]) -> tuple[Key, ...]:
    return tuple((datetime.fromisoformat(at), sensor_id, factor, kind) for at, factor, kind in stored)


def _drain(progress: SensorProgress, waiting: dict[int, tuple[Key, ...]]) -> list[Step]:
    """Take the messages that continue the complete beginning out of `waiting`."""
    steps = []
    while (keys := waiting.pop(progress.complete_seq + 1, None)) is not None:
        progress.complete_seq += 1
        steps.append(Step(progress.sensor_id, progress.complete_seq, keys, progress.complete_seq))
    return steps


def _give_up(session: Session, progress: SensorProgress, next_seq: int, now: datetime) -> None:
    if next_seq - 1 > progress.complete_seq:
        open_gap(session, progress.sensor_id, progress.complete_seq + 1, next_seq - 1, now)
    progress.skipped += next_seq - 1 - progress.complete_seq
    progress.complete_seq = next_seq - 1


def _keep(
    session: Session, progress: SensorProgress, waiting: dict[int, tuple[Key, ...]], stored: set[int], now: datetime
) -> None:
    """Make the stored held messages those in `waiting`; `stored` are the loaded ones (empty: none was loaded)."""
    released = sorted(stored - waiting.keys())
    if released:
        done = HeldMessage.seq <= progress.complete_seq
        session.execute(delete(HeldMessage).where(HeldMessage.sensor_id == progress.sensor_id, done))
    known = stored or _known(session, progress, waiting)
    rows = [
        {
            "sensor_id": progress.sensor_id,
            "seq": seq,
            "held_at": now,
            "keys": [[at.isoformat(), factor, kind] for at, _, factor, kind in keys],
        }
        for seq, keys in sorted(waiting.items())
        if seq not in known
    ]
    if rows:
        session.execute(insert(HeldMessage), rows)
    progress.held += len(rows) - len(released)


def _known(session: Session, progress: SensorProgress, waiting: dict[int, tuple[Key, ...]]) -> set[int]:
    """Return which of `waiting` are held already: redelivered while waiting."""
    if not waiting or not progress.held:
        return set()
    seqs = sorted(waiting)
    query = select(HeldMessage.seq).where(
        HeldMessage.sensor_id == progress.sensor_id, HeldMessage.seq.between(seqs[0], seqs[-1])
    )
    return set(session.scalars(query))
