"""Rotating the key of the proof log, without a moment in which it is unclear which key counts.

The old key signs for the new one. The note is a leaf as well, so that whoever watches the log sees every rotation: no
head that covers it may be signed by the old key.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.prooflog.keys import key_waits, load_key, replace_key, rotations, verify_signature
from server.prooflog.models import ProofLog
from server.prooflog.service import ROTATION, enqueue, is_enqueued
from server.runtime import Runtime
from sync.checkpoints import VerifierKey
from sync.key_rotation import read_rotation


def rotate_key(rt: Runtime) -> VerifierKey:
    """Replace the log's key and return the new one; a rotation that was interrupted is brought to its end instead."""
    with rt.db.write() as session:
        session.execute(select(ProofLog.id).where(ProofLog.id == 1).with_for_update())  # nobody signs a head meanwhile
        if key_waits(rt.settings) or not _enter(session, rt):
            replace_key(rt.settings)
            _enter(session, rt)
    return load_key(rt.settings).verifier


def _enter(session: Session, rt: Runtime) -> int:
    """Let rotations that are not in the log yet enter it; returns how many."""
    entered = 0
    for note in rotations(rt.settings):
        ref = read_rotation(note, verify_signature)[1].key_id().hex()
        if not is_enqueued(session, ROTATION, ref):
            enqueue(session, rt, ROTATION, ref, note.encode())
            entered += 1
    return entered
