"""Held acts that have waited too long: shown to people, and never decided by the timeout itself.

What such an act says about legal content becomes a conflict beside what its record says, so that somebody looks at it;
whatever they decide, the act stays held and is merged by the ordinary rules when its cause arrives after all.
"""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.fieldsync.history import read_act
from server.fieldsync.models import OverdueAct
from server.records.lines import decode_state, policies_of
from server.records.models import Act, Conflict, SyncedRecord
from server.runtime import Runtime
from sync.merge import Verdict
from sync.policies import Rule, canonical

BATCH = 200
"""Most acts looked at in one step; the write lock is not held for long."""


def surface_overdue(session: Session, rt: Runtime) -> int:
    """Worker step: note held acts that have waited too long, and drop those that wait no more; returns how many."""
    return _settle(session, rt) + _find(session, rt)


def _find(session: Session, rt: Runtime) -> int:
    noted = select(OverdueAct.seq).where(OverdueAct.journal == Act.journal, OverdueAct.seq == Act.seq).exists()
    horizon = rt.now() - timedelta(seconds=rt.settings.held_timeout_s)
    query = select(Act).where(Act.status == Verdict.HELD, Act.received_at < horizon, ~noted)
    acts = session.execute(query.order_by(Act.journal, Act.seq).limit(BATCH)).scalars().all()
    for act in acts:
        session.add(OverdueAct(journal=act.journal, seq=act.seq, overdue_at=rt.now()))
        _open_conflicts(session, rt, act)
    session.flush()
    return len(acts)


def _open_conflicts(session: Session, rt: Runtime, act: Act) -> None:
    """One for each manual field of the act that its record does not say the same about."""
    record = session.get(SyncedRecord, (act.kind, act.record))
    if record is None:
        return  # there is nothing beside which it could stand
    policies, state = policies_of(record.kind), decode_state(record.line)
    for name, value in sorted(read_act(act)["fields"].items()):
        agreed = {canonical(entry.value) for entry in state.live(name)} == {canonical(value)}
        if name in policies and policies[name].rule is Rule.MANUAL and not agreed:
            session.add(
                Conflict(
                    id=rt.new_id(), kind=act.kind, record=act.record, field=name, region=record.region,
                    department=record.department, opened_at=rt.now(), status="open", held=f"{act.journal}:{act.seq}",
                )
            )  # fmt: skip


def _settle(session: Session, rt: Runtime) -> int:
    """Acts that wait no more: their conflicts dissolve; what they contradict, merging has found out by itself."""
    query = (
        select(OverdueAct)
        .join(Act, (Act.journal == OverdueAct.journal) & (Act.seq == OverdueAct.seq))
        .where(Act.status != Verdict.HELD)
        .limit(BATCH)
    )
    rows: Sequence[OverdueAct] = session.execute(query).scalars().all()
    for row in rows:
        held = select(Conflict).where(Conflict.held == f"{row.journal}:{row.seq}", Conflict.status == "open")
        for conflict in session.execute(held).scalars():
            conflict.status, conflict.ended_at = "dissolved", rt.now()
        session.delete(row)
    session.flush()
    return len(rows)
