"""Keeping officers, and finding those who may act."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import record_entries, record_event
from server.errors import Problem
from server.officers.fitness import Avoidances
from server.officers.models import LONG_AGO, Officer, OfficerAvoidance
from server.records.lines import Placement
from server.records.placing import Move, move_records
from server.records.service import OfficeChange, office_write_many
from server.registers.search import name_words, region_words
from server.registers.service import INDEX
from server.runtime import Runtime
from server.web.principal import region_prefix

ENTERED = "初始录入 / entered with the platform"


def add_officers(session: Session, rt: Runtime, officers: list[Officer], *, author: str) -> None:
    """Enter officers, index them, and publish them to the handhelds of their department and region."""
    session.add_all(officers)
    session.flush()
    words = [
        (one.id, region_words(one.region) | name_words(one.name) | name_words(one.certificate_number))
        for one in officers
    ]
    INDEX.add(session, [(officer, {"kofficer"} | found) for officer, found in words])
    publish_officers(session, rt, officers, author=author)
    record_entries(session, rt, author, "officer", [(one.id, one.region, one.department) for one in officers], ENTERED)


def publish_officers(session: Session, rt: Runtime, officers: Sequence[Officer], *, author: str) -> None:
    """Bring officers' synced records up to their rows; who moves to another region or department leaves the former."""
    entered = {officer.id for officer in officers if officer.revision == 1}
    changes = []
    for one in officers:
        place = Placement(one.region, one.department) if one.id in entered else None
        changes.append(OfficeChange("officer", one.id, record_fields(one), author, place))
    office_write_many(session, rt, changes)
    moves = [
        Move("officer", one.id, Placement(one.region, one.department)) for one in officers if one.id not in entered
    ]
    if moves:
        move_records(session, rt, moves)


def record_fields(officer: Officer) -> dict[str, Any]:
    """Return an officer's synced record; a certificate without a beginning or a scope does not say so."""
    fields: dict[str, Any] = {
        "name": officer.name,
        "certificate_number": officer.certificate_number,
        "certificate_valid_until": officer.certificate_valid_until.isoformat(),
        "department": officer.department,
        "region": officer.region,
    }
    if officer.certificate_valid_from not in (None, LONG_AGO) or officer.revision not in (None, 1):
        fields["certificate_valid_from"] = officer.certificate_valid_from.isoformat()
    if officer.scope or officer.revision not in (None, 1):
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
    known = get_officer(session, officer)
    if officer == other:
        raise Problem("conflict", field="other", detail="an officer cannot keep away from themself")
    if session.get(OfficerAvoidance, (officer, other)) is None:
        session.add(OfficerAvoidance(officer=officer, other=other, reason=reason, author=author, at=rt.now()))
        detail = {"other": other, "reason": reason, "fields": {"avoidance": [None, other]}}
        record_event(
            session, rt, author, "officer.avoid", "officer", officer, detail,
            region=known.region, department=known.department,
        )  # fmt: skip
        session.flush()
