"""The Merkle tree against the published vectors, the recursive definition of RFC 9162, and pymerkle as oracle."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from sync.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_at,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves and roots used by the test suites of Certificate Transparency implementations.
VECTOR_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
VECTOR_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

SIZE = 130
"""Every pair of sizes up to this is tried exhaustively: past two powers of two on both sides."""


class Store:
    """Stored nodes of a tree over `count` numbered leaves; counts the reads."""

    def __init__(self, count: int) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.leaves = [leaf_hash(b"leaf %d" % number) for number in range(count)]
        self.roots = [EMPTY_ROOT]
        self.reads = 0
        self.frontier = Frontier()
        for leaf in self.leaves:
            for node in self.frontier.append(leaf):
                assert (node.level, node.index) not in self.nodes
                self.nodes[node.level, node.index] = node.hash
            self.roots.append(self.frontier.root())

    def read(self, level: int, index: int) -> bytes:
        """The reader passed to the code under test."""
        self.reads += 1
        return self.nodes[level, index]


@pytest.fixture(scope="module")
def store() -> Store:
    """A tree of SIZE leaves."""
    return Store(SIZE)


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 2.1.1, written as the text defines it."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def test_published_vectors() -> None:
    """Roots of one to eight leaves are the published ones."""
    leaves = [leaf_hash(data) for data in VECTOR_LEAVES]
    assert [root_of(leaves[:count]).hex() for count in range(1, 9)] == VECTOR_ROOTS
    assert root_of([]) == EMPTY_ROOT


def test_roots_are_the_recursive_definition(store: Store) -> None:
    """Appending with a frontier and reading stored nodes both give the defined root at every size."""
    for size in range(SIZE + 1):
        assert store.roots[size] == root_at(size, store.read) == defined_root(store.leaves[:size])


def test_a_loaded_frontier_appends_like_the_original(store: Store) -> None:
    """A frontier read back from nodes at any size goes on to the same root and the same nodes."""
    for size in range(SIZE):
        frontier = Frontier.load(size, store.read)
        assert frontier.size == size
        for node in frontier.append(store.leaves[size]):
            assert store.nodes[node.level, node.index] == node.hash
        assert frontier.root() == store.roots[size + 1]


def test_pymerkle_agrees_on_roots_and_inclusion(store: Store) -> None:
    """The second implementation has the same root and the same audit path at every size."""
    oracle = InmemoryTree(algorithm="sha256")
    for number in range(SIZE):
        oracle.append_entry(b"leaf %d" % number)
    for size in range(1, SIZE + 1):
        assert oracle.get_root(size) == store.roots[size]
        for index in {0, size // 2, size - 1}:
            theirs = oracle.prove_inclusion(index + 1, size)
            assert theirs.path[0] == store.leaves[index]
            assert theirs.path[1:] == inclusion_proof(index, size, store.read)


def test_pymerkle_agrees_on_consistency(store: Store) -> None:
    """Both implementations prove the same pairs of states; ours also verifies against their states."""
    oracle = InmemoryTree(algorithm="sha256")
    for number in range(SIZE):
        oracle.append_entry(b"leaf %d" % number)
    for new in range(1, SIZE + 1):
        for old in {1, new // 2 or 1, new - 1 or 1, new}:
            oracle.prove_consistency(old, new).verify(store.roots[old], store.roots[new])
            path = consistency_proof(old, new, store.read)
            assert verify_consistency(old, new, oracle.get_root(old), oracle.get_root(new), path)


def test_every_inclusion_proof_verifies_for_its_leaf_only(store: Store) -> None:
    """Each proof of each leaf at each size verifies, and not for the neighbour leaf, index, size or root."""
    for size in range(1, 40):
        root = store.roots[size]
        for index in range(size):
            path = inclusion_proof(index, size, store.read)
            leaf = store.leaves[index]
            assert verify_inclusion(leaf, index, size, path, root)
            assert not verify_inclusion(store.leaves[index + 1], index, size, path, root)
            assert not verify_inclusion(leaf, index + 1, size, path, root)
            assert not verify_inclusion(leaf, index, size, path, store.roots[size + 1])
            assert not verify_inclusion(leaf, index, size, [*path, root], root)
            assert not path or not verify_inclusion(leaf, index, size, path[:-1], root)


def test_every_consistency_proof_verifies_for_its_states_only(store: Store) -> None:
    """Each pair of sizes verifies; another root on either side, or a changed path, does not."""
    for new in range(SIZE + 1):
        for old in range(new + 1):
            path = consistency_proof(old, new, store.read)
            old_root, new_root = store.roots[old], store.roots[new]
            assert verify_consistency(old, new, old_root, new_root, path)
            assert not verify_consistency(old, new, bytes(32), new_root, path)
            assert not verify_consistency(old, new, old_root, new_root, [*path, bytes(32)])
            if path:
                assert not verify_consistency(old, new, old_root, bytes(32), path)
                assert not verify_consistency(old, new, old_root, new_root, path[:-1])


@given(
    seed=st.data(),
    size=st.integers(min_value=1, max_value=SIZE),
)
def test_any_flipped_bit_breaks_a_proof(seed: st.DataObject, size: int) -> None:
    """Changing one bit of any hash of a proof, the leaf or the root is found."""
    store = Store(size)
    index = seed.draw(st.integers(min_value=0, max_value=size - 1))
    parts = [store.leaves[index], store.roots[size], *inclusion_proof(index, size, store.read)]
    which = seed.draw(st.integers(min_value=0, max_value=len(parts) - 1))
    bit = seed.draw(st.integers(min_value=0, max_value=255))
    changed = bytearray(parts[which])
    changed[bit // 8] ^= 1 << bit % 8
    parts[which] = bytes(changed)
    assert not verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(data=st.binary(max_size=64), index=st.integers(), size=st.integers(), path=st.lists(st.binary(max_size=33)))
def test_verification_never_raises(data: bytes, index: int, size: int, path: list[bytes]) -> None:
    """Nonsense from outside is no proof, and no exception either."""
    assert not verify_inclusion(data, index, size, path, bytes(32))
    assert not verify_consistency(index, size, data, bytes(32), path)


def test_hashes_of_another_length_are_no_proof(store: Store) -> None:
    """A path whose neighbours exchanged bytes has the same concatenation but is refused."""
    path = inclusion_proof(0, 4, store.read)
    shifted = [path[0] + path[1][:1], path[1][1:]]
    assert not verify_inclusion(store.leaves[0], 0, 4, shifted, store.roots[4])


def test_an_empty_path_is_no_proof_of_growth(store: Store) -> None:
    """A consistency proof between different sizes cannot be empty, whatever the shape of the old tree."""
    assert not verify_consistency(3, 5, store.roots[3], store.roots[5], [])
    assert not verify_consistency(4, 5, store.roots[4], store.roots[5], [])
    assert not verify_consistency(0, 5, bytes(32), store.roots[5], [])


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0), (0, -1), (0, MAX_SIZE + 1)])
def test_inclusion_outside_the_tree_is_refused(store: Store, index: int, size: int) -> None:
    """Asking for a leaf outside the tree is an error of the caller."""
    with pytest.raises(ValueError, match=r"out of range|not in a tree"):
        inclusion_proof(index, size, store.read)


@pytest.mark.parametrize(("old", "new"), [(-1, 4), (5, 4), (0, -1)])
def test_consistency_backwards_is_refused(store: Store, old: int, new: int) -> None:
    """A larger tree is never a prefix of a smaller one."""
    with pytest.raises(ValueError, match=r"out of range|prefix"):
        consistency_proof(old, new, store.read)


def test_a_full_tree_refuses_the_next_leaf() -> None:
    """Past the largest size nothing can be appended."""
    with pytest.raises(OverflowError):
        Frontier(MAX_SIZE, [bytes(32)]).append(bytes(32))


def test_proofs_of_ten_million_leaves_read_few_nodes() -> None:
    """Reads grow with the logarithm: a proof at 10,000,000 leaves reads fewer than 50 nodes."""
    reads = 0

    def read(level: int, index: int) -> bytes:
        nonlocal reads
        reads += 1
        return hashlib.sha256(b"%d %d" % (level, index)).digest()

    for index in (0, 9_999_999, 4_567_891):
        reads = 0
        inclusion_proof(index, 10_000_000, read)
        assert reads < 50
    reads = 0
    consistency_proof(7_654_321, 10_000_000, read)
    assert reads < 50


def test_sizes_and_roots_out_of_range_prove_nothing(store: Store) -> None:
    """A newer tree that is smaller, a negative size, a root of another length, or a path element of another length."""
    path = consistency_proof(3, 5, store.read)
    assert verify_consistency(3, 5, store.roots[3], store.roots[5], path)
    assert not verify_consistency(5, 3, store.roots[5], store.roots[3], path)
    assert not verify_consistency(-1, 5, store.roots[3], store.roots[5], path)
    assert not verify_consistency(3, 5, store.roots[3][:-1], store.roots[5], path)
    assert not verify_consistency(3, 5, store.roots[3], store.roots[5], [path[0] + b"0", *path[1:]])
