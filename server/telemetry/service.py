"""The telemetry domain's services: sensor registry, built-in rules, queries, counters and dead letters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, Table, func, select, tuple_, update
from sqlalchemy.orm import Session

from schemas.telemetry import BUILTIN_RULES, FACTORS, SENSOR_ID
from server.db.engine import insert_ignore
from server.errors import Problem
from server.runtime import Runtime
from server.telemetry.commands import commands_due
from server.telemetry.counting import REGISTRY_VERSION, raise_counters
from server.telemetry.intake import COUNTERS
from server.telemetry.letters import OPEN, REPLAYED, REQUESTED
from server.telemetry.models import DeadLetter, HeldMessage, IngestCounter, RuleVersion, Sensor, StoredReading
from server.telemetry.ordering import GAP_TIMEOUT, count_held, load_progress
from server.telemetry.provisioning import channels_of, get_device_type
from server.telemetry.registry import as_rule
from server.telemetry.rule_life import ACTIVE, DRAFT
from server.telemetry.rules import BREACH, LEVEL
from server.telemetry.settling import COLUMNS, Row

DATUMS = ("WGS-84", "CGCS2000")
"""Datums a position may have; GCJ-02 would be some 590 m off."""
NAME_LIMIT_CHARS = 200
PROVINCE_CHARS = 2
"""Length of a region prefix that names a whole province."""


@dataclass(frozen=True)
class SensorDraft:
    """A sensor to register. `channels` maps a factor to its measuring range, or to {} for the factor's usual one."""

    id: str
    name: str
    entity_id: str
    region: str
    department: str
    lat: float
    lon: float
    channels: Mapping[str, Mapping[str, float]]
    datum: str = "WGS-84"
    mqtt_user: str = ""
    """Defaults to the sensor's id."""
    device_type: str | None = None
    """Gives the channels that are not named here."""


def register_sensor(session: Session, rt: Runtime, draft: SensorDraft) -> str:
    """Register a sensor, or change what is registered under its id; return the id.

    Raises:
        Problem: `invalid-field`, naming the field.
    """
    _check(draft)
    of_type = get_device_type(session, draft.device_type).channels if draft.device_type else {}
    sensor = session.get(Sensor, draft.id)
    if sensor is None:
        sensor = Sensor(id=draft.id, created_at=rt.now())
        session.add(sensor)
    sensor.name, sensor.entity_id = draft.name, draft.entity_id
    sensor.region, sensor.department = draft.region, draft.department
    sensor.lat, sensor.lon, sensor.datum = draft.lat, draft.lon, draft.datum
    sensor.mqtt_user = draft.mqtt_user or draft.id
    sensor.device_type = draft.device_type
    sensor.channels = of_type | channels_of(draft.channels)
    session.flush()
    load_progress(session, [draft.id], rt.now())
    raise_counters(session, {REGISTRY_VERSION: 1})
    return sensor.id


def _check(draft: SensorDraft) -> None:
    faults = {
        "id": not SENSOR_ID.fullmatch(draft.id),
        "name": not 0 < len(draft.name) <= NAME_LIMIT_CHARS,
        "datum": draft.datum not in DATUMS,
        "lat": not -90 <= draft.lat <= 90,
        "lon": not -180 <= draft.lon <= 180,
        "channels": not (draft.channels or draft.device_type) or not set(draft.channels) <= set(FACTORS),
    }
    for field, wrong in faults.items():
        if wrong:
            raise Problem("invalid-field", field=field, detail=f"{field} of the sensor is not acceptable")


def seed_builtin_rules(session: Session, rt: Runtime) -> int:
    """Add the built-in rules and drafts that are not there yet; return how many were added. Safe to repeat."""
    rows = [_builtin(rt, rule, ACTIVE) for rule in BUILTIN_RULES["rules"]]
    rows += [_builtin(rt, rule, DRAFT) for rule in BUILTIN_RULES["drafts"]]
    for row in rows:
        as_rule(RuleVersion(**row))  # a rule that contradicts itself must not be stored
    added = insert_ignore(session, cast(Table, RuleVersion.__table__), rows)
    raise_counters(session, {REGISTRY_VERSION: added})
    return added


