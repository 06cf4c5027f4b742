"""What the worker's rules are still to look at: notes of hours, and the watermark.

The watermark is the hour that ended ten minutes ago: by then what was said of it in good time is stored and aggregated.
What comes later makes its aggregates stale, and those leave a note when they are made anew. While anything waits to be
aggregated, rules wait too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Table, delete, select, update
from sqlalchemy.orm import Session

from schemas.telemetry import HOUR
from server.db.base import instant, micros
from server.db.bulk import Bulk
from server.db.engine import insert_ignore
from server.telemetry.averaging import hour_start
from server.telemetry.models import JudgedTo, JudgingSpan, LiveHour, Sensor, StaleSpan, StoredAggregate
from server.telemetry.staleness import EVERY_SENSOR, SETTLING

NOTES_LIMIT = 400
"""Most notes of one step; below `IN_LIST_LIMIT`."""
EVERY_RULE = ""
HOURS = "hours"
NOTES = Bulk(cast(Table, JudgingSpan.__table__), ("rule_id", "sensor_id", "first", "last"))


class Overtaken(Exception):
    """Another worker was there first."""


@dataclass(frozen=True, slots=True)
class Note:
    """Hours to look at: of one rule or of every one, at one sensor or at every one; `last` is included."""

    id: int
    rule_id: str
    sensor_id: str
    first: datetime
    last: datetime


def watermark(now: datetime) -> datetime:
    """Return the hour up to which rules look at data."""
    return instant(hour_start(micros(now - SETTLING)))


def settled(session: Session, now: datetime) -> bool:
    """Tell whether everything before the watermark is aggregated."""
    until = watermark(now)
    for waiting in (StaleSpan.first, LiveHour.at):
        query = select(waiting).where(waiting < until).limit(1)
        if waiting is StaleSpan.first:
            query = query.where(StaleSpan.tier == HOUR)
        if session.scalar(query) is not None:
            return False
    return True


def begin(session: Session) -> tuple[int, datetime | None]:
    """Return the turn, and the hour up to which silence has been looked at; none before the first time."""
    row = session.get(JudgedTo, HOURS)
    return (0, None) if row is None else (row.turn, row.at)


def take_turn(session: Session, turn: int, at: datetime) -> None:
    """Claim the turn, and note how far silence has been looked at.

    Raises:
        Overtaken: another worker has taken it since :func:`begin`.
    """
    insert_ignore(session, cast(Table, JudgedTo.__table__), [{"name": HOURS, "at": at, "turn": 0}])
    mine = update(JudgedTo).where(JudgedTo.name == HOURS, JudgedTo.turn == turn)
    if session.scalar(mine.values(turn=turn + 1, at=at).returning(JudgedTo.turn)) is None:
        raise Overtaken


def open_notes(session: Session, now: datetime) -> list[Note]:
    """Return the earliest notes with something before the watermark."""
    row = JudgingSpan
    columns = (row.id, row.rule_id, row.sensor_id, row.first, row.last)
    query = select(*columns).where(row.first < watermark(now)).order_by(row.first, row.id).limit(NOTES_LIMIT)
    return [Note(*found) for found in session.execute(query)]


def finish(session: Session, notes: Sequence[Note]) -> None:
    """Take notes away, as part of the transaction that does what they ask.

    Raises:
        Overtaken: one of them is gone.
    """
    gone = delete(JudgingSpan).where(JudgingSpan.id.in_([note.id for note in notes])).returning(JudgingSpan.id)
    if len(session.scalars(gone).all()) != len(notes):
        raise Overtaken


def unfold(session: Session, note: Note, *, silent: bool) -> None:
    """Put in place of a note on every sensor one for each that has data there; with `silent`, for all there are."""
    if silent:
        names = session.scalars(select(Sensor.id).order_by(Sensor.id)).all()
    else:
        table = StoredAggregate
        there = (table.tier == HOUR, table.at >= note.first, table.at <= note.last)
        names = session.scalars(select(table.sensor_id).where(*there).distinct().order_by(table.sensor_id)).all()
    first, last = micros(note.first), micros(note.last)
    NOTES.append(session, [(note.rule_id, sensor_id, first, last) for sensor_id in names])


def ask(session: Session, rule_id: str, sensor_id: str, since: datetime, until: datetime) -> None:
    """Have a rule (or every one) look at a stretch again; `until` is not included."""
    NOTES.append(session, [(rule_id, sensor_id, hour_start(micros(since)), micros(until) - 1)])


def note_silence(session: Session, judged_to: datetime, until: datetime) -> None:
    """Have every rule look at the hours that have passed, whether anybody said anything in them or not."""
    NOTES.append(session, [(EVERY_RULE, EVERY_SENSOR, micros(judged_to), micros(until) - 1)])
