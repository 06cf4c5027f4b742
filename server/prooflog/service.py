"""The proof log: taking leaves in, giving them their places, signing heads, and proving.

Any transaction may enqueue leaves: they wait in a set beside their cause, and commit or vanish with it. One sequencer
gives them their places: it takes what is visible, appends it in the order of arrival and signs the new head, all in one
transaction that locks the log's row. A place is given only once and only by the holder of that lock, so places are
dense under any number of writers, and no writer ever waits for another one because of the log.
"""

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Row, Table, delete, func, insert, select, update
from sqlalchemy.orm import Session

from server.clock import to_ms
from server.db.engine import IN_LIST_LIMIT, insert_ignore
from server.db.many_rows import insert_rows
from server.db.prepared import Prepared
from server.errors import Problem
from server.prooflog.keys import SigningKey, load_key
from server.prooflog.models import MAX_REF_CHARS, Head, Leaf, PendingLeaf, ProofLog
from server.prooflog.tiles import StoredTiles
from server.runtime import Runtime
from sync.checkpoints import Checkpoint, Signature, parse_verifier_key
from sync.merkle import MAX_SIZE, Frontier, consistency_proof, inclusion_proof, leaf_hash

T = TypeVar("T")
_SIZE = Prepared(select(ProofLog.size).where(ProofLog.id == 1))
_LEAVES, _PENDING = cast(Table, Leaf.__table__), cast(Table, PendingLeaf.__table__)
ROTATION = "log-key"
KINDS = ("behavior", "journal-head", "evidence", "erasure", "draw", ROTATION)
"""What leaves are about."""
MAX_LEAF_BYTES = 4096
"""A leaf is a commitment, not a document."""
MAX_STEP_LEAVES = 5_000
"""Most leaves appended in one transaction of the sequencer."""
MAX_PROOFS = 500
"""Most inclusion proofs made at once."""


@dataclass(frozen=True)
class InclusionProof:
    """That leaf number `index` with `leaf_hash` is in the tree of `size` leaves; sibling of the leaf first."""

    index: int
    size: int
    leaf_hash: bytes
    path: Sequence[bytes]


def enqueue(session: Session, rt: Runtime, kind: str, ref: str, leaf_bytes: bytes) -> None:
    """Let a leaf enter the log with the caller's transaction.

    Args:
        session: the write session of the leaf's cause.
        rt: the runtime, for the time.
        kind: one of :data:`KINDS`.
        ref: what the leaf is about, e.g. `<behavior id>:<version>`; at most 128 characters.
        leaf_bytes: exact bytes to be hashed; commitments and pseudonymous ids only.

    Raises:
        ValueError: an unknown kind, a reference or leaf past its limit, or bytes that are not UTF-8; a fault of the
            calling code.
    """
    if kind not in KINDS or not 0 < len(ref) <= MAX_REF_CHARS or len(leaf_bytes) > MAX_LEAF_BYTES:
        raise ValueError(f"no leaf of the proof log: {kind} {ref[:MAX_REF_CHARS]} ({len(leaf_bytes)} bytes)")
    leaf_bytes.decode("utf-8")  # leaves travel as JSON strings
    insert_rows(session, _PENDING, [{"kind": kind, "ref": ref, "data": leaf_bytes, "at": rt.now()}])


def sequence_step(session: Session, rt: Runtime) -> int:
    """Append what is waiting (at most :data:`MAX_STEP_LEAVES`), sign the new head, and return how many were appended.

    A leaf that is there already under the same kind, reference and bytes is not appended again. Safe to run in several
    workers at once: they take turns at the log's row.
    """
    if session.execute(select(PendingLeaf.id).limit(1)).first() is None:
        return 0
    log = _lock_log(session, load_key(rt.settings))
    key = load_key(rt.settings)  # behind the lock: it may just have been rotated
    waiting = session.execute(_WAITING.limit(MAX_STEP_LEAVES)).all()
    if not waiting:
        return 0  # another worker was faster
    fresh = _without_repeats(session, waiting)
    if fresh:
        frontier = _append(session, log.size, fresh)
        _sign_head(session, rt, key, log.origin, frontier)
        session.execute(update(ProofLog).where(ProofLog.id == 1).values(size=frontier.size))
    for chunk in _chunks([row.id for row in waiting]):
        session.execute(delete(PendingLeaf).where(PendingLeaf.id.in_(chunk)), execution_options=_NO_SYNC)
    return len(fresh)


