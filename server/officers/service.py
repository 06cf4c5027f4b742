"""Keeping officers, and finding those who may act."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.errors import Problem
from server.officers.fitness import Avoidances
from server.officers.models import LONG_AGO, Officer, OfficerAvoidance
from server.records.lines import Placement
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from server.web.auth import region_prefix


def add_officers(session: Session, rt: Runtime, officers: list[Officer], *, author: str) -> None:
    """Enter officers and publish them to the handhelds of their department and region."""
    session.add_all(officers)
    changes = [
        OfficeChange(
            "officer",
            officer.id,
            record_fields(officer),
            author,
            Placement(officer.region, officer.department),
        )
        for officer in officers
    ]
    office_write_many(session, rt, changes)


def record_fields(officer: Officer) -> dict[str, Any]:
    """Return an officer's synced record; a certificate without a beginning or a scope does not say so."""
    fields: dict[str, Any] = {
        "name": officer.name,
        "certificate_number": officer.certificate_number,
        "certificate_valid_until": officer.certificate_valid_until.isoformat(),
        "department": officer.department,
        "region": officer.region,
    }
    if officer.certificate_valid_from not in (None, LONG_AGO):
        fields["certificate_valid_from"] = officer.certificate_valid_from.isoformat()
    if officer.scope:
        fields["scope"] = list(officer.scope)
    return fields


def get_officers(session: Session, ids: Iterable[str]) -> dict[str, Officer]:
    """Return officers by id; unknown ids are left out."""
    rows = session.execute(select(Officer).where(Officer.id.in_(list(ids)))).scalars()
    return {officer.id: officer for officer in rows}


def get_officer(session: Session, officer_id: str) -> Officer:
    """Return one officer.

    Raises:
        Problem: `not-found`.
    """
    officer = session.get(Officer, officer_id)
    if officer is None:
        raise Problem("not-found", detail="no officer with this id")
    return officer


def officers_for(session: Session, region: str, department: str, on: datetime) -> list[Officer]:
    """Return the officers of a department whose region covers a place and whose certificate is valid at an instant.

    An officer of a county covers its townships, one of a city its counties, one of the province everything.
    """
    rows = session.execute(
        select(Officer)
        .where(
            Officer.department == department,
            Officer.certificate_valid_from <= on,
            Officer.certificate_valid_until >= on,
        )
        .order_by(Officer.id)
    ).scalars()
    return [officer for officer in rows if region.startswith(region_prefix(officer.region))]


def avoidances_of(session: Session, officers: Iterable[str]) -> Avoidances:
    """Return whom these officers must keep away from."""
    found: dict[str, frozenset[str]] = {}
    query = select(OfficerAvoidance.officer, OfficerAvoidance.other).where(OfficerAvoidance.officer.in_(list(officers)))
    for officer, other in session.execute(query):
        found[officer] = found.get(officer, frozenset()) | {other}
    return found


def add_avoidance(session: Session, rt: Runtime, officer: str, other: str, *, author: str, reason: str) -> None:
    """Note that an officer must keep away from an entity or from another officer.

    Raises:
        Problem: `not-found` for an unknown officer, `conflict` for an officer and themself.
    """
    get_officer(session, officer)
    if officer == other:
        raise Problem("conflict", field="other", detail="an officer cannot keep away from themself")
    if session.get(OfficerAvoidance, (officer, other)) is None:
        session.add(OfficerAvoidance(officer=officer, other=other, reason=reason, author=author, at=rt.now()))
        record_event(session, rt, author, "officer.avoid", "officer", officer, {"other": other, "reason": reason})
        session.flush()
