"""From kinds to domains: which service keeps up with which synced kind. The dict below is the whole list."""

from collections.abc import Callable, Sequence

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.evidence import service as evidence
from server.fieldsync.models import ActRuling
from server.inspections import projections as inspections
from server.inspections.rectifying import follow_rectifications
from server.records.batch import RecordBatch
from server.records.held import Changed, Key
from server.records.models import Act
from server.runtime import Runtime
from sync.dots import Dot
from sync.policies import is_deleted
from sync.registers import DELETED

Handler = Callable[[Session, Runtime, Sequence[Changed]], None]


def _declare_evidence(session: Session, rt: Runtime, changed: Sequence[Changed]) -> None:
    acts = _telling_acts(session, changed)
    for record in changed:
        act = acts.get(record.id)
        if act is None:
            continue
        device = act.device or _device_of_mended(session, act)
        if is_deleted(record.served.state):
            evidence.withdraw(session, rt, record.id, device=act.device, act_hash=act.hash)
        elif device is not None:
            evidence.declare(
                session,
                rt,
                record.id,
                inspections.read_fields("evidence", record.served.state),
                device=device,
                act_hash=act.hash,
                region=record.placement.region,
                department=record.placement.department,
            )


def _device_of_mended(session: Session, act: Act) -> str | None:
    """The device that holds the file which an act of the office declares in place of a mended one."""
    mended = select(Act.device).join(ActRuling, (ActRuling.journal == Act.journal) & (ActRuling.seq == Act.seq))
    return session.execute(mended.where(ActRuling.mended_by == f"{act.journal}:{act.seq}")).scalar_one_or_none()


def _telling_acts(session: Session, changed: Sequence[Changed]) -> dict[str, Act]:
    """Return for each evidence record the act that declared its hash, or that deleted it."""
    dots = {}
    for record in changed:
        values = (
            record.served.state.live(DELETED) if is_deleted(record.served.state) else record.served.state.live("sha256")
        )
        if values:
            dots[record.id] = min(values, key=lambda entry: (entry.at_ms, entry.dot)).dot
    wanted = sorted(set(dots.values()))
    found: dict[Dot, Act] = {}
    for start in range(0, len(wanted), IN_LIST_LIMIT):
        chunk = wanted[start : start + IN_LIST_LIMIT]
        rows = session.execute(select(Act).where(tuple_(Act.journal, Act.seq).in_(chunk))).scalars()
        found |= {Dot(act.journal, act.seq): act for act in rows}
    return {record: found[dot] for record, dot in dots.items() if dot in found}


def _follow_tasks(session: Session, rt: Runtime, changed: Sequence[Changed]) -> None:
    inspections.follow_tasks(session, rt, changed)


def _follow_inspections(session: Session, rt: Runtime, changed: Sequence[Changed]) -> None:
    inspections.follow_inspections(session, rt, changed)


def _follow_orders(session: Session, rt: Runtime, changed: Sequence[Changed]) -> None:
    follow_rectifications(session, rt, changed)


def _follow_parts(session: Session, rt: Runtime, changed: Sequence[Changed]) -> None:
    inspections.touch(session, rt, {record.placement.parent for record in changed if record.placement.parent})


HANDLERS: dict[str, tuple[Handler, ...]] = {
    "task": (_follow_tasks,),
    "inspection": (_follow_inspections,),
    "answer": (_follow_parts,),
    "evidence": (_declare_evidence, _follow_parts),
    "rectification": (_follow_orders, _follow_parts),
}


def project(session: Session, rt: Runtime, keys: Sequence[Key], batch: RecordBatch) -> None:
    """Let the domains follow what a batch changed, in its transaction; the batch has been flushed."""
    by_kind: dict[str, list[Changed]] = {}
    for kind, record_id in keys:
        held = batch.records[kind, record_id]
        changed = Changed(record_id, held.placement, held.served, not held.known, held.touched)
        by_kind.setdefault(kind, []).append(changed)
    for kind, changes in by_kind.items():
        for handler in HANDLERS.get(kind, ()):
            handler(session, rt, changes)


def project_office(session: Session, rt: Runtime, keys: Sequence[Key]) -> None:
    """Let the domains follow what an office act changed, in its transaction."""
    session.flush()
    batch = RecordBatch(session, rt)
    batch.load(keys)
    project(session, rt, keys, batch)
