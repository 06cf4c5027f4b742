"""Tiles: where nodes lie, that tiles only grow, and that reading them gives the tree."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.merkle import HASH_BYTES, Frontier, inclusion_proof, leaf_hash, root_at, verify_inclusion
from sync.tiles import (
    TILE_BYTES,
    TILE_WIDTH,
    TilePlace,
    TileWriter,
    offset_of,
    open_tiles,
    tile_bytes,
    tile_of,
    tiles_at,
)

SIZE = 3 * TILE_WIDTH * TILE_WIDTH // 2 + 77
"""Two levels of full tiles and a third one begun."""


def written(size: int) -> tuple[TileWriter, Frontier]:
    """The tiles of a tree of so many leaves."""
    writer, frontier = TileWriter({}), Frontier()
    for index in range(size):
        writer.add(frontier.append(leaf_hash(b"%d" % index)))
    return writer, frontier


@pytest.fixture(scope="module")
def large() -> tuple[TileWriter, Frontier]:
    """A tree with three levels of tiles."""
    return written(SIZE)


def read(tiles: dict[TilePlace, bytearray], level: int, index: int) -> bytes:
    """A node from its tile."""
    start = offset_of(level, index)
    return bytes(tiles[tile_of(level, index)][start : start + HASH_BYTES])


def test_every_node_is_where_its_place_says(large: tuple[TileWriter, Frontier]) -> None:
    """Each node that appending completes is found at its offset, on all levels."""
    frontier = Frontier()
    for index in range(SIZE):
        for node in frontier.append(leaf_hash(b"%d" % index)):
            assert read(large[0].tiles, node.level, node.index) == node.hash


def test_tiles_have_the_sizes_that_the_tree_says(large: tuple[TileWriter, Frontier]) -> None:
    """Full tiles have one size; the last of each level the size of its width."""
    lengths = {place: len(tile) for place, tile in large[0].tiles.items()}
    expected: dict[TilePlace, int] = {}
    for (level, last), width in tiles_at(SIZE):
        expected |= {(level, number): TILE_BYTES for number in range(last)}
        expected[level, last] = tile_bytes(width)
    assert lengths == expected
    assert tile_bytes(TILE_WIDTH) == TILE_BYTES


@given(index=st.integers(0, SIZE - 1), size=st.integers(1, SIZE))
def test_proofs_from_tiles_verify(large: tuple[TileWriter, Frontier], index: int, size: int) -> None:
    """Any leaf in any earlier tree is proven from the tiles of the later one."""
    index %= size

    def reader(level: int, number: int) -> bytes:
        return read(large[0].tiles, level, number)

    path = inclusion_proof(index, size, reader)
    assert verify_inclusion(leaf_hash(b"%d" % index), index, size, path, root_at(size, reader))


@given(sizes=st.lists(st.integers(0, 700), min_size=2, max_size=5).map(sorted))
def test_tiles_only_grow(sizes: list[int]) -> None:
    """What was written stays; continuing from the open tiles gives what writing at once gives."""
    frontier, kept = Frontier(), dict[TilePlace, bytes]()
    for size, later in pairwise([0, *sizes]):
        writer = TileWriter({place: kept[place] for place in open_tiles(size)})
        for index in range(size, later):
            writer.add(frontier.append(leaf_hash(b"%d" % index)))
        for place, tile in writer.tiles.items():
            assert bytes(tile).startswith(kept.get(place, b""))
            kept[place] = bytes(tile)
    assert kept == {place: bytes(tile) for place, tile in written(sizes[-1])[0].tiles.items()}


def test_an_empty_tree_has_no_tiles() -> None:
    """Nothing to read, nothing to continue."""
    assert tiles_at(0) == []
    assert open_tiles(0) == []
    assert open_tiles(TILE_WIDTH) == [(1, 0)]
