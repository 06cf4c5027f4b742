"""From kinds to domains: which service keeps up with which synced kind. The dict below is the whole list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from server.evidence import service as evidence
from server.inspections import projections as inspections
from server.records.batch import Key, RecordBatch
from server.records.lines import Placement
from server.runtime import Runtime
from sync.policies import is_deleted
from sync.registers import RecordState


@dataclass(frozen=True)
class Changed:
    """A record that a transaction changed."""

    id: str
    placement: Placement
    state: RecordState
    act_hash: str | None
    """Hash of the newest act on it in this transaction; None for acts that were held before."""


Handler = Callable[[Session, Runtime, Sequence[Changed], str | None], None]


def _declare_evidence(session: Session, rt: Runtime, changed: Sequence[Changed], device: str | None) -> None:
    for record in changed:
        act_hash = record.act_hash or ""
        if is_deleted(record.state):
            evidence.withdraw(session, rt, record.id, device=device, act_hash=act_hash)
            continue
        fields = inspections.read_fields("evidence", record.state)
        if device is not None:
            evidence.declare(
                session,
                rt,
                record.id,
                fields,
                device=device,
                act_hash=act_hash,
                region=record.placement.region,
                department=record.placement.department,
            )


def _follow_tasks(session: Session, rt: Runtime, changed: Sequence[Changed], _device: str | None) -> None:
    inspections.follow_tasks(session, rt, [(record.id, record.placement, record.state) for record in changed])


def _follow_inspections(session: Session, rt: Runtime, changed: Sequence[Changed], _device: str | None) -> None:
    inspections.follow_inspections(session, rt, [(record.id, record.placement, record.state) for record in changed])


def _follow_parts(session: Session, rt: Runtime, changed: Sequence[Changed], _device: str | None) -> None:
    inspections.touch(session, rt, {record.placement.parent for record in changed if record.placement.parent})


HANDLERS: dict[str, tuple[Handler, ...]] = {
    "task": (_follow_tasks,),
    "inspection": (_follow_inspections,),
    "answer": (_follow_parts,),
    "evidence": (_declare_evidence, _follow_parts),
    "rectification": (_follow_parts,),
}


def project(session: Session, rt: Runtime, keys: Sequence[Key], *, device: str | None, batch: RecordBatch) -> None:
    """Let the domains follow what a batch changed, in its transaction."""
    hashes = {batch.record_of[dot]: row["hash"] for dot, row in batch.rows.items() if dot in batch.record_of}
    by_kind: dict[str, list[Changed]] = {}
    for kind, record_id in keys:
        held = batch.records[kind, record_id]
        changed = Changed(record_id, held.placement, held.state, hashes.get((kind, record_id)))
        by_kind.setdefault(kind, []).append(changed)
    for kind, changes in by_kind.items():
        for handler in HANDLERS.get(kind, ()):
            handler(session, rt, changes, device)


def project_office(session: Session, rt: Runtime, keys: Sequence[Key]) -> None:
    """Let the domains follow what an office act changed, in its transaction."""
    session.flush()
    batch = RecordBatch(session, rt)
    batch.load(keys)
    project(session, rt, keys, device=None, batch=batch)
