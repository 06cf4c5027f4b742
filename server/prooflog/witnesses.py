"""Witnesses: others who saw a head, checked that it continues what they saw before, and signed for it with the time.

A platform that showed two histories to two parties would need its witnesses to sign both. Cosignatures have the form of
C2SP `tlog-cosignature` (Ed25519); whose count is configured, a line of `keys/witnesses.txt` for each witness.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.config import Settings
from server.db.engine import insert_ignore
from server.errors import Problem
from server.prooflog.keys import verify_signature
from server.prooflog.models import Cosignature, Head
from server.prooflog.service import checkpoint_of
from server.runtime import Runtime
from sync.checkpoints import (
    CheckpointError,
    Signature,
    WitnessKey,
    cosigned_message,
    parse_checkpoint,
    parse_witness_key,
)

WITNESS_FILE = "witnesses.txt"
"""Below `settings.keys_dir`: one witness key a line; empty lines and lines that begin with # are left out."""
MAX_AHEAD_S = 300
"""How far ahead of the platform's clock a cosignature may be dated."""


def load_witnesses(settings: Settings) -> list[WitnessKey]:
    """Return the trusted witnesses; none without the file.

    Raises:
        ValueError: a line is no witness key.
    """
    path = settings.keys_dir / WITNESS_FILE
    if not path.exists():
        return []
    lines = (line.strip() for line in path.read_text("utf-8").splitlines())
    return [parse_witness_key(line) for line in lines if line and not line.startswith("#")]


def accept(session: Session, rt: Runtime, note: bytes) -> int:
    """Keep the cosignatures of trusted witnesses on one of our heads; returns how many were new.

    Args:
        session: the write session.
        rt: the runtime.
        note: a checkpoint of ours with the witnesses' lines under it.

    Raises:
        Problem: `invalid-field`: no checkpoint, none of our heads, a wrong signature of a trusted witness, or a time
            in the future; `forbidden`: no line is of a trusted witness.
    """
    try:
        checkpoint, signatures = parse_checkpoint(note)
    except CheckpointError as error:
        raise Problem("invalid-field", field="checkpoint", detail=str(error)) from error
    head = session.get(Head, checkpoint.size)
    if head is None or checkpoint_of(session, head)[0] != checkpoint:
        raise Problem("invalid-field", field="checkpoint", detail="is not a head of this log")
    trusted = {(key.name, key.key_id()): key for key in load_witnesses(rt.settings)}
    rows = []
    for signature in signatures:
        key = trusted.get((signature.name, signature.key_id))
        if key is None:
            continue
        at_s = _verified_s(rt, key, signature, checkpoint.body())
        rows.append(
            {"size": head.size, "name": key.name, "key_id": signature.key_id.hex(), "signature": signature.signature,
             "at_s": at_s}
        )  # fmt: skip
    if not rows:
        raise Problem("forbidden", field="checkpoint", detail="no line is a signature of a trusted witness")
    return insert_ignore(session, Cosignature.__table__, rows)  # type: ignore[arg-type]  # declared as FromClause


def _verified_s(rt: Runtime, key: WitnessKey, signature: Signature, body: bytes) -> int:
    try:
        at_s, message, bare = cosigned_message(signature, body)
    except CheckpointError as error:
        raise Problem("invalid-field", field="checkpoint", detail=str(error)) from error
    if not verify_signature(key.public_key, bare, message):
        raise Problem("invalid-field", field="checkpoint", detail=f"the signature of {key.name} does not verify")
    if at_s > rt.now().timestamp() + MAX_AHEAD_S:
        raise Problem("invalid-field", field="checkpoint", detail="is signed in the future", limit=MAX_AHEAD_S)
    return at_s


def cosignatures(session: Session, size: int) -> list[Signature]:
    """Return the lines of the witnesses of one head, by name."""
    query = select(Cosignature).where(Cosignature.size == size).order_by(Cosignature.name, Cosignature.key_id)
    rows = session.execute(query).scalars()
    return [Signature(row.name, bytes.fromhex(row.key_id), row.signature) for row in rows]


def verify_cosignatures(session: Session, rt: Runtime) -> tuple[int, list[str]]:
    """Check every stored cosignature of the witnesses trusted today; returns how many, and what is wrong."""
    trusted = {(key.name, key.key_id().hex()): key for key in load_witnesses(rt.settings)}
    count, findings = 0, []
    query = select(Cosignature, Head).join(Head, Head.size == Cosignature.size).order_by(Head.size, Cosignature.name)
    for row, head in session.execute(query):
        key = trusted.get((row.name, row.key_id))
        if key is None:
            continue
        count += 1
        signature = Signature(row.name, bytes.fromhex(row.key_id), row.signature)
        try:
            at_s, message, bare = cosigned_message(signature, checkpoint_of(session, head)[0].body())
        except CheckpointError as error:
            findings.append(f"cosignature of {row.name} on head {head.size}: {error}")
            continue
        if at_s != row.at_s or not verify_signature(key.public_key, bare, message):
            findings.append(f"cosignature of {row.name} on head {head.size} does not verify")
    return count, findings
