"""Acts that were damaged on the way: their headers came whole and chain, but a part does not match its commitment.

Such an act is quarantined, so that nothing waits behind it. A header commits to exactly one content, so a device that
still has it may push the act again: the whole parts take the place of the damaged ones, and the act is judged anew. Its
first receipt stays; what becomes of it comes by status.
"""

from collections.abc import Sequence

from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session

from server.fieldsync.erased import named_key
from server.fieldsync.merging import release
from server.fieldsync.models import ErasedAct, ErasedRecord
from server.fieldsync.segment import LinkedAct, Segment
from server.records.batch import RecordBatch, advance_counter
from server.records.models import Act
from server.runtime import Runtime
from server.web.principal import Principal
from sync.acts import ActError, check_commitments, parse_header
from sync.merge import Verdict


def take_again(session: Session, rt: Runtime, caller: Principal, segment: Segment, head_seq: int) -> int:
    """Mend the quarantined acts of a segment whose content was damaged before and is whole now; returns how many.

    Acts beyond a gap (`head_seq` is before it) wait for another push, and erased records take no content any more.
    """
    sent = {act.seq: act for act in segment.acts if act.seq <= head_seq and _is_whole(act)}
    query = select(Act).where(
        Act.journal == segment.head.journal, Act.seq.between(segment.head.first, min(segment.head.last, head_seq)),
        Act.status == Verdict.QUARANTINED,
    )  # fmt: skip
    damaged = [
        act for act in session.execute(query).scalars()
        if act.seq in sent and (act.body, act.personal) != (sent[act.seq].parts.body, sent[act.seq].parts.personal)
    ]  # fmt: skip
    if not damaged:
        return 0
    RecordBatch(session, rt).load({named_key(sent[act.seq]) for act in damaged})  # an erasure comes before or after
    again = [act for act in damaged if not _erased(session, act)]
    for act in again:
        act.body, act.personal = sent[act.seq].parts.body, sent[act.seq].parts.personal
        act.status, act.problem, act.waiting_for = Verdict.HELD, None, f"{act.journal}:{act.seq}"
    session.flush()
    release(session, rt, caller, [f"{act.journal}:{act.seq}" for act in again])
    _tell_of_waiting(session, again)
    return len(again)


def _tell_of_waiting(session: Session, acts: Sequence[Act]) -> None:
    """Give those that wait for something else now a place of their own: the device takes them for quarantined."""
    held = (tuple_(Act.journal, Act.seq).in_([(act.journal, act.seq) for act in acts]), Act.status == Verdict.HELD)
    if session.execute(select(Act.seq).where(*held)).first():
        session.execute(update(Act).where(*held).values(status_position=advance_counter(session, 1)))


def _erased(session: Session, act: Act) -> bool:
    """Whether the act, or its whole record, was lawfully erased: what was destroyed does not come back."""
    key, dot = (act.kind, act.record), (act.journal, act.seq)
    return session.get(ErasedRecord, key) is not None or session.get(ErasedAct, dot) is not None


def _is_whole(act: LinkedAct) -> bool:
    try:
        check_commitments(act.header or parse_header(act.members), act.parts)
    except ActError:
        return False
    return True
