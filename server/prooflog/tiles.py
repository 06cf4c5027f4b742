"""Reading and writing the tree's stored tiles: all that a computation needs with one query."""

from collections.abc import Callable, Iterable
from typing import cast

from sqlalchemy import Table, bindparam, select, tuple_
from sqlalchemy.orm import Session

from server.db.engine import IN_LIST_LIMIT
from server.db.many_rows import insert_rows, update_rows
from server.db.prepared import Prepared
from server.prooflog.models import Tile
from sync.merkle import HASH_BYTES, NodeReader
from sync.tiles import TilePlace, TileWriter, offset_of, open_tiles, tile_of

_TILES = cast(Table, Tile.__table__)
_TILE = Prepared(
    select(_TILES.c.data).where(_TILES.c.level == bindparam("level"), _TILES.c.index == bindparam("index"))
)
FEW = 8
"""So many tiles are read one by one: a proof needs no more, and that costs less than a list of pairs."""


class StoredTiles:
    """The node reader that `sync.merkle` asks for, over the table of tiles; remembers what it has read."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[TilePlace, bytes] = {}

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of one perfect subtree.

        Raises:
            LookupError: it is not complete.
        """
        place = tile_of(level, index)
        if place not in self._known:
            self.load([place])
        start = offset_of(level, index)
        node = self._known.get(place, b"")[start : start + HASH_BYTES]
        if len(node) != HASH_BYTES:
            raise LookupError(f"node {index} of level {level} is not there")
        return node

    def prefetch(self, compute: Callable[[NodeReader], object]) -> None:
        """Read at once whatever `compute` asks for: it is run with a reader that only takes notes."""
        asked: set[TilePlace] = set()

        def note(level: int, index: int) -> bytes:
            asked.add(tile_of(level, index))
            return bytes(HASH_BYTES)

        compute(note)
        self.load(asked)

    def load(self, places: Iterable[TilePlace]) -> None:
        """Read several tiles; those that do not exist are left out."""
        wanted = sorted(set(places) - self._known.keys())
        if len(wanted) <= FEW:
            found = {
                (level, index): _TILE.row(self._session, {"level": level, "index": index}) for level, index in wanted
            }
            self._known.update({place: bytes(row[0]) for place, row in found.items() if row is not None})
            return
        for start in range(0, len(wanted), IN_LIST_LIMIT):
            chunk = wanted[start : start + IN_LIST_LIMIT]
            query = select(Tile.level, Tile.index, Tile.data).where(tuple_(Tile.level, Tile.index).in_(chunk))
            self._known.update({(level, index): data for level, index, data in self._session.execute(query)})

    def writer(self, size: int) -> TileWriter:
        """Return a writer that continues the tiles of a tree of `size` leaves.

        Raises:
            LookupError: a tile that must be there is missing; the log is damaged, and `fieldproof verify` says how.
        """
        places = open_tiles(size)
        self.load(places)
        return TileWriter({place: self._known[place] for place in places})

    def save(self, writer: TileWriter) -> None:
        """Store the tiles of a writer: what had begun grows, the others are new."""
        rows = [{"level": level, "index": index, "data": bytes(data)} for (level, index), data in writer.tiles.items()]
        fresh = [row for row in rows if (row["level"], row["index"]) not in writer.begun]
        grown = [row for row in rows if (row["level"], row["index"]) in writer.begun]
        insert_rows(self._session, _TILES, fresh)
        update_rows(self._session, _TILES, ("level", "index"), grown)