def _builtin(rt: Runtime, rule: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Return the row of a built-in rule."""
    same = ("code", "version", "factor", "unit", "window_hours", "min_valid_hours", "max_silence_hours", "basis")
    return {name: rule[name] for name in same} | {
        "id": rt.new_id(),
        "threshold": float(rule["threshold"]),
        "clear_level": float(rule["clear_level"]),
        "measure": rule.get("measure", LEVEL),
        "category": rule.get("category", BREACH),
        "settings": rule.get("settings", {}),
        "region": "",
        "department": "",
        "effective_from": None,
        "effective_to": None,
        "title_zh": rule["zh"],
        "title_en": rule["en"],
        "created_at": rt.now(),
        "status": status,
    }


def counters(session: Session) -> dict[str, int]:
    """Return the running totals of `intake.COUNTERS`, and `held_messages`: how many wait behind gaps now."""
    found: dict[str, int] = dict(session.execute(select(IngestCounter.name, IngestCounter.value)).all())
    return {name: found.get(name, 0) for name in COUNTERS} | {"held_messages": count_held(session)}


def count_readings(session: Session) -> dict[str, int]:
    """Count stored readings anew from the table: {"valid", "invalid"}."""
    rows = session.execute(select(StoredReading.valid, func.count()).group_by(StoredReading.valid)).all()
    found = dict(rows)
    return {"valid": found.get(True, 0), "invalid": found.get(False, 0)}


def list_sensors(session: Session, *, region: str, department: str, after: str, limit: int) -> Sequence[Sensor]:
    """Return the sensors of a region prefix and department (empty: all), by id, after id `after`."""
    query = select(Sensor).where(Sensor.id > after, Sensor.region.startswith(region, autoescape=True))
    if department:
        query = query.where(Sensor.department == department)
    return session.scalars(query.order_by(Sensor.id).limit(limit)).all()


def get_sensor(session: Session, sensor_id: str) -> Sensor:
    """Return a sensor.

    Raises:
        Problem: `not-found`.
    """
    sensor = session.get(Sensor, sensor_id)
    if sensor is None:
        raise Problem("not-found", detail="no such sensor")
    return sensor


def list_readings(
    session: Session,
    sensor_id: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    factor: str | None = None,
    after: tuple[datetime, str, str] | None = None,
    limit: int = 500,
) -> list[Row]:
    """Return a sensor's readings in order of data time, factor and kind.

    Args:
        session: a session.
        sensor_id: the sensor.
        since: first data time, included.
        until: end of the data times, not included.
        factor: only this factor.
        after: (data time, factor, kind) of the last row of the page before.
        limit: most rows to return.
    """
    query = select(*(getattr(StoredReading, name) for name in COLUMNS)).where(StoredReading.sensor_id == sensor_id)
    if since is not None:
        query = query.where(StoredReading.at >= since)
    if until is not None:
        query = query.where(StoredReading.at < until)
    if factor is not None:
        query = query.where(StoredReading.factor == factor)
    if after is not None:
        # the first condition is implied by the second, and lets the key seek
        key = tuple_(StoredReading.at, StoredReading.factor, StoredReading.kind)
        query = query.where(StoredReading.at >= after[0], key > after)
    ordered = query.order_by(StoredReading.at, StoredReading.factor, StoredReading.kind).limit(limit)
    return [Row(*record) for record in session.execute(ordered)]


def list_letters(
    session: Session,
    *,
    region: str = "",
    department: str = "",
    after: str = "",
    limit: int = 100,
    status: str | None = None,
    reason: str | None = None,
    sensor_id: str | None = None,
) -> Sequence[DeadLetter]:
    """Return dead letters by id (the order in which they were stored), after id `after`.

    With a region prefix below the province or a department, only letters of registered sensors within them: nobody
    can say whose business the others are.
    """
    query = select(DeadLetter).where(DeadLetter.id > after, *_within(region, department))
    if status is not None:
        query = query.where(DeadLetter.status == status)
    if reason is not None:
        query = query.where(DeadLetter.reason == reason)
    if sensor_id is not None:
        query = query.where(DeadLetter.sensor_id == sensor_id)
    return session.scalars(query.order_by(DeadLetter.id).limit(limit)).all()


def _within(region: str, department: str) -> list[ColumnElement[bool]]:
    if not department and len(region) <= PROVINCE_CHARS:
        return []
    mine = select(Sensor.id).where(Sensor.region.startswith(region, autoescape=True))
    if department:
        mine = mine.where(Sensor.department == department)
    return [DeadLetter.sensor_id.in_(mine)]


def count_letters(session: Session) -> dict[str, int]:
    """Return for how many readings the dead letters of each reason stand, without the replayed ones."""
    rows = session.execute(
        select(DeadLetter.reason, func.sum(DeadLetter.readings))
        .where(DeadLetter.status != REPLAYED)
        .group_by(DeadLetter.reason)
    )
    return {reason: int(total) for reason, total in rows}


def request_replay(session: Session, letter_ids: Sequence[str], *, region: str = "", department: str = "") -> int:
    """Ask the ingester to take dead letters in again, after what refused them was mended; return how many were asked.

    Raises:
        Problem: `not-found` if one of them does not exist, or not within the region prefix and department.
    """
    wanted = sorted(set(letter_ids))
    found = session.scalars(select(DeadLetter.id).where(DeadLetter.id.in_(wanted), *_within(region, department))).all()
    missing = set(wanted) - set(found)
    if missing:
        raise Problem("not-found", detail=f"no dead letter {min(missing)}", field="letters")
    asked = update(DeadLetter).where(DeadLetter.id.in_(wanted), DeadLetter.status == OPEN).values(status=REQUESTED)
    return len(session.scalars(asked.returning(DeadLetter.id)).all())


def requested_letters(session: Session, limit: int) -> Sequence[DeadLetter]:
    """Return the dead letters that a person asked to have taken in again."""
    query = select(DeadLetter).where(DeadLetter.status == REQUESTED).order_by(DeadLetter.id).limit(limit)
    return session.scalars(query.with_for_update(skip_locked=True)).all()


def chores_due(session: Session, now: datetime) -> bool:
    """Tell whether an ingester has something to do: a requested replay, a gap to give up, a command to send."""
    asked = select(DeadLetter.id).where(DeadLetter.status == REQUESTED).limit(1)
    expired = select(HeldMessage.seq).where(HeldMessage.held_at < now - GAP_TIMEOUT).limit(1)
    letters, gaps = session.scalar(asked) is not None, session.scalar(expired) is not None
    return letters or gaps or commands_due(session, now)


def retire_letter(session: Session, rt: Runtime, letter: DeadLetter) -> None:
    """Mark a letter as replayed, in the transaction that takes its content in again.

    It keeps its place in the history but stands for no reading any more; refused again, its content makes a new one.
    """
    letter.status, letter.replayed_at, letter.identity = REPLAYED, rt.now(), f"replayed:{letter.id}"
    session.flush()
    raise_counters(session, {"dead_lettered": -letter.readings, "messages": -1})
