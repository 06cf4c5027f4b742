"""How long evidence is kept: sealing after its case was closed, legal holds, and destroying bytes for good.

Sealing ends changes: the chain of custody gets its `seal` entry, whose hash becomes a leaf of the proof log. Destroying
happens on a lawful erasure order or when the configured time has passed. What goes are the bytes, the derivatives and
what may be personal about the record; what stays are hashes, the chain and the proofs, so everything still verifies.
Nothing of a case under a legal hold is destroyed: an order that comes meanwhile takes effect when the hold is lifted.

The rows decide first, in one transaction; the bytes go in a step of their own, which can be repeated.
"""

from datetime import timedelta

from sqlalchemy import Exists, delete, exists, func, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from server.audit.service import record_event
from server.errors import Problem
from server.evidence import ledger
from server.evidence.derivatives import drop_derivatives
from server.evidence.models import ERASED, VERIFIED, Blob, Evidence, LegalHold, PictureBand, Upload
from server.evidence.stores import open_store
from server.prooflog.service import enqueue
from server.runtime import Runtime

BATCH = 100
MAX_REASON_CHARS = 1_000


def note_closed(session: Session, rt: Runtime, inspection_id: str) -> None:
    """Note that a case was closed: sealing and retention count from now."""
    of_case = (Evidence.inspection == inspection_id, Evidence.closed_at.is_(None))
    session.execute(update(Evidence).where(*of_case).values(closed_at=rt.now()))


def retention_step(session: Session, rt: Runtime) -> int:
    """Worker step: seal what is due, then erase what is past its time; returns how many records changed."""
    return _seal_due(session, rt) + _erase_due(session, rt)


def _seal_due(session: Session, rt: Runtime) -> int:
    before = rt.now() - timedelta(days=rt.settings.seal_after_days)
    due = select(Evidence).where(
        Evidence.closed_at <= before, Evidence.sealed_at.is_(None), Evidence.status == VERIFIED
    )
    rows = list(session.scalars(due.order_by(Evidence.closed_at).limit(BATCH).with_for_update(skip_locked=True)))
    for evidence in rows:
        seal(session, rt, evidence)
    return len(rows)


def seal(session: Session, rt: Runtime, evidence: Evidence) -> None:
    """End changes of a locked evidence row: the last hash of its chain becomes a leaf of the proof log."""
    evidence.sealed_at = rt.now()
    detail = {"closed_at": evidence.closed_at.isoformat() if evidence.closed_at else None}
    ledger.append(session, rt, evidence, "seal", actor=ledger.SERVER, detail=detail)
    leaf = f'{{"custody":"{evidence.custody_head}","evidence":"{evidence.id}","type":"evidence-seal","v":1}}'
    enqueue(session, rt, "evidence", f"{evidence.id}:seal", leaf.encode())


def _erase_due(session: Session, rt: Runtime) -> int:
    days = rt.settings.retention_days
    if not days:
        return 0
    due = select(Evidence).where(
        Evidence.closed_at <= rt.now() - timedelta(days=days),
        Evidence.status != ERASED,
        ~_held(Evidence.inspection),
    )
    rows = list(session.scalars(due.order_by(Evidence.closed_at).limit(BATCH).with_for_update(skip_locked=True)))
    for evidence in rows:
        _erase(session, rt, evidence, {"retention_days": days})
    return len(rows)


def erase_evidence(session: Session, rt: Runtime, evidence_id: str, *, order: str) -> bool:
    """Carry out a lawful erasure order on one record; returns whether there was anything to erase.

    Called in the transaction that executes the order, and again when orders are replayed after a restore.
    """
    evidence = ledger.lock_evidence(session, evidence_id)
    if evidence is None or evidence.status == ERASED:
        return False
    _erase(session, rt, evidence, {"order": order})
    return True


