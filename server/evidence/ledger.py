"""The chain of custody in the database: appending to it and checking it."""

from typing import Any, Protocol, cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from server.db.many_rows import insert_rows
from server.evidence.custody import Entry, Fault, check_chain, make_entry
from server.evidence.models import CustodyEntry, Evidence
from server.runtime import Runtime

SERVER = "server"
"""Actor of what the platform does by itself."""


class Chained(Protocol):
    """What of a record's row its chain needs."""

    id: Any
    custody_count: Any
    custody_head: Any


def lock_evidence(session: Session, evidence_id: str) -> Evidence | None:
    """Return an evidence row locked for change (PostgreSQL: row lock; SQLite has one writer anyway), or None."""
    query = select(Evidence).where(Evidence.id == evidence_id).with_for_update()
    return session.scalars(query, execution_options={"populate_existing": True}).one_or_none()


def add(rt: Runtime, evidence: Chained, action: str, *, actor: str, detail: dict[str, Any]) -> dict[str, Any]:
    """Make the next entry of the chain of a locked evidence row, and return the table's row; see :func:`append_rows`.

    Raises:
        ValueError: the action is not one of `custody.ACTIONS`.
    """
    entry = make_entry(
        evidence=evidence.id,
        seq=evidence.custody_count + 1,
        prev=evidence.custody_head,
        action=action,
        actor=actor,
        at=rt.now(),
        detail=detail,
    )
    evidence.custody_count, evidence.custody_head = entry.seq, entry.hash
    return {"evidence": evidence.id, "seq": entry.seq, "body": entry.body, "hash": entry.hash}


def append_rows(session: Session, rows: list[dict[str, Any]]) -> None:
    """Write entries made by :func:`add`, of any number of chains."""
    session.flush()  # a chain's record may be new
    insert_rows(session, cast(Table, CustodyEntry.__table__), rows)


def append(
    session: Session, rt: Runtime, evidence: Evidence, action: str, *, actor: str, detail: dict[str, Any]
) -> None:
    """Append one entry to the chain of a locked evidence row.

    Raises:
        ValueError: the action is not one of `custody.ACTIONS`.
    """
    append_rows(session, [add(rt, evidence, action, actor=actor, detail=detail)])


def entries_of(session: Session, evidence_id: str) -> list[Entry]:
    """Return a record's chain in order."""
    query = select(CustodyEntry).where(CustodyEntry.evidence == evidence_id).order_by(CustodyEntry.seq)
    return [Entry(row.seq, row.body, row.hash) for row in session.scalars(query)]


def check(session: Session, evidence: Evidence) -> list[Fault]:
    """Return the faults of a record's chain; none if it is intact."""
    entries = entries_of(session, evidence.id)
    return check_chain(evidence.id, entries, count=evidence.custody_count, head=evidence.custody_head)
