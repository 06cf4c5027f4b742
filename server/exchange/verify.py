"""Checking that behaviors and the proof log say the same: every version has its leaf, and every leaf its version."""

import hashlib
import json
from collections.abc import Iterable, Sequence

from sqlalchemy import String, cast, select, tuple_
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior
from server.behaviors.service import leaf_members
from server.exchange.feed import KIND
from server.prooflog.models import Leaf, PendingLeaf

CHUNK = 500
"""Behavior versions read at a time."""
MAX_FINDINGS = 100


def verify_behaviors(session: Session) -> tuple[int, list[str]]:
    """Compare every behavior version with its leaf, and every leaf with its behavior; run it in a read session.

    Returns:
        How many versions were checked, and at most :data:`MAX_FINDINGS` sentences on what is wrong.
    """
    findings: list[str] = []
    checked, previous, last = 0, b"", ("", 0)
    for rows in _chunks(session):
        logged = _leaves_of(session, rows)
        for row in rows:
            checked += 1
            before = hashlib.sha256(b"\x00" + previous).hexdigest() if last == (row.id, row.version - 1) else None
            fault = _fault(row, logged.get(f"{row.id}:{row.version}", []), before)
            if fault:
                findings.append(f"behavior {row.id} version {row.version}: {fault}")
            previous, last = row.leaf, (row.id, row.version)
        session.expunge_all()
        if len(findings) >= MAX_FINDINGS:
            break
    findings += _orphans(session)
    return checked, findings[:MAX_FINDINGS]


def _fault(row: Behavior, logged: Sequence[bytes], before: str | None) -> str | None:
    """What is wrong with one version: `before` is the leaf hash of the version it continues."""
    expected = leaf_members(row.id, row.version, row.line, row.personal, before)
    if logged != [row.leaf]:
        return "the log does not hold its leaf" if row.leaf not in logged else "the log holds more than one leaf of it"
    committed = json.loads(row.leaf)
    if row.erased_by is not None and row.personal is None:
        committed.pop("personal", None)
    if committed != expected:
        return "its leaf does not commit to its content and the version before it"
    return None


def _chunks(session: Session) -> Iterable[list[Behavior]]:
    after = ("", 0)
    while True:
        query = select(Behavior).where(tuple_(Behavior.id, Behavior.version) > tuple_(*after))
        rows = list(session.execute(query.order_by(Behavior.id, Behavior.version).limit(CHUNK)).scalars())
        if not rows:
            return
        after = (rows[-1].id, rows[-1].version)
        yield rows


def _leaves_of(session: Session, rows: Sequence[Behavior]) -> dict[str, list[bytes]]:
    """The leaves of some versions, appended or still waiting."""
    refs = [f"{row.id}:{row.version}" for row in rows]
    found: dict[str, list[bytes]] = {}
    for table in (Leaf, PendingLeaf):
        query = select(table.ref, table.data).where(table.kind == KIND, table.ref.in_(refs))
        for ref, data in session.execute(query):
            found.setdefault(ref, []).append(data)
    return found


def _orphans(session: Session) -> list[str]:
    """Leaves whose behavior is not there."""
    known = Behavior.id + ":" + cast(Behavior.version, String)
    query = select(Leaf.index, Leaf.ref).where(Leaf.kind == KIND, Leaf.ref.not_in(select(known)))
    return [
        f"leaf {index}: its behavior {ref} is not there" for index, ref in session.execute(query.limit(MAX_FINDINGS))
    ]
