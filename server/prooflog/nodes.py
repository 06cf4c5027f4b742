"""Reading the tree's stored nodes: one by one, or all that a computation will need with a few queries."""

from collections.abc import Callable, Iterable

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.prooflog.models import Leaf, Node
from sync.merkle import HASH_BYTES, NodeReader

Place = tuple[int, int]
"""(level, index) of a perfect subtree."""


class StoredNodes:
    """The reader that `sync.merkle` asks for, over the tables; remembers what it has read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[Place, bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of one perfect subtree.

        Raises:
            LookupError: it is not complete.
        """
        place = (level, index)
        if place not in self._known:
            self.load([place])
        return self._known[place]

    def prefetch(self, compute: Callable[[NodeReader], object]) -> None:
        """Read at once whatever `compute` asks for: it is run with a reader that only takes notes."""
        asked: set[Place] = set()

        def note(level: int, index: int) -> bytes:
            asked.add((level, index))
            return bytes(HASH_BYTES)

        compute(note)
        self.load(asked)

    def load(self, places: Iterable[Place]) -> None:
        """Read several nodes; those that do not exist are left out."""
        wanted = sorted(place for place in set(places) if place not in self._known)
        leaves = [index for level, index in wanted if level == 0]
        inner = wanted[len(leaves) :]
        for start in range(0, len(leaves), IN_LIST_LIMIT):
            chunk = leaves[start : start + IN_LIST_LIMIT]
            found = self._session.execute(select(Leaf.index, Leaf.hash).where(Leaf.index.in_(chunk)))
            self._known.update({(0, index): leaf_hash for index, leaf_hash in found})
        for start in range(0, len(inner), IN_LIST_LIMIT):
            part = inner[start : start + IN_LIST_LIMIT]
            query = select(Node.level, Node.index, Node.hash).where(tuple_(Node.level, Node.index).in_(part))
            self._known.update({(level, index): node_hash for level, index, node_hash in self._session.execute(query)})
