"""Settling finished uploads: once their bytes lie where they belong, the rows say so; and clearing away what has ended.

The order is always: the file where it belongs, durably; then the rows, in one transaction. A crash in between leaves a
file that nothing speaks of yet, and the next :func:`reconcile_step` does the rest. Every step can be done again.
"""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from sqlalchemy import and_, exists, or_, select

from server.evidence.commits import CommitGroup
from server.evidence.models import (
    ERASED,
    LOST,
    OPEN,
    PART,
    QUARANTINED,
    RECEIVED,
    UNSETTLED,
    VERIFIED,
    WAITING,
    Evidence,
    Upload,
)
from server.evidence.parts import HeldPart, Parts
from server.evidence.placing import Placed, place, read_declaration
from server.evidence.recording import record
from server.records.models import Act
from server.runtime import Runtime

log = logging.getLogger(__name__)

SETTLE_BATCH = 64
"""Uploads settled by one worker step."""
SWEEP_BATCH = 500
"""Uploads ended by one sweep."""
LIVE = (OPEN, PART, *UNSETTLED)
"""States in which an upload owns a file."""
RECORDING: CommitGroup[Placed] = CommitGroup(record)
"""Joins the commits of requests of this process."""


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