def _erase(session: Session, rt: Runtime, evidence: Evidence, detail: dict[str, object]) -> None:
    evidence.status, evidence.erased_at = ERASED, rt.now()
    evidence.file_name = evidence.caption = evidence.position = None
    evidence.flags = []
    ledger.append(session, rt, evidence, "erase", actor=ledger.SERVER, detail=detail)
    drop_derivatives(session, rt, evidence.id)
    session.flush()
    session.execute(delete(Upload).where(Upload.evidence == evidence.id))  # the sweep removes files without a row
    if evidence.sha256:
        users = select(func.count()).select_from(Evidence)
        used = session.scalar(users.where(Evidence.sha256 == evidence.sha256, Evidence.status == VERIFIED))
        blob = session.get(Blob, evidence.sha256)
        if blob is not None and not used:
            blob.doomed_at, blob.facts, blob.phash = rt.now(), None, None
            for band in session.scalars(select(PictureBand).where(PictureBand.sha256 == blob.sha256)):
                session.delete(band)


def destroy_step(rt: Runtime) -> int:
    """Worker step: destroy the bytes of what is erased and not under a hold; returns how many contents went."""
    held = exists().where(Evidence.sha256 == Blob.sha256, _held(Evidence.inspection))
    used = exists().where(Evidence.sha256 == Blob.sha256, Evidence.status == VERIFIED)
    doomed = (Blob.doomed_at.is_not(None), Blob.destroyed_at.is_(None), ~held, ~used)
    with rt.db.read() as session:
        names = list(session.scalars(select(Blob.sha256).where(*doomed).limit(BATCH)))
    store, destroyed = open_store(rt.settings), 0
    for sha256 in names:
        with rt.db.write() as session:  # the row's lock keeps a new upload of the same bytes from being lost
            query = select(Blob).where(Blob.sha256 == sha256, *doomed).with_for_update()
            blob = session.scalars(query).one_or_none()
            if blob is not None:
                store.remove(sha256)
                blob.destroyed_at = rt.now()
                destroyed += 1
    return destroyed


def destroy_again(session: Session) -> None:
    """After a restore: destroy once more what was erased, for the evidence may have come back from a backup too."""
    session.execute(update(Blob).where(Blob.doomed_at.is_not(None)).values(destroyed_at=None))


def place_hold(session: Session, rt: Runtime, inspection_id: str, *, reason: str, actor: str) -> LegalHold:
    """Order that nothing of a case's evidence may be destroyed.

    Raises:
        Problem: `invalid-field` without a reason; `conflict` if there is a hold already.
    """
    _check_reason(reason)
    if active_hold(session, inspection_id) is not None:
        raise Problem("conflict", detail="there is a hold on this case already")
    hold = LegalHold(
        id=rt.new_id(), inspection=inspection_id, reason=reason, placed_by=actor, placed_at=rt.now(), lifted_by=None,
        lifted_at=None,
    )  # fmt: skip
    session.add(hold)
    _enter(session, rt, hold, "hold", actor)
    return hold


def lift_hold(session: Session, rt: Runtime, inspection_id: str, *, reason: str, actor: str) -> LegalHold:
    """Lift a hold; what was ordered meanwhile takes effect.

    Raises:
        Problem: `invalid-field` without a reason; `not-found` without a hold.
    """
    _check_reason(reason)
    hold = active_hold(session, inspection_id)
    if hold is None:
        raise Problem("not-found", detail="there is no hold on this case")
    hold.lifted_by, hold.lifted_at = actor, rt.now()
    _enter(session, rt, hold, "release", actor)
    return hold


def active_hold(session: Session, inspection_id: str) -> LegalHold | None:
    """Return the hold on a case, if there is one."""
    query = select(LegalHold).where(LegalHold.inspection == inspection_id, LegalHold.lifted_at.is_(None))
    return session.scalars(query.limit(1)).first()


def _enter(session: Session, rt: Runtime, hold: LegalHold, action: str, actor: str) -> None:
    rows = session.scalars(select(Evidence).where(Evidence.inspection == hold.inspection).order_by(Evidence.id))
    for evidence in rows.all():
        ledger.append(session, rt, evidence, action, actor=actor, detail={"hold": hold.id})
    record_event(session, rt, actor, f"evidence.{action}", "inspection", hold.inspection, {"hold": hold.id})


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > MAX_REASON_CHARS:
        raise Problem("invalid-field", field="reason", detail="a reason is needed", limit=MAX_REASON_CHARS)


def _held(inspection: InstrumentedAttribute[str | None]) -> Exists:
    return exists().where(LegalHold.inspection == inspection, LegalHold.lifted_at.is_(None))
