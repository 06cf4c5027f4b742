"""A period that is entered or ended late: what is stored of that time is judged as if it had been known in time."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, bindparam, or_, select, update
from sqlalchemy.orm import Session

from server.db.base import micros
from server.errors import Problem
from server.telemetry.counting import raise_counters
from server.telemetry.judging_notes import ask
from server.telemetry.models import StoredReading
from server.telemetry.registry import PERIODS, Registry, load_periods
from server.telemetry.staleness import SPANS, spans_of

READINGS_LIMIT = 500_000
"""Most stored readings that one period may touch."""
_TABLE = cast(Table, StoredReading.__table__)
_KEY = ("at", "sensor_id", "factor", "kind")


def revalidate(session: Session, sensor_id: str, since: datetime, until: datetime | None) -> int:
    """Judge a sensor's stored readings from `since` up to `until` (not included) by its periods as they are now.

    Their aggregates become stale and rules look at them again. Returns how many readings changed.

    Raises:
        Problem: `limit-exceeded`.
    """
    table = StoredReading
    mine = [table.sensor_id == sensor_id, table.at >= since, or_(table.valid, table.reason.in_(list(PERIODS.values())))]
    if until is not None:
        mine.append(table.at < until)
    query = select(table.at, table.factor, table.kind, table.reason).where(*mine).limit(READINGS_LIMIT + 1)
    rows = session.execute(query).all()
    if len(rows) > READINGS_LIMIT:
        raise Problem("limit-exceeded", field="starts_at", limit=READINGS_LIMIT, detail="enter shorter periods")
    periods = load_periods(session, [sensor_id]).get(sensor_id, ())
    changed: list[dict[str, Any]] = []
    balance = 0
    for at, factor, kind, reason in rows:
        now = next((why for why, begins, ends in periods if begins <= micros(at) < ends), None)
        if now != reason:
            balance += (now is None) - (reason is None)
            key = {"key_at": at, "key_sensor_id": sensor_id, "key_factor": factor, "key_kind": kind}
            changed.append(key | {"new_valid": now is None, "new_reason": now})
    if not changed:
        return 0
    columns = _TABLE.c
    statement = update(_TABLE).where(*(columns[name] == bindparam(f"key_{name}") for name in _KEY))
    values = {name: bindparam(f"new_{name}", type_=columns[name].type) for name in ("valid", "reason")}
    session.connection().execute(statement.values(values), changed)
    SPANS.append(session, spans_of(sensor_id, [micros(item["key_at"]) for item in changed]))
    raise_counters(session, {"valid": balance, "invalid": -balance})
    _ask_rules(session, sensor_id, {item["key_factor"] for item in changed}, [item["key_at"] for item in changed])
    return len(changed)


def _ask_rules(session: Session, sensor_id: str, factors: set[str], times: list[datetime]) -> None:
    """Have the rules that look at arriving means look again; the others follow the aggregates."""
    registry = Registry()
    registry.refresh(session)
    sensor = registry.sensors(session, [sensor_id])[sensor_id]
    for factor in sorted(factors):
        for rule in registry.rules_for(sensor, factor):
            ask(session, rule.id, sensor_id, min(times), max(times) + rule.step)
