"""Taking in a pushed segment: idempotent, whole, in one transaction; each act gets its verdict, stored as a receipt."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, cast

from sqlalchemy import Table, bindparam, select
from sqlalchemy.orm import Session

from server.db.many_rows import insert_rows
from server.db.prepared import Prepared
from server.devices import clocks
from server.devices.pushing import lock_for_push
from server.devices.standing import revoked_problem
from server.errors import Problem
from server.fieldsync.checks import CheckedAct
from server.fieldsync.damaged import take_again
from server.fieldsync.intake import Intake, take_in
from server.fieldsync.journals import PushedJournal, last_linked, lock_journal
from server.fieldsync.models import SegmentSignature
from server.fieldsync.segment import LinkedAct, Segment
from server.prooflog.service import enqueue
from server.records.batch import RecordBatch
from server.records.models import Act
from server.records.service import epoch_and_erasures
from server.runtime import Runtime
from server.web.body import parse_json
from server.web.principal import Principal
from sync.acts import encode
from sync.clocks import Correction, Exchange
from sync.ids import is_id

SIGNATURES = cast(Table, SegmentSignature.__table__)
_STORED = Prepared(
    select(Act.seq, Act.hash, Act.header, Act.receipt).where(
        Act.journal == bindparam("of"), Act.seq.between(bindparam("first"), bindparam("last"))
    )
)


def push(
    session: Session, rt: Runtime, caller: Principal, segment: Segment, content: Mapping[int, CheckedAct | Problem], *,
    exchange: Exchange | None = None, pending: tuple[int, int] | None = None,
) -> list[bytes]:  # fmt: skip
    """Take in a segment and return the lines of the reply: the journal's head, then one receipt per act.

    Args:
        session: the write session.
        rt: the runtime.
        caller: the device.
        segment: the segment, its frame, chain and signature verified.
        content: what :func:`server.fieldsync.checks.check_acts` found in it.
        exchange: what the device knows of the server's time.
        pending: acts and files that the device has still to hand in after this segment.

    Raises:
        Problem: `unauthenticated` if the device was revoked meanwhile; `journal-fork` naming the last common act;
            `limit-exceeded` past the largest gap.
    """
    head = segment.head
    device = lock_for_push(session, caller)
    journal = lock_journal(session, rt, caller, segment.head)
    epoch, _ = epoch_and_erasures(session)
    stored = _stored(session, head.journal, head.first - 1, head.last + 1)
    _refuse_forks(journal, segment, stored)
    fresh = [act for act in segment.acts if act.seq not in stored]
    receipts = {seq: act.receipt for seq, act in stored.items()}
    if len(fresh) < len(segment.acts) and device.revoked_at is None:
        take_again(session, rt, caller, segment, journal.head_seq)
    if fresh:
        if device.revoked_at is not None:
            device.seal(len(fresh))
            content = {act.seq: _sealed(content[act.seq]) for act in segment.acts}
        corrected = clocks.corrections(session, rt, device, head.reading, _boots(fresh), exchange)
        work = Intake(
            session, rt, caller, RecordBatch(session, rt), segment=segment, content=content, epoch=epoch,
            followed=head.last + 1 in stored,
            clocks=corrected,
        )  # fmt: skip
        receipts |= take_in(work, fresh, journal.head_seq)
        _advance(work, journal, segment, corrected)
    device.last_seen_at = device.last_sync_at = rt.now()
    if pending is not None:
        device.pending_acts, device.pending_files = pending
    else:
        device.pending_acts = max(head.last - journal.head_seq, 0)
    device.save(session)
    reply = {
        "epoch": epoch,
        "journal": head.journal,
        "head_seq": journal.head_seq,
        "head": journal.head_hash,
    }
    return [encode(reply), *(receipts[act.seq] for act in segment.acts)]


class Stored(NamedTuple):
    """What telling forks and repeating receipts needs of an act that is there already."""

    seq: int
    hash: str
    header: bytes
    receipt: bytes


def _stored(session: Session, journal: str, first: int, last: int) -> dict[int, Stored]:
    rows = map(Stored._make, _STORED.rows(session, {"of": journal, "first": first, "last": last}))
    return {row.seq: row for row in rows}


def _refuse_forks(journal: PushedJournal, segment: Segment, stored: dict[int, Stored]) -> None:
    """Compare the segment with what the server has of the journal, at both ends and everywhere between."""
    common = min(journal.head_seq, segment.head.first - 1)
    before = stored.get(segment.head.first - 1)
    forked = before is not None and segment.acts[0].prev != before.hash
    if forked:
        common = max(common - 1, 0)
    for act in segment.acts:
        known = stored.get(act.seq)
        if known is not None and known.hash != act.hash:
            forked = True
            break
        if known is not None and act.seq <= journal.head_seq:
            common = act.seq
    after = stored.get(segment.head.last + 1)
    if after is not None and not forked:
        forked = parse_json(after.header)["prev"] != segment.head.head
    if forked:
        raise Problem(
            "journal-fork",
            detail="the server has other acts under these numbers; continue in a new journal with this parent",
            last_common_seq=common,
        )


def _sealed(found: CheckedAct | Problem) -> Problem:
    """What is said of an act of a revoked device: that it was damaged on the way, else that it came too late."""
    return found if isinstance(found, Problem) and found.field in ("body", "personal") else revoked_problem()


def _boots(acts: Iterable[LinkedAct]) -> set[str]:
    """Return the boots in which acts were written, as far as their unchecked headers name any."""
    return {boot for boot in {str(act.members.get("boot")) for act in acts} if is_id(boot)}


def _advance(work: Intake, journal: PushedJournal, segment: Segment, corrected: Mapping[str, Correction]) -> None:
    """Move the journal's head over everything that is now there without a gap, and prove it to the log."""
    session, rt, head = work.session, work.rt, segment.head
    if head.first <= journal.head_seq + 1 and head.last > journal.head_seq:
        journal.head_seq, journal.head_hash = head.last, head.head
        if work.followed:
            journal.head_seq, journal.head_hash = last_linked(session, journal.id, head.last, head.head)
        journal.save(session)
        leaf = encode({"journal": journal.id, "seq": journal.head_seq, "head": journal.head_hash})
        enqueue(session, rt, "journal-head", f"{journal.id}:{journal.head_seq}", leaf)
    signed = {
        "journal": journal.id,
        "first": head.first,
        "last": head.last,
        "statement": head.statement().decode(),
        "signature": head.signature,
        "received_at": rt.now(),
        "clocks": clocks.to_members(corrected),
    }
    insert_rows(session, SIGNATURES, [signed])
