"""Settling finished uploads: once their bytes lie where they belong, the rows say so; and clearing away what has ended.

The order is always: the file where it belongs, durably; then the rows, in one transaction. A crash in between leaves a
file that nothing speaks of yet, and the next :func:`reconcile_step` does the rest. Every step can be done again.
"""

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, cast

from sqlalchemy import Table, and_, bindparam, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from server.db.engine import insert_ignore
from server.evidence import ledger
from server.evidence.commits import CommitGroup
from server.evidence.hashing import Digest
from server.evidence.models import (
    DECLARED,
    ERASED,
    LOST,
    OPEN,
    PART,
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
from server.evidence.placing import Placed, declared_of, place, read_declaration
from server.prooflog.service import enqueue
from server.records.models import Act
from server.runtime import Runtime

log = logging.getLogger(__name__)

SETTLE_BATCH = 64
"""Uploads settled by one worker step."""
SWEEP_BATCH = 500
"""Uploads ended by one sweep."""
LIVE = (OPEN, PART, *UNSETTLED)
"""States in which an upload owns a file."""


# Statements of every upload are built once: building one costs more than SQLite takes to answer it.
_CONCERNED = (
    select(Evidence)
    .where(
        or_(
            Evidence.id.in_(bindparam("ids", expanding=True)),
            and_(
                Evidence.sha256.in_(bindparam("contents", expanding=True)), Evidence.status.not_in((VERIFIED, ERASED))
            ),
        )
    )
    .order_by(Evidence.id)
    .with_for_update()
)
_REVIVE = (  # what is evidence again is not destroyed
    update(Blob)
    .where(Blob.sha256.in_(bindparam("contents", expanding=True)), Blob.doomed_at.is_not(None))
    .values(doomed_at=None, destroyed_at=None)
)


def settle_upload(rt: Runtime, upload_id: str) -> str:
    """Bring a finished upload as far as it can get now, and return its state.

    Raises:
        OSError: the disk refused; everything stays as it was and can be tried again.
    """
    with Parts(rt.settings.evidence_dir).hold(upload_id) as held:
        placed = _place_known(rt, upload_id, held)
        if isinstance(placed, str):
            return placed
        return record_placed(rt, placed, held)


def record_placed(rt: Runtime, placed: Placed, held: HeldPart) -> str:
    """Write the rows of a placed upload, together with those of other requests; drop its file if nobody needs it.

    Raises:
        OSError: bytes could not be moved to quarantine.
    """
    if placed.state == QUARANTINED:  # the row learns the hash before the bytes move, so they need not be hashed again
        waiting = Placed(placed.upload, placed.digest, WAITING, placed.fresh)
        if RECORDING.run(rt, waiting) != WAITING:
            return LOST
        Parts(rt.settings.evidence_dir).quarantine(held, placed.upload.id)
        placed = Placed(placed.upload, placed.digest, QUARANTINED)
    state = RECORDING.run(rt, placed)
    if state not in LIVE:
        held.discard()
    return state


def _place_known(rt: Runtime, upload_id: str, held: HeldPart) -> Placed | str:
    """Place an upload that has a row; its state if there is nothing to do."""
    with rt.db.read() as session:
        upload = session.get(Upload, upload_id)
        if upload is None or upload.state not in UNSETTLED:
            return LOST if upload is None else upload.state
        session.expunge(upload)
        declared = read_declaration(session, upload.evidence, upload.device)
    return place(rt, upload, held, declared)


def reconcile_step(rt: Runtime) -> int:
    """Worker step: settle finished uploads that can be settled now; returns how many changed.

    Covers every order of arrival and every crash: it looks only at what the rows say. Matching bytes share one
    transaction; whatever needs more care is settled by itself.
    """
    declared = exists().where(
        Evidence.id == Upload.evidence,
        Evidence.device == Upload.device,
        Evidence.sha256.is_not(None),
        Evidence.status != ERASED,
    )
    due = or_(Upload.state == RECEIVED, and_(Upload.state == WAITING, declared))
    with rt.db.read() as session:
        ids = list(session.scalars(select(Upload.id).where(due).order_by(Upload.id).limit(SETTLE_BATCH)))
    parts, placed, settled = Parts(rt.settings.evidence_dir), [], 0
    with ExitStack() as locks:
        for upload_id in ids:
            try:
                held = locks.enter_context(parts.hold(upload_id, wait=False))
                one = _place_known(rt, upload_id, held)
                if isinstance(one, Placed) and one.state == QUARANTINED:
                    settled += record_placed(rt, one, held) == QUARANTINED
                elif isinstance(one, Placed):
                    placed.append((one, held))
            except BlockingIOError:
                continue  # a request is at it
            except OSError as error:
                log.warning("upload %s stays unsettled: %s", upload_id, error)
        return settled + _record_batch(rt, placed)


def _record_batch(rt: Runtime, placed: Sequence[tuple[Placed, HeldPart]]) -> int:
    if not placed:
        return 0
    with rt.db.write() as session:
        states = record(session, rt, [each for each, _ in placed])
    for state, (_, held) in zip(states, placed, strict=True):
        if state not in LIVE:
            held.discard()
    return len(states)


def record(session: Session, rt: Runtime, placed: Sequence[Placed]) -> list[str]:
    """Write the rows of placed uploads; returns the state of each. Their files are where they belong already."""
    uploads = _upload_rows(session, placed)
    stored = {each.digest.sha256 for each in placed if each.state == STORED and each.digest}
    concerned = {"ids": sorted({each.upload.evidence for each in placed}), "contents": sorted(stored)}
    records = list(session.scalars(_CONCERNED, concerned, execution_options={"populate_existing": True}))
    by_id = {each.id: each for each in records}
    blobs: dict[str, dict[str, Any]] = {}
    entries: list[dict[str, Any]] = []
    for each in placed:
        upload = uploads.get(each.upload.id)
        if upload is None:
            continue
        evidence = by_id.get(upload.evidence)
        if evidence is not None and (evidence.device != upload.device or evidence.status == ERASED):
            evidence = None  # another device's record, or an erased one: these bytes are none of its business
        if each.digest is not None:
            upload.sha256, upload.sm3 = each.digest.sha256, each.digest.sm3
        if each.digest is None or evidence is None or each.state not in (STORED, QUARANTINED):
            _unsettled(rt, upload, evidence, each.state)
            continue
        upload.state, upload.settled_at = each.state, rt.now()
        entries.append(_uploaded(rt, evidence, upload, each.digest))
        if each.state == QUARANTINED:
            entries.append(_reject(rt, evidence, upload))
            continue
        blobs[each.digest.sha256] = {**asdict(each.digest), "stored_at": rt.now()}
        siblings = (one for one in records if one.status not in (VERIFIED, ERASED) and one.device == upload.device)
        fitting = [one for one in siblings if declared_of(one).fits(each.digest)]
        entries += [mark_verified(session, rt, one, each.digest) for one in fitting]
    if insert_ignore(session, cast(Table, Blob.__table__), list(blobs.values())) < len(blobs):
        session.execute(_REVIVE, {"contents": sorted(blobs)}, execution_options={"synchronize_session": False})
    ledger.append_rows(session, entries)
    _insert_fresh(session, [uploads[each.upload.id] for each in placed if each.fresh])
    return [uploads[each.upload.id].state if each.upload.id in uploads else LOST for each in placed]


RECORDING: CommitGroup[Placed] = CommitGroup(record)
"""Joins the commits of requests of this process."""


def _upload_rows(session: Session, placed: Sequence[Placed]) -> dict[str, Upload]:
    """Return the rows to be written: those that are still unsettled, and new ones that are added at the end."""
    known = [each.upload.id for each in placed if not each.fresh]
    uploads = {each.upload.id: each.upload for each in placed if each.fresh}
    if known:
        query = select(Upload).where(Upload.id.in_(known), Upload.state.in_(UNSETTLED)).with_for_update()
        found = session.scalars(query.order_by(Upload.id), execution_options={"populate_existing": True})
        uploads |= {row.id: row for row in found}
    return uploads


def _insert_fresh(session: Session, uploads: Sequence[Upload]) -> None:
    if uploads:
        columns = [column.key for column in Upload.__table__.columns]
        session.execute(insert(Upload), [{name: getattr(row, name) for name in columns} for row in uploads])


def _unsettled(rt: Runtime, upload: Upload, evidence: Evidence | None, state: str) -> None:
    """Note bytes that wait for their declaration or for the store, or that the disk has lost."""
    upload.state = WAITING if state in (STORED, QUARANTINED) else state
    upload.settled_at = rt.now() if state == LOST else None
    if evidence is not None and evidence.status != VERIFIED and state in (WAITING, LOST):
        evidence.status = WAITING if state == WAITING else DECLARED


def _uploaded(rt: Runtime, evidence: Evidence, upload: Upload, digest: Digest) -> dict[str, Any]:
    received_at = upload.received_at.isoformat() if upload.received_at else None
    detail = {"upload": upload.id, **asdict(digest), "received_at": received_at}
    return ledger.add(rt, evidence, "upload", actor=f"device:{upload.device}", detail=detail)


def _reject(rt: Runtime, evidence: Evidence, upload: Upload) -> dict[str, Any]:
    if evidence.status != VERIFIED:
        evidence.status = REJECTED
    declared = {"declared_sha256": evidence.sha256, "declared_sm3": evidence.sm3, "upload": upload.id}
    return ledger.add(rt, evidence, "reject", actor=ledger.SERVER, detail=declared)


def mark_verified(session: Session, rt: Runtime, evidence: Evidence, digest: Digest) -> dict[str, Any]:
    """Attach stored bytes to a locked evidence row; returns the custody row, and enters the leaf of the proof log."""
    evidence.status, evidence.verified_at, evidence.examined_at = VERIFIED, rt.now(), None
    evidence.sm3, evidence.size_bytes = digest.sm3, digest.size_bytes
    entry = ledger.add(rt, evidence, "verify", actor=ledger.SERVER, detail=asdict(digest))
    enqueue(session, rt, "evidence", evidence.id, leaf_bytes(evidence))
    return entry


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


def sweep_step(rt: Runtime) -> int:
    """Hourly worker step: end expired uploads that nothing declares, and remove files that no upload owns.

    Returns:
        How many uploads ended or files went.
    """
    parts = Parts(rt.settings.evidence_dir)
    needed = exists().where(
        Evidence.id == Upload.evidence, Evidence.device == Upload.device, Evidence.status != VERIFIED
    )
    unapplied = and_(  # declared by a stored act that is not applied: held, or in quarantine
        exists().where(Act.kind == "evidence", Act.record == Upload.evidence, Act.device == Upload.device),
        ~exists().where(Evidence.id == Upload.evidence, Evidence.device == Upload.device),
    )
    expired = and_(Upload.state.in_(LIVE), Upload.expires_at < rt.now(), ~needed, ~unapplied)
    files = parts.ids()  # before the rows: a file that appears now may get its row in a moment
    with rt.db.read() as session:
        doomed = list(session.scalars(select(Upload.id).where(expired).limit(SWEEP_BATCH)))
        rejected = set(session.scalars(select(Upload.id).where(Upload.state.in_((WAITING, QUARANTINED)))))
        orphans = sorted(files - set(session.scalars(select(Upload.id).where(Upload.state.in_(LIVE)))))
    ended = parts.clear_quarantine(keep=rejected)
    for upload_id in (*doomed, *orphans):
        try:
            with parts.hold(upload_id, wait=False) as held:
                ended += _end(rt, upload_id, held, expired)
        except BlockingIOError:
            continue  # a request is at it
    return ended


def _end(rt: Runtime, upload_id: str, held: HeldPart, expired: Any) -> bool:  # noqa: ANN401 - a SQL condition
    """End one upload if it is still expired; drop its file unless a row needs it."""
    with rt.db.write() as session:
        upload = session.scalars(select(Upload).where(Upload.id == upload_id, expired)).one_or_none()
        if upload is not None:
            session.delete(upload)
    with rt.db.read() as session:
        state = session.scalar(select(Upload.state).where(Upload.id == upload_id))
    if state in LIVE:
        return False
    held.discard()
    return True
