"""Closing a proof log that is shorter than a head the world knows, and beginning its successor with that head.

After a restore from a backup the log would grow again from an earlier size, and sign heads that contradict those which
central systems and witnesses hold. So it is closed instead. The successor has a name of its own; its first
leaf is the last known head of the closed log, as a signed note, and all leaves of the backup follow in their old order.
"""

import os
from pathlib import Path

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.prooflog.keys import former_keys, load_key, next_key, promote_next_key, verify_signature
from server.prooflog.models import Cosignature, Head, Leaf, PendingLeaf, ProofLog, Tile, Timestamp
from server.prooflog.service import MAX_LEAF_BYTES, checkpoint_of, latest_head
from server.runtime import Runtime
from sync.checkpoints import CheckpointError, open_checkpoint, sign_checkpoint

CLOSED_LOG = "closed-log"
"""Kind of a successor's first leaf."""
HEAD_FILE = "proof-log.head"
"""Below the home: the newest signed head as a note, kept apart from the database and from its backups."""
CHUNK = 2_000


def succeed(session: Session, rt: Runtime, last_head: str) -> bool:
    """Close the log if `last_head` covers more than it has, in the caller's transaction; tells whether it did.

    Call :func:`finish` after the commit.

    Raises:
        Problem: `bad-signature` for a note that is not signed by the key under the log's present name, or for none
            when the database is older than the log's present name.
    """
    log = session.get(ProofLog, 1, with_for_update=True)
    key = load_key(rt.settings)
    if log is not None and log.origin == next_key(rt.settings).verifier.name:
        return False  # it is a successor already, and only its name is still to be put in place
    if not last_head and (log is None or log.origin == key.verifier.name):
        return False
    note = last_head.encode()
    try:
        known = open_checkpoint(note, [key.verifier, *former_keys(rt.settings)], verify_signature)
    except CheckpointError as error:
        raise Problem("bad-signature", field="last_head", detail=f"not a head of this log: {error}") from error
    if len(note) > MAX_LEAF_BYTES:  # with many witnesses: the log's own signature is what counts
        note = sign_checkpoint(known, key.verifier, key.sign)
    if log is not None and log.origin == key.verifier.name and log.size >= known.size:
        return False
    rest = session.execute(select(PendingLeaf.kind, PendingLeaf.ref, PendingLeaf.data, PendingLeaf.at)).all()
    session.execute(delete(PendingLeaf))
    first = {"kind": CLOSED_LOG, "ref": known.origin[:128], "data": note, "at": rt.now()}
    session.execute(insert(PendingLeaf), [first])
    _wait_again(session, rt)
    if rest:
        session.execute(insert(PendingLeaf), [row._asdict() for row in rest])
    for table in (Timestamp, Cosignature, Head, Tile, Leaf, ProofLog):
        session.execute(delete(table))
    session.add(ProofLog(id=1, origin=next_key(rt.settings).verifier.name, size=0))
    session.flush()
    return True


def _wait_again(session: Session, rt: Runtime) -> None:
    """Let all leaves of the closed log wait for a place in the successor, in their order."""
    after = -1
    while True:
        query = select(Leaf.index, Leaf.kind, Leaf.ref, Leaf.data).where(Leaf.index > after).order_by(Leaf.index)
        rows = session.execute(query.limit(CHUNK)).all()
        if not rows:
            return
        after = rows[-1][0]
        leaves = [{"kind": kind, "ref": ref, "data": data, "at": rt.now()} for _, kind, ref, data in rows]
        session.execute(insert(PendingLeaf), leaves)


def finish(session: Session, rt: Runtime) -> bool:
    """After the commit: let the successor's name take the place of the closed log's; tells whether it did now."""
    log = session.get(ProofLog, 1)
    if log is None or log.origin != next_key(rt.settings).verifier.name:
        return False
    (rt.settings.home / HEAD_FILE).unlink(missing_ok=True)
    promote_next_key(rt.settings)
    return True


def keep_head(rt: Runtime) -> int:
    """Worker step: keep the newest signed head in a file apart from the database; returns 1 when it was written."""
    with rt.db.read() as session:
        head = latest_head(session)
        if head is None:
            return 0
        checkpoint, signature = checkpoint_of(session, head)
    note = checkpoint.body() + b"\n" + signature.line()
    path = rt.settings.home / HEAD_FILE
    if path.exists() and path.read_bytes() == note:
        return 0
    _write(path, note)
    return 1


def kept_head(rt: Runtime) -> str:
    """Return the head that was kept; nothing if there is none."""
    path = rt.settings.home / HEAD_FILE
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _write(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