def is_enqueued(session: Session, kind: str, ref: str) -> bool:
    """Tell whether something is in the log, or waits for its place in it."""
    logged = select(Leaf.index).where(Leaf.kind == kind, Leaf.ref == ref).limit(1)
    waiting = select(PendingLeaf.id).where(PendingLeaf.kind == kind, PendingLeaf.ref == ref).limit(1)
    return any(session.execute(query).first() is not None for query in (logged, waiting))


def pending_count(session: Session, kind: str | None = None) -> int:
    """Return how many leaves wait for a place, all of them or those of one kind."""
    query = select(func.count()).select_from(PendingLeaf)
    return session.execute(query if kind is None else query.where(PendingLeaf.kind == kind)).scalar_one()


def latest_head(session: Session) -> Head | None:
    """Return the newest signed head, None while the log is empty."""
    return session.execute(select(Head).order_by(Head.size.desc()).limit(1)).scalar_one_or_none()


def head_of(session: Session, size: int) -> Head:
    """Return the signed head of exactly `size` leaves.

    Raises:
        Problem: `not-found`.
    """
    found = session.get(Head, size)
    if found is None:
        raise Problem("not-found", field="size", detail="there is no head of this size")
    return found


def heads(session: Session, after: int, limit: int) -> list[Head]:
    """Return up to `limit` signed heads of more than `after` leaves, smallest first."""
    query = select(Head).where(Head.size > after).order_by(Head.size).limit(limit)
    return list(session.execute(query).scalars())


def checkpoint_of(session: Session, head: Head) -> tuple[Checkpoint, Signature]:
    """Return a head in the form of checkpoints, with its signature."""
    origin = session.execute(select(ProofLog.origin).where(ProofLog.id == 1)).scalar_one()
    key = parse_verifier_key(head.verifier)
    checkpoint = Checkpoint(origin, head.size, head.root, head.at_ms)
    return checkpoint, Signature(key.name, key.key_id(), head.signature)


def head_members(session: Session, head: Head) -> dict[str, Any]:
    """Return a head as it goes over the wire; see `schemas.proof_log.HeadSchema`."""
    checkpoint, signature = checkpoint_of(session, head)
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "at_ms": checkpoint.at_ms,
        "key_id": signature.key_id.hex(),
        "signature": base64.urlsafe_b64encode(signature.signature).rstrip(b"=").decode(),
    }


def leaf(session: Session, index: int) -> Leaf:
    """Return a leaf.

    Raises:
        Problem: `not-found`.
    """
    found = session.get(Leaf, index) if index < MAX_SIZE else None
    if found is None:
        raise Problem("not-found", field="index", detail="the log has no leaf with this index")
    return found


def leaves(session: Session, kind: str, start: int, end: int, limit: int) -> list[Leaf]:
    """Return up to `limit` leaves of a kind with start <= index < end, in order."""
    query = select(Leaf).where(Leaf.kind == kind, Leaf.index >= start, Leaf.index < end)
    return list(session.execute(query.order_by(Leaf.index).limit(limit)).scalars())


def inclusion(session: Session, index: int, size: int) -> InclusionProof:
    """Prove that leaf `index` is in the tree of `size` leaves; see :func:`inclusions`."""
    return inclusions(session, [index], size)[0]


def inclusions(session: Session, indexes: Sequence[int], size: int) -> list[InclusionProof]:
    """Prove for each index that the leaf is in the tree of `size` leaves, reading each stored node once.

    Raises:
        Problem: `invalid-field` for an index or size beyond the log, `limit-exceeded` past :data:`MAX_PROOFS`.
    """
    if len(indexes) > MAX_PROOFS:
        raise Problem("limit-exceeded", field="index", detail="too many proofs at once", limit=MAX_PROOFS)
    _check_size(session, size, "size")
    if not all(0 <= index < size for index in indexes):
        raise Problem("invalid-field", field="index", detail="must be below the size", limit=size)
    nodes = StoredTiles(session)
    nodes.prefetch(lambda reader: [inclusion_proof(index, size, reader) for index in indexes])
    nodes.load((0, index) for index in indexes)
    return [InclusionProof(index, size, nodes(0, index), inclusion_proof(index, size, nodes)) for index in indexes]


