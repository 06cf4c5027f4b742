"""Whom officers must keep away from (回避): listing, entering one by one or from a table, ending."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.entities.models import Entity
from server.errors import Problem
from server.officers.models import Officer, OfficerAvoidance
from server.officers.service import add_avoidance
from server.registers.importing import CHUNK_ROWS, numbered_chunks
from server.registers.report import ImportReport
from server.registers.tables import Row
from server.runtime import Runtime
from server.web.principal import Principal
from server.web.scope import sees

MAX_REASON_CHARS = 1_000
COLUMNS = ("officer", "other", "reason")


@dataclass(frozen=True)
class Avoided:
    """Whom an officer keeps away from."""

    other: str
    """Id of the entity or officer."""
    kind: str
    """entity or officer; empty if there is no such row any more."""
    code: str
    """Unified social credit code or certificate number."""
    name: str
    reason: str
    author: str
    at: datetime


def list_avoidances(session: Session, officer: Officer) -> list[Avoided]:
    """Return whom an officer must keep away from, oldest first."""
    query = (
        select(OfficerAvoidance, Entity.uscc, Entity.name, Officer.certificate_number, Officer.name)
        .outerjoin(Entity, Entity.id == OfficerAvoidance.other)
        .outerjoin(Officer, Officer.id == OfficerAvoidance.other)
        .where(OfficerAvoidance.officer == officer.id)
        .order_by(OfficerAvoidance.at, OfficerAvoidance.other)
    )
    found = []
    for row, uscc, firm, number, person in session.execute(query):
        kind = "entity" if uscc else "officer" if number else ""
        code, name = uscc or number or "", firm or person or ""
        found.append(Avoided(row.other, kind, code, name, row.reason, row.author, row.at))
    return found


def find_other(session: Session, code: str) -> str:
    """Return the id of an entity or officer by code, certificate number or id.

    Raises:
        Problem: `invalid-field` naming what is known to neither register.
    """
    entity = select(Entity.id).where(or_(Entity.uscc == code, Entity.id == code))
    officer = select(Officer.id).where(or_(Officer.certificate_number == code, Officer.id == code))
    found = session.execute(entity).scalar() or session.execute(officer).scalar()
    if found is None:
        raise Problem("invalid-field", field="other", detail=f"no entity or officer {code} is known")
    return str(found)


def end_avoidance(session: Session, rt: Runtime, officer: Officer, other: str, *, author: str, reason: str) -> None:
    """Let an officer meet an entity or officer again; the trail keeps that it was otherwise.

    Raises:
        Problem: `not-found`.
    """
    row = session.get(OfficerAvoidance, (officer.id, other))
    if row is None:
        raise Problem("not-found", detail="the officer need not keep away from this one")
    session.delete(row)
    detail = {"other": other, "reason": reason, "fields": {"avoidance": [other, None]}}
    record_event(
        session, rt, author, "officer.meet", "officer", officer.id, detail,
        region=officer.region, department=officer.department,
    )  # fmt: skip


def import_avoidances(
    rt: Runtime, opened: Callable[[], AbstractContextManager[Session]], rows: Iterator[Row | Problem], *,
    caller: Principal, dry_run: bool = False,
) -> ImportReport:  # fmt: skip
    """Import rows of certificate number, code or certificate number of the other, and reason; tells of each row.

    Raises:
        Problem: as `server.registers.importing.import_rows`.
    """
    report = ImportReport(dry_run)
    for chunk in numbered_chunks(rows, report, CHUNK_ROWS):
        with opened() as session:
            for number, row in chunk:
                try:
                    known = _take(session, rt, row, caller=caller, dry_run=dry_run)
                except Problem as problem:
                    report.refuse(number, problem.field or "row", problem.detail)
                    continue
                report.unchanged += known
                report.entered += not known
    return report


def _take(session: Session, rt: Runtime, row: Row | Problem, *, caller: Principal, dry_run: bool) -> bool:
    """Enter one row; returns whether it was known already."""
    if isinstance(row, Problem):
        raise row
    for name in COLUMNS:
        if not isinstance(row.get(name), str) or not 0 < len(row[name]) <= MAX_REASON_CHARS:
            raise Problem("invalid-field", field=name, detail="is missing or too long", limit=MAX_REASON_CHARS)
    query = select(Officer).where(Officer.certificate_number == row["officer"])
    officer = session.execute(query).scalar_one_or_none()
    if officer is None or not sees(caller, officer.region, officer.department):
        raise Problem(
            "invalid-field", field="officer", detail=f"no officer with the certificate {row['officer']} is known"
        )
    other = find_other(session, row["other"])
    if officer.id == other:
        raise Problem("conflict", field="other", detail="an officer cannot keep away from themself")
    known = session.get(OfficerAvoidance, (officer.id, other)) is not None
    if not known and not dry_run:
        add_avoidance(session, rt, officer.id, other, author=caller.subject, reason=row["reason"])
    return known
