"""What sensors say beside readings: whether they are connected, and what became of a command."""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.telemetry import ANSWER, PRESENCE
from server.runtime import Runtime
from server.telemetry.models import DETAIL_CHARS, Sensor, SensorCommand, SensorPresence

ASKED, SENT, DONE, REFUSED, EXPIRED = "asked", "sent", "done", "refused", "expired"
STATUSES = (ASKED, SENT, DONE, REFUSED, EXPIRED)


class Presence(msgspec.Struct, forbid_unknown_fields=True):
    """A sensor's own word when it connects, or its last will."""

    online: bool


class Answer(msgspec.Struct, forbid_unknown_fields=True):
    """What became of a command."""

    id: str
    status: str
    detail: str = ""


class Signal(msgspec.Struct, frozen=True):
    """A signal as received."""

    sensor: str
    name: str
    payload: bytes
    received_at: datetime


_presence, _answer = msgspec.json.Decoder(Presence), msgspec.json.Decoder(Answer)


def take_signal(session: Session, rt: Runtime, signal: Signal) -> str:
    """Take a signal in; return why it is refused, or ""."""
    if session.get(Sensor, signal.sensor) is None:
        return "unknown-sensor"
    try:
        if signal.name == PRESENCE:
            _note_presence(session, signal, _presence.decode(signal.payload))
            return ""
        answer = _answer.decode(signal.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "bad-message"
    if signal.name != ANSWER or answer.status not in (DONE, REFUSED):
        return "bad-message"
    return _note_answer(session, rt, signal.sensor, answer)


def _note_presence(session: Session, signal: Signal, presence: Presence) -> None:
    row = session.get(SensorPresence, signal.sensor)
    if row is None:
        session.add(SensorPresence(sensor_id=signal.sensor, online=presence.online, since_at=signal.received_at))
    elif row.online != presence.online:
        row.online, row.since_at = presence.online, signal.received_at
    session.flush()


def _note_answer(session: Session, rt: Runtime, sensor_id: str, answer: Answer) -> str:
    command = session.get(SensorCommand, answer.id, with_for_update=True)
    if command is None or command.sensor_id != sensor_id:
        return "bad-message"
    if command.status in (ASKED, SENT):  # a late or repeated answer changes nothing
        command.status, command.answered_at = answer.status, rt.now()
        command.answer = answer.detail.replace("\x00", "")[:DETAIL_CHARS]
        session.flush()
    return ""


def presence_of(session: Session, sensor_ids: Sequence[str]) -> dict[str, SensorPresence]:
    """Return what is known of sensors' connections."""
    rows = session.scalars(select(SensorPresence).where(SensorPresence.sensor_id.in_(sensor_ids)))
    return {row.sensor_id: row for row in rows}
