"""Recomputing the whole proof log from its leaves and naming everything that does not fit."""

from collections.abc import Iterator, Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.prooflog.keys import former_keys, load_key, verify_signature
from server.prooflog.models import Head, Leaf, ProofLog, Tile
from server.prooflog.service import ROTATION
from server.prooflog.tiles import StoredTiles
from server.runtime import Runtime
from sync.checkpoints import Checkpoint, VerifierKey
from sync.merkle import Frontier, Node, leaf_hash
from sync.tiles import TILE_BYTES, tile_bytes, tile_of, tiles_at

CHUNK_LEAVES = 2_000
"""Leaves held in memory at a time."""
MAX_FINDINGS = 100
"""Findings named one by one; what follows is left out, and said to be."""


class _Enough(Exception):
    """So much is wrong that naming more would help nobody."""


class _Findings(list[str]):
    """Findings up to the limit."""

    def name(self, finding: str) -> None:
        """Add one finding."""
        if len(self) >= MAX_FINDINGS:
            self.append("and more; the rest is not listed")
            raise _Enough
        self.append(finding)


def verify_log(session: Session, rt: Runtime) -> tuple[int, list[str]]:
    """Rebuild the tree from the leaves' bytes and compare every stored hash, tile, head and signature.

    Reads the log once, in chunks; run it in a read session, so that a log that grows meanwhile is seen at one moment.

    Returns:
        How many leaves, tiles and heads were checked, and one sentence for each thing that is wrong.
    """
    findings = _Findings()
    log = session.get(ProofLog, 1)
    leaf_count, tile_count, head_count = (
        session.execute(select(func.count()).select_from(table)).scalar_one() for table in (Leaf, Tile, Head)
    )
    checked = leaf_count + tile_count + head_count
    try:
        if log is None:
            if checked:
                findings.name("the log has leaves, tiles or heads, and its own row is missing")
            return checked, findings
        if log.size != leaf_count:
            findings.name(f"the log says that it has {log.size} leaves and has {leaf_count}")
        newest = session.execute(select(func.max(Head.size))).scalar_one_or_none() or 0
        if newest != log.size:
            findings.name(f"the newest head covers {newest} leaves of {log.size}")
        keys = [*former_keys(rt.settings), load_key(rt.settings).verifier]
        heads = _Heads(session, log.origin, keys, findings)
        size = _replay(session, heads, findings)
        heads.finish()
        if size is not None:
            _measure(session, size, findings)
    except _Enough:
        pass
    return checked, findings


def _replay(session: Session, heads: "_Heads", findings: _Findings) -> int | None:
    """Append all leaves again; returns how many there are, None if one is missing."""
    frontier = Frontier()
    heads.check(frontier)
    for rows in _chunks(session):
        made: list[Node] = []
        for row in rows:
            if row.index != frontier.size:
                findings.name(f"leaf {frontier.size} is missing; nothing beyond it can be checked")
                return None
            if leaf_hash(row.data) != row.hash:
                # go on with the stored hash: if the tree confirms it, only the bytes were changed
                findings.name(f"leaf {row.index} ({row.kind} {row.ref}): its bytes do not have the stored hash")
            made += frontier.append(row.hash)
            if row.kind == ROTATION:
                heads.replaced(row.ref)
            heads.check(frontier)
        _compare(session, made, findings)
        session.expunge_all()
    return frontier.size


def _compare(session: Session, made: list[Node], findings: _Findings) -> None:
    stored = StoredTiles(session)
    stored.load(tile_of(node.level, node.index) for node in made)
    for node in made:
        try:
            if stored(node.level, node.index) != node.hash:
                findings.name(f"node {node.index} of level {node.level} is not the hash of the leaves below it")
        except LookupError:
            findings.name(f"node {node.index} of level {node.level} is missing")


def _measure(session: Session, size: int, findings: _Findings) -> None:
    """Name the tiles that hold more than a tree of `size` leaves has."""
    last = {level: (number, tile_bytes(width)) for (level, number), width in tiles_at(size)}
    query = select(Tile.level, Tile.index, func.length(Tile.data)).order_by(Tile.level, Tile.index)
    for level, index, length in session.execute(query):
        number, longest = last.get(level, (-1, 0))
        limit = 0 if index > number else longest if index == number else TILE_BYTES
        if length > limit:
            findings.name(f"tile {index} of level {level} holds nodes of no complete subtree")


def _chunks(session: Session) -> Iterator[list[Leaf]]:
    after = -1
    while True:
        query = select(Leaf).where(Leaf.index > after).order_by(Leaf.index).limit(CHUNK_LEAVES)
        rows = list(session.execute(query).scalars())
        if not rows:
            return
        after = rows[-1].index
        yield rows


class _Heads:
    """The stored heads in order, each checked when the replay reaches its size."""

    def __init__(self, session: Session, origin: str, keys: Sequence[VerifierKey], findings: _Findings) -> None:
        self._origin = origin
        self._keys = {key.key_id().hex(): key for key in (VerifierKey(origin, one.public_key) for one in keys)}
        """Keys that may sign from here on, the oldest first."""
        self._gone: set[str] = set()
        self._findings = findings
        query = select(Head.size, Head.root, Head.at_ms, Head.key_id, Head.signature).order_by(Head.size)
        self._waiting = list(session.execute(query))[::-1]
        self._last_ms = 0

    def replaced(self, key_id: str) -> None:
        """Note that a key has taken the place of those before it."""
        while key_id in self._keys and next(iter(self._keys)) != key_id:
            self._gone.add(gone := next(iter(self._keys)))
            del self._keys[gone]

    def check(self, frontier: Frontier) -> None:
        """Check the heads of the size that the replay has reached."""
        while self._waiting and self._waiting[-1].size <= frontier.size:
            size, root, at_ms, key_id, signature = self._waiting.pop()
            if root != frontier.root():
                self._findings.name(f"head {size}: its root is not that of the first {size} leaves")
            key = self._keys.get(key_id)
            if key is None:
                which = "a key that had been replaced" if key_id in self._gone else "another key"
                self._findings.name(f"head {size}: signed with {which} ({key_id})")
            elif not verify_signature(key.public_key, signature, Checkpoint(self._origin, size, root, at_ms).body()):
                self._findings.name(f"head {size}: its signature does not verify")
            if at_ms < self._last_ms:
                self._findings.name(f"head {size}: is dated before the head in front of it")
            self._last_ms = at_ms

    def finish(self) -> None:
        """Name the heads that cover leaves which are not there."""
        for head in reversed(self._waiting):
            self._findings.name(f"head {head.size}: covers leaves that are not there")
