"""The journal that a segment continues: read and locked once by a push, begun where it is new, and moved on."""

from dataclasses import dataclass
from typing import cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from server.db.many_rows import insert_rows, update_rows
from server.db.prepared import Prepared
from server.errors import Problem
from server.fieldsync.models import Journal
from server.records.models import Act
from server.runtime import Runtime
from server.web.principal import Principal
from sync.journal import MAX_JOURNAL_GAP, SegmentHead

JOURNALS = cast(Table, Journal.__table__)
_COLUMNS = [JOURNALS.c[name] for name in ("id", "device", "head_seq", "head_hash", "parent", "parent_seq")]
_LOCK = Prepared(select(*_COLUMNS).where(JOURNALS.c.id == bindparam("journal")).with_for_update())


@dataclass
class PushedJournal:
    """A device's journal, as far as the server has it without a gap."""

    id: str
    device: str
    head_seq: int
    head_hash: str
    parent: str | None
    parent_seq: int | None

    def save(self, session: Session) -> None:
        """Write how far the server has it now."""
        update_rows(
            session, JOURNALS, ("id",), [{"id": self.id, "head_seq": self.head_seq, "head_hash": self.head_hash}]
        )


def lock_journal(session: Session, rt: Runtime, caller: Principal, head: SegmentHead) -> PushedJournal:
    """Return the journal that a segment continues, locked; one that is new begins here.

    Raises:
        Problem: `forbidden` for another device's; `invalid-field` where it is said to begin elsewhere than it does;
            `limit-exceeded` past the largest gap.
    """
    journal = _find(session, head.journal)
    if journal is None:
        journal = _begin(session, rt, caller, head)
    if journal.device != caller.subject:
        raise Problem("forbidden", field="journal", detail="this journal belongs to another device")
    began = (journal.parent, journal.parent_seq)
    if (head.parent and head.parent.journal, head.parent and head.parent.seq) != began:
        raise Problem("invalid-field", field="parent", detail="is not where this journal began to continue another one")
    if head.first > journal.head_seq + MAX_JOURNAL_GAP:
        raise Problem(
            "limit-exceeded", field="first", detail="too far beyond the journal's head", limit=MAX_JOURNAL_GAP
        )
    return journal


def _find(session: Session, journal_id: str) -> PushedJournal | None:
    row = _LOCK.row(session, {"journal": journal_id})
    return None if row is None else PushedJournal(*row)


def _begin(session: Session, rt: Runtime, caller: Principal, head: SegmentHead) -> PushedJournal:
    parent = head.parent
    if parent is not None:
        _check_parent(session, caller, parent.journal, parent.seq, parent.hash)
    began = (None, None) if parent is None else (parent.journal, parent.seq)
    journal = PushedJournal(head.journal, caller.subject, 0, "", *began)
    insert_rows(session, JOURNALS, [{**vars(journal), "started_at": rt.now()}])
    return journal


def _check_parent(session: Session, caller: Principal, journal_id: str, seq: int, act_hash: str) -> None:
    parent = session.get(Journal, journal_id)
    if parent is None or parent.device != caller.subject:
        raise Problem("invalid-field", field="parent.journal", detail="is no journal of this device")
    if seq:
        act = session.get(Act, (journal_id, seq))
        if act is None or act.hash != act_hash:
            raise Problem("invalid-field", field="parent.hash", detail="is no act of that journal")


def last_linked(session: Session, journal_id: str, seq: int, act_hash: str) -> tuple[int, str]:
    """Return number and hash of the last stored act that follows act `seq`, whose hash is given, without a gap."""
    beyond = select(Act.seq, Act.hash).where(Act.journal == journal_id, Act.seq > seq).order_by(Act.seq)
    for next_seq, next_hash in session.execute(beyond):
        if next_seq != seq + 1:
            break
        seq, act_hash = next_seq, next_hash
    return seq, act_hash
