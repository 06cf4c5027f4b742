"""Settling finished uploads: hash, compare with the declaration, then attach or quarantine.

The order is always: the file where it belongs, durably; then the rows, in one transaction. A crash in between leaves a
file that nothing speaks of yet, and the next :func:`reconcile_step` does the rest. Every step can be done again.
"""

import json
import logging
from dataclasses import asdict
from typing import cast

from sqlalchemy import Table, and_, exists, or_, select
from sqlalchemy.orm import Session

from server.db.engine import insert_ignore
from server.evidence import ledger
from server.evidence.hashing import Digest, digest_file
from server.evidence.models import (
    DECLARED,
    LOST,
    OPEN,
    QUARANTINED,
    RECEIVED,
    REJECTED,
    STORED,
    UNSETTLED,
    VERIFIED,
    WAITING,
    Blob,
    Evidence,
    Upload,
)
from server.evidence.parts import HeldPart, Parts
from server.evidence.store import BlobStore, DirectoryStore
from server.prooflog.service import enqueue
from server.runtime import Runtime

log = logging.getLogger(__name__)

SETTLE_BATCH = 64
"""Uploads settled by one worker step."""
SWEEP_BATCH = 500
"""Uploads ended by one sweep."""


def open_store(rt: Runtime) -> BlobStore:
    """Return the store of originals."""
    return DirectoryStore(rt.settings.evidence_dir / "blobs")


def settle_upload(rt: Runtime, upload_id: str) -> str:
    """Bring a finished upload as far as it can get now, and return its state.

    Raises:
        OSError: the disk refused; everything stays as it was and can be tried again.
    """
    parts = Parts(rt.settings.evidence_dir)
    with parts.hold(upload_id) as held:
        with rt.db.read() as session:
            upload = session.get(Upload, upload_id)
            if upload is None or upload.state not in UNSETTLED:
                return LOST if upload is None else upload.state
            session.expunge(upload)
        digest = _known_digest(upload) or _hash(upload, held)
        if digest is None:
            return _record_loss(rt, upload_id)
        with rt.db.read() as session:
            evidence = declaration_for(session, upload)
            matches = evidence is not None and bytes_match(digest, evidence)
        if not matches:
            _record_digest(rt, upload_id, digest)  # before the bytes move, so that they need not be hashed again
        if evidence is None:
            return WAITING
        if not matches:
            parts.quarantine(held, upload_id)
        elif held.path.exists():
            open_store(rt).put(held.path, digest.sha256)
        elif open_store(rt).size_bytes(digest.sha256) is None:
            return _record_loss(rt, upload_id)
        with rt.db.write() as session:
            state = _record_outcome(session, rt, upload_id, digest, matches=matches)
        held.discard()
    return state


def reconcile_step(rt: Runtime) -> int:
    """Worker step: settle finished uploads that can be settled now; returns how many changed.

    Covers every order of arrival and every crash: it looks only at what the rows say.
    """
    declared = exists().where(
        Evidence.id == Upload.evidence, Evidence.device == Upload.device, Evidence.sha256.is_not(None)
    )
    due = or_(Upload.state == RECEIVED, and_(Upload.state == WAITING, declared))
    with rt.db.read() as session:
        ids = list(session.scalars(select(Upload.id).where(due).order_by(Upload.id).limit(SETTLE_BATCH)))
    settled = 0
    for upload_id in ids:
        try:
            settled += settle_upload(rt, upload_id) != RECEIVED
        except OSError as error:
            log.warning("upload %s stays unsettled: %s", upload_id, error)
    return settled


def sweep_step(rt: Runtime) -> int:
    """Hourly worker step: end expired uploads that nothing declares, and remove files that no upload owns.

    Returns:
        How many uploads ended or files went.
    """
    parts = Parts(rt.settings.evidence_dir)
    needed = exists().where(
        Evidence.id == Upload.evidence, Evidence.device == Upload.device, Evidence.status != VERIFIED
    )
    expired = and_(Upload.state.in_((OPEN, *UNSETTLED)), Upload.expires_at < rt.now(), ~needed)
    with rt.db.read() as session:
        doomed = list(session.scalars(select(Upload.id).where(expired).limit(SWEEP_BATCH)))
        known = session.scalars(select(Upload.id).where(Upload.state.in_((OPEN, *UNSETTLED))))
        orphans = sorted(parts.ids() - set(known))
    ended = 0
    for upload_id in (*doomed, *orphans):
        with parts.hold(upload_id) as held:
            with rt.db.write() as session:
                upload = session.scalars(select(Upload).where(Upload.id == upload_id, expired)).one_or_none()
                if upload is not None:
                    session.delete(upload)
            with rt.db.read() as session:
                state = session.scalar(select(Upload.state).where(Upload.id == upload_id))
            if state not in (OPEN, *UNSETTLED):
                held.discard()
                ended += 1
    return ended


