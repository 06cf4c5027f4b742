"""Certificates as they were: which one an officer had at the time of a visit, told from the trail of changes.

A certificate that is renewed, or whose scope changes, says nothing of the visits before: an expired officer's visit
does not become good by a later renewal, nor a good one bad by what was taken away since.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas import field_rules
from server.audit.models import AuditEvent
from server.officers.models import Officer

FIELDS = ("certificate_valid_from", "certificate_valid_until", "scope")


@dataclass(frozen=True)
class Certificate:
    """What a register said of an officer's certificate until it was changed; None: it says so now."""

    valid_from: datetime | None
    valid_until: datetime
    scope: tuple[str, ...]
    until: datetime | None = None

    def fault(self, at: datetime, sector: str) -> str | None:
        """Return why it does not cover an instant and a sector (empty: any), or None."""
        return field_rules.certificate_fault(self.valid_from, self.valid_until, self.scope, at, sector)


def certificates_since(
    session: Session, officers: Mapping[str, Officer], since: datetime
) -> dict[str, list[Certificate]]:
    """Return by officer the certificates that the register has told of since an instant, the present one first."""
    told = {one.id: [_present(one)] for one in officers.values()}
    changed = [one.id for one in officers.values() if one.revision > 1]
    if not changed:
        return told
    query = select(AuditEvent).where(
        AuditEvent.subject_kind == "officer", AuditEvent.subject_id.in_(changed), AuditEvent.at > since,
        AuditEvent.fields != "",
    )  # fmt: skip
    for event in session.execute(query.order_by(AuditEvent.id.desc())).scalars():
        before = {name: pair[0] for name, pair in event.detail["fields"].items() if name in FIELDS}
        if before:
            told[event.subject_id].append(_former(told[event.subject_id][-1], before, event.at))
    return told


def fault_at(certificates: Sequence[Certificate], at: datetime, sector: str) -> str | None:
    """Return why an officer could not act at an instant by what stood in the register then, or None.

    Args:
        certificates: as :func:`certificates_since` returns them.
        at: the instant.
        sector: code of the table `sector`; empty: any.
    """
    then = next(one for one in reversed(certificates) if one.until is None or at < one.until)
    return then.fault(at, sector)


def _present(officer: Officer) -> Certificate:
    return Certificate(officer.certificate_valid_from, officer.certificate_valid_until, tuple(officer.scope or ()))


def _former(later: Certificate, before: Mapping[str, Any], until: datetime) -> Certificate:
    """The certificate that a change has put an end to."""
    begins, ends = (before.get(name, "") for name in FIELDS[:2])
    return Certificate(
        datetime.fromisoformat(begins) if begins else later.valid_from,
        datetime.fromisoformat(ends) if ends else later.valid_until,
        tuple(before.get("scope") or ()) if "scope" in before else later.scope,
        until,
    )
