"""The RFC 6962 / RFC 9162 Merkle tree: append with a compact frontier, inclusion and consistency proofs.

The tree is never held in memory. Every *perfect* subtree (2**level leaves starting at index * 2**level) has one hash
that never changes again once its last leaf is there, so a store keyed (level, index) is append-only and a proof at
10,000,000 leaves reads fewer than 50 rows. This module decides which nodes to read and how to combine them; where
they are kept is the caller's business (`NodeReader`).

Verification needs nothing but this file: a stand-alone verifier can copy it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

HASH_BYTES = 32
"""Size in bytes of every hash in the tree (SHA-256)."""

MAX_SIZE = 1 << 63
"""No tree is larger than this: sizes and indexes fit a signed 64-bit database column."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves (RFC 9162, 2.1.1)."""

NodeReader = Callable[[int, int], bytes]
"""(level, index) -> 32-byte hash of the perfect subtree; raises LookupError when that subtree is not complete."""


@dataclass(frozen=True, slots=True)
class Node:
    """One perfect subtree: 2**level leaves starting at leaf index * 2**level, and their 32-byte hash."""

    level: int
    index: int
    hash: bytes


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf with content `data`: SHA-256(0x00 || data) (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right) (RFC 9162, 2.1.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The right edge of a tree: all that appending needs, at most 63 hashes.

    `peaks` are the roots of the perfect subtrees that make up `size` leaves, largest first; there is one for every
    set bit of `size`.
    """

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    @classmethod
    def load(cls, size: int, node: NodeReader) -> Frontier:
        """Frontier of the first `size` leaves, read from stored nodes (one read for each set bit of `size`)."""
        return cls(size, [node(level, index) for level, index in _cover(0, size)])

    def append(self, leaf: bytes) -> list[Node]:
        """Append one leaf hash and return the perfect subtrees it completes, lowest first (the leaf itself included).

        Raises OverflowError past MAX_SIZE leaves.
        """
        if self.size >= MAX_SIZE:
            raise OverflowError("the tree is full")
        index = self.size
        completed = [Node(0, index, leaf)]
        current, level = leaf, 0
        while index & 1:
            current = node_hash(self.peaks.pop(), current)
            index >>= 1
            level += 1
            completed.append(Node(level, index, current))
        self.peaks.append(current)
        self.size += 1
        return completed

    def root(self) -> bytes:
        """Root hash of the tree as it stands."""
        return _fold(self.peaks) if self.peaks else EMPTY_ROOT


def root_at(size: int, node: NodeReader) -> bytes:
    """Root of the first `size` leaves, from stored nodes. Raises ValueError for a size out of range."""
    _check_size(size)
    return Frontier.load(size, node).root()


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root over leaf hashes given in order; the slow way round, for recomputing a whole log."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(index: int, size: int, node: NodeReader) -> list[bytes]:
    """Audit path of leaf `index` in the tree of `size` leaves, sibling of the leaf first (RFC 9162, 2.1.3.1).

    Raises ValueError unless 0 <= index < size; the node reader's LookupError passes through.
    """
    _check_size(size)
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        split = start + _largest_power_below(end - start)
        if index < split:
            path.append(_range_hash(split, end, node))
            end = split
        else:
            path.append(_range_hash(start, split, node))
            start = split
    path.reverse()
    return path


def consistency_proof(old_size: int, new_size: int, node: NodeReader) -> list[bytes]:
    """Proof that the tree of `old_size` leaves is a prefix of that of `new_size` (RFC 9162, 2.1.4.1).

    Empty when old_size is 0 or the sizes are equal. Raises ValueError unless 0 <= old_size <= new_size.
    """
    _check_size(new_size)
    if not 0 <= old_size <= new_size:
        raise ValueError(f"a tree of {old_size} leaves cannot be a prefix of one of {new_size}")
    if old_size in (0, new_size):
        return []
    path: list[bytes] = []
    start, end, whole = 0, new_size, True
    while old_size != end:
        split = start + _largest_power_below(end - start)
        if old_size <= split:
            path.append(_range_hash(split, end, node))
            end = split
        else:
            path.append(_range_hash(start, split, node))
            start, whole = split, False
    if not whole:
        path.append(_range_hash(start, end, node))
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether `path` proves that leaf hash `leaf` is number `index` of the tree (`size`, `root`) (RFC 9162, 2.1.3.2).

    Never raises on wrong input: a proof of the wrong length or with hashes of the wrong size is simply no proof.
    """
    if not 0 <= index < size or size > MAX_SIZE or not _well_formed(leaf, root, *path):
        return False
    position, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            current = node_hash(current, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and current == root


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` proves that (`old_size`, `old_root`) is a prefix of (`new_size`, `new_root`) (RFC 9162, 2.1.4.2).

    The empty tree is a prefix of every tree. Never raises on wrong input.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE or not _well_formed(old_root, new_root, *path):
        return False
    if old_size == new_size:
        return not path and old_root == new_root
    if old_size == 0:
        return not path and old_root == EMPTY_ROOT
    hashes = list(path)
    if old_size & (old_size - 1) == 0:
        hashes.insert(0, old_root)  # a perfect old tree is itself the first node, so the proof leaves it out
    if not hashes:
        return False
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position >>= 1
        last >>= 1
    old_current = new_current = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old_current = node_hash(sibling, old_current)
            new_current = node_hash(sibling, new_current)
            while not position & 1 and position:
                position >>= 1
                last >>= 1
        else:
            new_current = node_hash(new_current, sibling)
        position >>= 1
        last >>= 1
    return last == 0 and old_current == old_root and new_current == new_root


def _check_size(size: int) -> None:
    """Refuse a size no tree can have."""
    if not 0 <= size <= MAX_SIZE:
        raise ValueError(f"tree size {size} is out of range")


def _well_formed(*hashes: bytes) -> bool:
    """Whether every hash has the right length; a short one could otherwise shift bytes between neighbours."""
    return all(len(value) == HASH_BYTES for value in hashes)


def _largest_power_below(count: int) -> int:
    """Largest power of two smaller than `count` (count >= 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _cover(start: int, end: int) -> list[tuple[int, int]]:
    """The perfect subtrees that make up leaves start..end-1, largest first; `start` is a multiple of the first one."""
    cover: list[tuple[int, int]] = []
    while start < end:
        level = (end - start).bit_length() - 1
        cover.append((level, start >> level))
        start += 1 << level
    return cover


def _range_hash(start: int, end: int, node: NodeReader) -> bytes:
    """Hash of the subtree over leaves start..end-1, as the recursive split of RFC 9162 makes it."""
    return _fold([node(level, index) for level, index in _cover(start, end)])


def _fold(peaks: Sequence[bytes]) -> bytes:
    """Combine the peaks of one subtree, smallest first, into its hash."""
    current = peaks[-1]
    for peak in reversed(peaks[:-1]):
        current = node_hash(peak, current)
    return current
