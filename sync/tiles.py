"""Tiles: the nodes of a Merkle tree packed into blocks that only ever grow.

A tile holds a subtree of 256 hashes at its base and the seven levels above them, in the order in which appending
completes them. So the bytes of a tile that is not full are a prefix of what they will be, a proof in a tree of
10,000,000 leaves reads three tiles, and appending rewrites one tile for each eight levels. The root of a full tile
is a base hash of the tile above.

The order is that of a Merkle mountain range: before leaf m come 2m - popcount(m) nodes. (Static transparency logs store
the base hashes alone and compute the rest at every read; see C2SP `tlog-tiles`.)
"""

from __future__ import annotations

from collections.abc import Iterable

from sync.merkle import HASH_BYTES, Node

TILE_LEVELS = 8
"""Levels of the tree in one tile."""
TILE_WIDTH = 1 << TILE_LEVELS
"""Hashes at the base of a full tile."""
TILE_BYTES = (2 * TILE_WIDTH - 2) * HASH_BYTES
"""Size of a full tile: every node of its subtree but the root."""

TilePlace = tuple[int, int]
"""(level of the tile: 0 for leaves, 1 for the hashes of 256 leaves, ...; its number from the left)."""


def tile_of(level: int, index: int) -> TilePlace:
    """Return the tile that holds a node."""
    tile_level, height = divmod(level, TILE_LEVELS)
    return tile_level, index >> (TILE_LEVELS - height)


def offset_of(level: int, index: int) -> int:
    """Return where in its tile a node begins, in bytes."""
    height = level % TILE_LEVELS
    base = ((index + 1) << height) - 1  # the base hash whose arrival completes the node
    base %= TILE_WIDTH
    return (2 * base - base.bit_count() + height) * HASH_BYTES


def tile_bytes(width: int) -> int:
    """Return the size of a tile with `width` base hashes (1 to 256), in bytes."""
    last = width - 1
    completed = min(
        (last ^ width).bit_length(), TILE_LEVELS
    )  # nodes that the last base hash completes, itself included
    return (2 * last - last.bit_count() + completed) * HASH_BYTES


def tiles_at(size: int) -> list[tuple[TilePlace, int]]:
    """Return the tiles of a tree of `size` leaves as ((level, number of tiles before the last), width of the last)."""
    edges: list[tuple[TilePlace, int]] = []
    level, hashes = 0, size
    while hashes:
        full, rest = divmod(hashes, TILE_WIDTH)
        edges.append(((level, full - (not rest)), rest or TILE_WIDTH))
        level, hashes = level + 1, full
    return edges


def open_tiles(size: int) -> list[TilePlace]:
    """Return the tiles that the next leaves will lengthen: one for each tile level whose last tile is not full."""
    return [place for place, width in tiles_at(size) if width < TILE_WIDTH]


class TileWriter:
    """Collects completed nodes into tiles, beginning with the tiles that are not yet full."""

    def __init__(self, begun: dict[TilePlace, bytes]) -> None:
        """Take the bytes of the open tiles, those of :func:`open_tiles`."""
        self.begun = frozenset(begun)
        self.tiles: dict[TilePlace, bytearray] = {place: bytearray(data) for place, data in begun.items()}

    def add(self, nodes: Iterable[Node]) -> None:
        """Add nodes in the order in which appending completed them."""
        for node in nodes:
            place = tile_of(node.level, node.index)
            tile = self.tiles.get(place)
            if tile is None:
                tile = self.tiles[place] = bytearray()
            tile += node.hash