def consistency(session: Session, first: int, second: int) -> list[bytes]:
    """Prove that the tree of `first` leaves is a prefix of the tree of `second` leaves.

    Raises:
        Problem: `invalid-field` for sizes out of order or beyond the log.
    """
    _check_size(session, second, "second")
    if not 0 <= first <= second:
        raise Problem("invalid-field", field="first", detail="must not be above the second size", limit=second)
    nodes = StoredTiles(session)
    nodes.prefetch(lambda reader: [consistency_proof(first, second, reader)])
    return consistency_proof(first, second, nodes)


def log_size(session: Session) -> int:
    """Return the number of leaves under the newest head (0 for a log that has not begun)."""
    found = _SIZE.row(session, {})
    return found[0] if found else 0


_NO_SYNC = {"synchronize_session": False}
_WAITING = select(PendingLeaf.id, PendingLeaf.kind, PendingLeaf.ref, PendingLeaf.data).order_by(PendingLeaf.id)
_Row = Row[int, str, str, bytes]
_Waiting = Sequence[_Row]


def _lock_log(session: Session, key: SigningKey) -> ProofLog:
    """Return the log's row, locked; the first call gives the log the name of its first key."""
    row = {"id": 1, "origin": key.verifier.name, "size": 0}
    if session.execute(select(ProofLog.id)).first() is None:
        insert_ignore(session, ProofLog.__table__, [row])  # type: ignore[arg-type]  # declared as FromClause
    query = select(ProofLog).where(ProofLog.id == 1).with_for_update().execution_options(populate_existing=True)
    return session.execute(query).scalar_one()


def _without_repeats(session: Session, waiting: _Waiting) -> list[tuple[_Row, bytes]]:
    """Return the waiting leaves with their hashes, without what the log has already, or what waits twice."""
    same = (Leaf.kind == PendingLeaf.kind) & (Leaf.ref == PendingLeaf.ref)
    query = select(Leaf.kind, Leaf.ref, Leaf.hash).join(PendingLeaf, same).where(PendingLeaf.id <= waiting[-1].id)
    known = {(kind, ref, found) for kind, ref, found in session.execute(query)}
    fresh = []
    for row in waiting:
        hashed = leaf_hash(row.data)
        if (row.kind, row.ref, hashed) not in known:
            known.add((row.kind, row.ref, hashed))
            fresh.append((row, hashed))
    return fresh


def _append(session: Session, size: int, fresh: Sequence[tuple[_Row, bytes]]) -> Frontier:
    """Put leaves behind the first `size` ones, lengthen the tiles, and return the frontier of the tree as it is now."""
    stored = StoredTiles(session)
    writer = stored.writer(size)
    frontier = Frontier.load(size, stored)
    rows = []
    for index, (row, hashed) in enumerate(fresh, size):
        writer.add(frontier.append(hashed))
        rows.append({"index": index, "kind": row.kind, "ref": row.ref, "hash": hashed, "data": row.data})
    insert_rows(session, _LEAVES, rows)
    stored.save(writer)
    return frontier


def _sign_head(session: Session, rt: Runtime, key: SigningKey, origin: str, frontier: Frontier) -> None:
    newest = session.execute(select(func.max(Head.at_ms))).scalar_one_or_none() or 0
    checkpoint = Checkpoint(origin, frontier.size, frontier.root(), max(to_ms(rt.now()), newest))
    head = {
        "size": checkpoint.size,
        "root": checkpoint.root,
        "at_ms": checkpoint.at_ms,
        "key_id": key.verifier.key_id().hex(),
        "signature": key.sign(checkpoint.body()),
        "verifier": key.verifier.encode(),
    }
    session.execute(insert(Head), [head])


def _check_size(session: Session, size: int, field: str) -> None:
    limit = log_size(session)
    if not 0 <= size <= limit:
        raise Problem("invalid-field", field=field, detail="the log has fewer leaves", limit=limit)


def _chunks(values: Sequence[T]) -> Iterable[Sequence[T]]:
    return (values[start : start + IN_LIST_LIMIT] for start in range(0, len(values), IN_LIST_LIMIT))