def declaration_for(session: Session, upload: Upload) -> Evidence | None:
    """Return the declaration an upload belongs to: same record, same device, with a hash; None before it comes."""
    evidence = session.get(Evidence, upload.evidence)
    if evidence is None or evidence.device != upload.device or evidence.sha256 is None:
        return None
    return evidence


def bytes_match(digest: Digest, evidence: Evidence) -> bool:
    """Compare what was received with what was declared; an undeclared SM3 or length is not held against it."""
    return (
        digest.sha256 == evidence.sha256
        and evidence.sm3 in (None, digest.sm3)
        and evidence.size_bytes in (None, digest.size_bytes)
    )


def mark_verified(session: Session, rt: Runtime, evidence: Evidence, digest: Digest) -> None:
    """Attach stored bytes to a locked evidence row: status, custody, and the leaf for the proof log."""
    evidence.status, evidence.verified_at, evidence.examined_at = VERIFIED, rt.now(), None
    evidence.sm3, evidence.size_bytes = digest.sm3, digest.size_bytes
    ledger.append(session, rt, evidence, "verify", actor=ledger.SERVER, detail=asdict(digest))
    enqueue(session, rt, "evidence", evidence.id, leaf_bytes(evidence))


def leaf_bytes(evidence: Evidence) -> bytes:
    """Return the proof-log leaf of verified evidence: compact JSON, members sorted; hashes and ids only."""
    leaf = {
        "v": 1,
        "type": "evidence",
        "evidence": evidence.id,
        "inspection": evidence.inspection,
        "act": evidence.act_hash,
        "sha256": evidence.sha256,
        "sm3": evidence.sm3,
        "size_bytes": evidence.size_bytes,
        "custody": evidence.custody_head,
    }
    return json.dumps(leaf, separators=(",", ":"), sort_keys=True).encode()


def _known_digest(upload: Upload) -> Digest | None:
    if upload.sha256 is None or upload.sm3 is None:
        return None
    return Digest(upload.sha256, upload.sm3, upload.length_bytes)


def _hash(upload: Upload, held: HeldPart) -> Digest | None:
    """Hash the finished file; None if the disk has lost it, or part of it."""
    try:
        digest = digest_file(held.path)
    except FileNotFoundError:
        return None
    return digest if digest.size_bytes == upload.length_bytes else None


def _record_loss(rt: Runtime, upload_id: str) -> str:
    log.error("the file of finished upload %s is damaged or gone; the device has to send it again", upload_id)
    with rt.db.write() as session:
        upload = session.get_one(Upload, upload_id)
        upload.state, upload.settled_at = LOST, rt.now()
        _update_status(session, upload, DECLARED)
    return LOST


def _record_digest(rt: Runtime, upload_id: str, digest: Digest) -> None:
    with rt.db.write() as session:
        upload = session.get_one(Upload, upload_id)
        upload.state, upload.sha256, upload.sm3 = WAITING, digest.sha256, digest.sm3
        _update_status(session, upload, WAITING)


def _siblings(session: Session, upload: Upload, digest: Digest) -> list[Evidence]:
    """Return this device's other records that declare the same bytes: it has sent them now."""
    same = (Evidence.device == upload.device, Evidence.sha256 == digest.sha256, Evidence.status != VERIFIED)
    query = select(Evidence).where(*same, Evidence.id != upload.evidence).order_by(Evidence.id).with_for_update()
    return [each for each in session.scalars(query) if bytes_match(digest, each)]


def _update_status(session: Session, upload: Upload, status: str) -> None:
    evidence = ledger.lock_evidence(session, upload.evidence)
    if evidence is not None and evidence.device == upload.device and evidence.status != VERIFIED:
        evidence.status = status


def _record_outcome(session: Session, rt: Runtime, upload_id: str, digest: Digest, *, matches: bool) -> str:
    """Write the rows of a settled upload; its file is where it belongs already."""
    upload = session.get_one(Upload, upload_id)
    evidence = ledger.lock_evidence(session, upload.evidence)
    if evidence is None:
        raise LookupError(f"evidence {upload.evidence} vanished while its upload was settled")
    upload.state, upload.settled_at = STORED if matches else QUARANTINED, rt.now()
    upload.sha256, upload.sm3 = digest.sha256, digest.sm3
    received_at = upload.received_at.isoformat() if upload.received_at else None
    received = {"upload": upload.id, **asdict(digest), "received_at": received_at}
    ledger.append(session, rt, evidence, "upload", actor=f"device:{upload.device}", detail=received)
    if not matches:
        declared = {"declared_sha256": evidence.sha256, "declared_sm3": evidence.sm3, "upload": upload.id}
        ledger.append(session, rt, evidence, "reject", actor=ledger.SERVER, detail=declared)
        if evidence.status != VERIFIED:
            evidence.status = REJECTED
        return upload.state
    insert_ignore(session, cast(Table, Blob.__table__), [{**asdict(digest), "stored_at": rt.now()}])
    for attached in (evidence, *_siblings(session, upload, digest)):
        if attached.status != VERIFIED:
            mark_verified(session, rt, attached, digest)
    return upload.state
