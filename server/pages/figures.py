"""The overview's figures: one stage after the other, from a sensor's reading to a leaf of the proof log."""

from datetime import datetime

from sqlalchemy import String, case, cast, func, select
from sqlalchemy.orm import Session

from server.evidence.models import DECLARED, REJECTED, VERIFIED, Evidence
from server.inspections.models import Inspection, Task
from server.leads.lifecycle import GENERATED, IN_THE_FIELD
from server.leads.models import Lead
from server.pages import recorded
from server.pages.overview_values import Count, Part, TreeHead
from server.telemetry.letters import REPLAYED
from server.telemetry.models import DeadLetter, Sensor, StoredReading
from server.telemetry.service import counters
from server.web.principal import Principal
from server.web.scope import in_scope

OPEN_LEADS = (GENERATED, *IN_THE_FIELD)
"""Statuses of a lead that still waits for an officer's finding."""
PROVINCE = "42"
SCOPED_READINGS_LIMIT = 200_000
"""Most readings that are counted one by one for a narrower scope; the province's own totals are kept as counters."""
NO_FLAGS = "[]"


def all_counts(session: Session, caller: Principal, today: datetime, head: TreeHead | None) -> tuple[Count, ...]:
    """Return the figures of every stage; `today` is the instant at which the day began in Beijing."""
    return (
        readings(session, caller),
        leads(session, caller),
        tasks(session, caller),
        inspections(session, caller, today),
        evidence(session, caller),
        recorded.behaviors(session, caller, today),
        recorded.proof(head),
    )


def readings(session: Session, caller: Principal) -> Count:
    """Readings stored, those among them that are invalid, and what went to the dead letters."""
    if PROVINCE.startswith(caller.region) and not caller.department:
        totals = counters(session)
        valid, invalid, dead = totals["valid"], totals["invalid"], totals["dead_lettered"]
    else:
        valid, invalid, dead = _scoped_readings(session, caller)
    parts = (Part("invalid", invalid, "warn"), Part("dead_lettered", dead, "alarm"))
    return Count("readings", "stored", valid + invalid, parts)


def _scoped_readings(session: Session, caller: Principal) -> tuple[int, int, int]:
    sensors = select(Sensor.id).where(in_scope(caller, Sensor.region, Sensor.department)).scalar_subquery()
    some = select(StoredReading.valid).where(StoredReading.sensor_id.in_(sensors)).limit(SCOPED_READINGS_LIMIT)
    counted = some.subquery()
    by_validity = select(counted.c.valid, func.count()).group_by(counted.c.valid)
    totals: dict[bool, int] = dict(session.execute(by_validity).all())
    dead = session.execute(
        select(func.coalesce(func.sum(DeadLetter.readings), 0)).where(
            DeadLetter.sensor_id.in_(sensors),
            DeadLetter.status != REPLAYED,  # stands for no reading any more
        )
    ).scalar_one()
    return totals.get(True, 0), totals.get(False, 0), int(dead)


def leads(session: Session, caller: Principal) -> Count:
    """Leads that wait for an officer's finding, and all there ever were."""
    waiting = func.coalesce(func.sum(case((Lead.status.in_(OPEN_LEADS), 1), else_=0)), 0)
    query = select(waiting, func.count()).where(in_scope(caller, Lead.region, Lead.department))
    still_open, total = session.execute(query).one()
    return Count("leads", "open", still_open, (Part("total", total),))


def tasks(session: Session, caller: Principal) -> Count:
    """Tasks not done yet, and those done."""
    query = select(Task.status, func.count()).where(in_scope(caller, Task.region, Task.department))
    by_status = dict(session.execute(query.group_by(Task.status)).all())
    done = by_status.pop("done", 0)
    return Count("tasks", "open", sum(by_status.values()), (Part("done", done, "good"),))


def inspections(session: Session, caller: Principal, today: datetime) -> Count:
    """Inspections that came in today, those not closed yet, and those closed."""
    recent = func.coalesce(func.sum(case((Inspection.submitted_at >= today, 1), else_=0)), 0)
    query = select(Inspection.status, func.count(), recent).where(
        in_scope(caller, Inspection.region, Inspection.department)
    )
    rows = session.execute(query.group_by(Inspection.status)).all()
    closed = sum(count for status, count, _ in rows if status == "closed")
    still_open = sum(count for status, count, _ in rows) - closed
    parts = (Part("in_progress", still_open), Part("closed", closed, "good"))
    return Count("inspections", "today", sum(recent for _, _, recent in rows), parts)


def evidence(session: Session, caller: Principal) -> Count:
    """Evidence whose bytes are verified, what is still on its way, what is not what it claims, and what is flagged."""
    flagged = func.coalesce(func.sum(case((cast(Evidence.flags, String) != NO_FLAGS, 1), else_=0)), 0)
    query = select(Evidence.status, func.count(), flagged).where(
        in_scope(caller, Evidence.region, Evidence.department), Evidence.withdrawn_at.is_(None)
    )
    rows = session.execute(query.group_by(Evidence.status)).all()
    by_status = {status: count for status, count, _ in rows}
    parts = (
        Part("waiting", by_status.get(DECLARED, 0), "warn"),
        Part("flagged", sum(flagged for _, _, flagged in rows), "warn"),
        Part("rejected", by_status.get(REJECTED, 0), "alarm"),
    )
    shown = tuple(part for part in parts if part.value or part.key == "waiting")
    return Count("evidence", "verified", by_status.get(VERIFIED, 0), shown)
