"""What the central system pulls: behavior versions in the order of the proof log, up to the newest signed head.

Positions are places in the log: a reader at position n has everything that the first n leaves hold. Since places are
given by one sequencer, nothing can appear behind a reader; since the feed ends at a signed head, whatever was delivered
can be proved.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import not_, select, tuple_
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior
from server.config import load_secret
from server.db.engine import IN_LIST_LIMIT
from server.errors import Problem
from server.exchange.batches import BatchNumbers
from server.prooflog import service as prooflog
from server.prooflog.models import Leaf
from server.records.service import server_state
from server.runtime import Runtime
from server.web.principal import Principal, covers
from sync.acts import encode
from sync.cursors import Cursor, CursorError, encode_cursor, open_cursor
from sync.digest import SetDigest, digest_of

FEED = "central"
"""Name of this feed in its cursors; a cursor of another feed is refused."""
KIND = "behavior"
"""Kind of the leaves that this feed delivers."""
DEFAULT_LINES = 200
INSERT, UPDATE = "i", "u"
"""Operations. Behaviors are never deleted (`d`): a correction is a new version."""

Ref = tuple[str, int]
"""(behavior id, version)."""


@dataclass(frozen=True)
class FeedDigest:
    """Digest of everything a reader at position `through` has."""

    through: int
    digest: SetDigest


def pull(session: Session, rt: Runtime, caller: Principal, cursor: str, limit: int, *, proofs: bool) -> list[bytes]:
    """Return a page of the feed: the head line, then one line for each behavior version. All JSON, without line feeds.

    Args:
        session: a read session; its snapshot is what the page shows.
        rt: the runtime, for the cursor's secret.
        caller: the central system; only what is in its scope is delivered.
        cursor: where to continue; empty for the beginning.
        limit: most lines; at most as many as proofs are made at once.
        proofs: whether each line carries its inclusion proof under the head line's head.

    Raises:
        Problem: `stale-cursor` for a cursor of another epoch, scope or feed, or one that was not issued here.
    """
    head = prooflog.latest_head(session)
    size = head.size if head else 0
    epoch, key, scope = server_state(session).epoch, load_secret(rt.settings, "cursor"), _scope(caller)
    after = _open(key, cursor, epoch, scope, size)
    found = prooflog.leaves(session, KIND, after, size, limit)
    more = len(found) == limit
    position = found[-1].index + 1 if more else size
    delivered = [(leaf, row) for leaf, row in _with_behaviors(session, found) if _visible(caller, row)]
    members = {
        "epoch": epoch,
        "position": position,
        "cursor": encode_cursor(key, Cursor(FEED, epoch, position, scope)),
        "more": more,
        "waiting": prooflog.pending_count(session, KIND),
        "head": prooflog.head_members(session, head) if head else None,
    }
    batches = BatchNumbers(session, [leaf.index for leaf, _ in delivered])
    paths = _paths(session, [leaf.index for leaf, _ in delivered], size) if proofs else {}
    return [encode(members), *(_line(leaf, row, batches, paths) for leaf, row in delivered)]


def digest_through(session: Session, caller: Principal, through: int | None) -> FeedDigest:
    """Return the digest of what a reader at a position has; None: at the newest signed head.

    The reader computes the same over pairs (`id:version`, leaf hash). Takes time in proportion to the log, about a
    second for 100,000 behaviors.

    Raises:
        Problem: `invalid-field` for a position beyond the newest signed head.
    """
    head = prooflog.latest_head(session)
    size = head.size if head else 0
    through = size if through is None else through
    if through > size:
        raise Problem("invalid-field", field="through", detail="the newest signed head covers less", limit=size)
    outside = not_(Behavior.region.startswith(caller.region, autoescape=True))
    if caller.department:
        outside |= Behavior.department != caller.department
    hidden = {
        f"{found}:{version}" for found, version in session.execute(select(Behavior.id, Behavior.version).where(outside))
    }
    query = select(Leaf.ref, Leaf.hash).where(Leaf.kind == KIND, Leaf.index < through).order_by(Leaf.index)
    return FeedDigest(through, digest_of((ref, found) for ref, found in session.execute(query) if ref not in hidden))


def _open(key: bytes, cursor: str, epoch: str, scope: str, size: int) -> int:
    if not cursor:
        return 0
    try:
        position = open_cursor(key, cursor, kind=FEED, epoch=epoch, scope=scope).position
    except CursorError as error:
        raise Problem("stale-cursor", field="cursor", detail=str(error)) from error
    if position > size:
        raise Problem("stale-cursor", field="cursor", detail="the cursor is beyond the newest signed head", limit=size)
    return position


def _scope(caller: Principal) -> str:
    return f"{caller.region}/{caller.department}"


def _visible(caller: Principal, row: Behavior) -> bool:
    return covers(caller, row.region, row.department)


def _with_behaviors(session: Session, found: Sequence[Leaf]) -> Iterable[tuple[Leaf, Behavior]]:
    refs = [_ref(leaf) for leaf in found]
    rows: dict[Ref, Behavior] = {}
    for start in range(0, len(refs), IN_LIST_LIMIT):
        chunk = refs[start : start + IN_LIST_LIMIT]
        query = select(Behavior).where(tuple_(Behavior.id, Behavior.version).in_(chunk))
        rows.update({(row.id, row.version): row for row in session.execute(query).scalars()})
    for leaf in found:
        if _ref(leaf) not in rows:  # leaving it out would be a loss nobody sees
            raise Problem("internal", detail=f"leaf {leaf.index} names a behavior that is not there")
        yield leaf, rows[_ref(leaf)]


def _ref(leaf: Leaf) -> Ref:
    behavior, _, version = leaf.ref.rpartition(":")
    return behavior, int(version)


def _paths(session: Session, indexes: Sequence[int], size: int) -> Mapping[int, list[str]]:
    return {proof.index: [step.hex() for step in proof.path] for proof in prooflog.inclusions(session, indexes, size)}


def _line(leaf: Leaf, row: Behavior, batches: BatchNumbers, paths: Mapping[int, list[str]]) -> bytes:
    members: dict[str, Any] = {
        "position": leaf.index + 1,
        "leaf_index": leaf.index,
        "operation": INSERT if row.version == 1 else UPDATE,
        "batch": batches.of(leaf.index),
        "id": row.id,
        "version": row.version,
        "at_ms": round(row.created_at.timestamp() * 1000),
        "region": row.region,
        "department": row.department,
        "leaf": leaf.data.decode(),
        "content": row.line.decode(),
    }
    if row.personal is not None:
        members["personal"] = row.personal.decode()
    if paths:
        members["proof"] = paths[leaf.index]
    return encode(members)
