"""Downlink: what the office asks of sensors, sent by the ingester and answered, or expired."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from schemas.telemetry import COMMAND, FACTORS, parse_time, readings_topic
from server.audit.service import SYSTEM
from server.errors import Problem
from server.runtime import Runtime
from server.telemetry.models import Sensor, SensorCommand, SequenceGap
from server.telemetry.ordering import Step
from server.telemetry.signals import ASKED, EXPIRED, SENT

SET_INTERVAL, HISTORY = "set-interval", "history"
INTERVAL_LIMIT_S = (1, 86_400)
HISTORY_LIMIT = timedelta(days=31)
TIMEOUT = timedelta(minutes=5)
"""How long a command waits for its answer."""
BACK_FILL = timedelta(days=1)
"""How far before the first message behind a gap a sensor is asked for its history: the numbers say no time."""
LONG_AGO = datetime(1971, 1, 1, tzinfo=UTC)
"""Nobody is asked for what is said to be older: the time is wrong."""
OPEN_LIMIT = 20
"""Most commands of one sensor that wait at once."""
SEND_LIMIT = 500
"""Most commands sent in one round."""


def ask(session: Session, rt: Runtime, sensor: Sensor, name: str, parameters: Mapping[str, Any], by: str) -> str:
    """Ask something of a sensor; return the command's id.

    `set-interval` takes `seconds` and, for one channel only, `factor`; `history` takes `since` and `until`.

    Raises:
        Problem: `invalid-field`, or `limit-exceeded` while too many wait.
    """
    _check(sensor, name, parameters)
    waiting = (SensorCommand.sensor_id == sensor.id, SensorCommand.status.in_([ASKED, SENT]))
    if len(session.scalars(select(SensorCommand.id).where(*waiting)).all()) >= OPEN_LIMIT:
        raise Problem("limit-exceeded", field="commands", limit=OPEN_LIMIT)
    row = SensorCommand(
        id=rt.new_id(), sensor_id=sensor.id, name=name, parameters=dict(parameters), status=ASKED, asked_by=by[:64],
        asked_at=rt.now(), expires_at=rt.now() + TIMEOUT, answer="",
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def ask_for_missing(session: Session, rt: Runtime, released: Iterable[Step]) -> int:
    """Ask sensors whose gaps have just been given up for their history; return how many were asked.

    What they say again and is stored already has no effect. A sensor that is being asked is not asked twice at once,
    and one that does not answer lets the command expire.

    Args:
        session: the transaction that gave the gaps up.
        rt: the runtime.
        released: the steps that became due by it.
    """
    behind = {(step.sensor_id, step.seq): step.keys for step in released if step.keys}
    just_now = select(SequenceGap).where(
        SequenceGap.sensor_id.in_({sensor for sensor, _ in behind}), SequenceGap.given_up_at == rt.now()
    )
    asked = 0
    for gap in session.scalars(just_now.order_by(SequenceGap.sensor_id, SequenceGap.first_seq)).all():
        keys = behind.get((gap.sensor_id, gap.last_seq + 1))
        until = min((at for at, *_ in keys or ()), default=LONG_AGO)
        mine = (SensorCommand.sensor_id == gap.sensor_id, SensorCommand.status.in_([ASKED, SENT]))
        waiting = session.scalars(select(SensorCommand.name).where(*mine)).all()
        if until <= LONG_AGO or HISTORY in waiting or len(waiting) >= OPEN_LIMIT:
            continue
        parameters = {"since": (until - BACK_FILL).isoformat(), "until": until.isoformat()}
        ask(session, rt, session.get_one(Sensor, gap.sensor_id), HISTORY, parameters, SYSTEM)
        asked += 1
    return asked


def _check(sensor: Sensor, name: str, parameters: Mapping[str, Any]) -> None:
    if name == SET_INTERVAL:
        seconds, factor = parameters.get("seconds"), parameters.get("factor")
        low, high = INTERVAL_LIMIT_S
        if not isinstance(seconds, int) or isinstance(seconds, bool) or not low <= seconds <= high:
            raise Problem("invalid-field", field="seconds", detail=f"must be a whole number from {low} to {high}")
        if factor is not None and (factor not in FACTORS or factor not in sensor.channels):
            raise Problem("invalid-field", field="factor", detail="the sensor has no such channel")
        known = {"seconds", "factor"}
    else:
        since, until = _time(parameters, "since"), _time(parameters, "until")
        if not since < until <= since + HISTORY_LIMIT:
            raise Problem(
                "invalid-field", field="until", detail=f"must lie up to {HISTORY_LIMIT.days} days after since"
            )
        known = {"since", "until"}
    if parameters.keys() - known:
        raise Problem("invalid-field", field="parameters", detail=f"{name} takes {', '.join(sorted(known))}")


def _time(parameters: Mapping[str, Any], field: str) -> datetime:
    text = parameters.get(field)
    at = parse_time(text) if isinstance(text, str) else None
    if at is None:
        raise Problem("invalid-field", field=field, detail="must be a time with an offset")
    return at


def commands_due(session: Session, now: datetime) -> bool:
    """Tell whether a command is to be sent or has expired."""
    asked = SensorCommand.status == ASKED
    late = (SensorCommand.status == SENT) & (SensorCommand.expires_at <= now)
    return session.scalar(select(SensorCommand.id).where(or_(asked, late)).limit(1)) is not None


def commands_to_send(session: Session, now: datetime) -> dict[str, bytes]:
    """Expire what has waited too long, and return what is to be sent now, topic and id → message, marked as sent.

    Marked before it is sent: a crash in between makes a command expire, and none is sent twice.
    """
    waiting = (SensorCommand.status.in_([ASKED, SENT]), SensorCommand.expires_at <= now)
    session.execute(update(SensorCommand).where(*waiting).values(status=EXPIRED))
    query = (
        select(SensorCommand).where(SensorCommand.status == ASKED).order_by(SensorCommand.asked_at).limit(SEND_LIMIT)
    )
    messages: dict[str, bytes] = {}
    for row in session.scalars(query.with_for_update(skip_locked=True)):
        topic = readings_topic(row.sensor_id, COMMAND)
        if topic in messages:
            continue  # one at a time for each sensor: the next round sends the next
        row.status, row.sent_at = SENT, now
        said = {"id": row.id, "name": row.name, "parameters": row.parameters, "expires_at": row.expires_at.isoformat()}
        messages[topic] = msgspec.json.encode(said)
    session.flush()
    return messages


def list_commands(session: Session, sensor_id: str, *, after: str, limit: int) -> Sequence[SensorCommand]:
    """Return a sensor's commands by id (the order in which they were asked), after id `after`."""
    mine = (SensorCommand.sensor_id == sensor_id, SensorCommand.id > after)
    return session.scalars(select(SensorCommand).where(*mine).order_by(SensorCommand.id).limit(limit)).all()
