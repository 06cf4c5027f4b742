"""Set digests: equal for equal sets in any order, different otherwise, and ranges that find the difference."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.digest import (
    LeafChanges,
    Pair,
    SetDigest,
    digest_of,
    leaf_of,
    range_key,
    record_pair,
    split_leaves,
    split_range,
    total,
)

PAIRS = st.dictionaries(st.text(max_size=8), st.binary(min_size=32, max_size=32), max_size=20).map(
    lambda found: list(found.items())
)


def numbered(count: int) -> list[Pair]:
    """`count` pairs with numbered ids."""
    return [(f"id-{number}", hashlib.sha256(b"%d" % number).digest()) for number in range(count)]


@given(PAIRS, st.randoms(use_true_random=False))
def test_order_does_not_matter(pairs: list[Pair], randomness: random.Random) -> None:
    """Any order, one at a time or at once, gives the same digest."""
    shuffled = list(pairs)
    randomness.shuffle(shuffled)
    one_by_one = SetDigest()
    for identifier, content_hash in shuffled:
        one_by_one = one_by_one.add(identifier, content_hash)
    assert one_by_one == digest_of(pairs)
    assert one_by_one.hex() == digest_of(pairs).hex()


@given(PAIRS, PAIRS)
def test_different_sets_differ(left: list[Pair], right: list[Pair]) -> None:
    """Digests are equal exactly when the sets are."""
    assert (digest_of(left) == digest_of(right)) == (set(left) == set(right))


@given(PAIRS, st.text(max_size=8), st.binary(min_size=32, max_size=32))
def test_removing_undoes_adding(pairs: list[Pair], identifier: str, content_hash: bytes) -> None:
    """Add then remove is where it began."""
    digest = digest_of(pairs)
    assert digest.add(identifier, content_hash).remove(identifier, content_hash) == digest


@given(PAIRS, st.integers(min_value=0, max_value=20))
def test_parts_combine_to_the_whole(pairs: list[Pair], cut: int) -> None:
    """Digests of two parts combine to that of the whole."""
    assert digest_of(pairs[:cut]).combine(digest_of(pairs[cut:])) == digest_of(pairs)


def test_ids_and_hashes_do_not_run_into_each_other() -> None:
    """The border between id and hash is part of what is hashed."""
    assert digest_of([("ab", b"c")]) != digest_of([("a", b"bc")])


def test_the_same_pair_twice_is_not_once_and_not_never() -> None:
    """Unlike an exclusive-or, a duplicate shows."""
    pair = ("a", bytes(32))
    assert len({digest_of([]).hex(), digest_of([pair]).hex(), digest_of([pair, pair]).hex()}) == 3


@given(PAIRS)
def test_dump_and_load(pairs: list[Pair]) -> None:
    """The running state survives being written down."""
    digest = digest_of(pairs)
    assert SetDigest.load(digest.dump()) == digest


@pytest.mark.parametrize("text", ["", "1", "x:1", "1:x", "1:-1", "01:1", "1:" + "f" * 513, "1: 1"])
def test_load_refuses_anything_else(text: str) -> None:
    """Only what `dump` writes is read."""
    with pytest.raises(ValueError, match=r"digest|literal"):
        SetDigest.load(text)


def test_ranges_partition_the_set() -> None:
    """The sixteen ranges combine to the whole, each holding just the ids that hash into it."""
    pairs = numbered(300)
    ranges = split_range(pairs, "")
    total = SetDigest()
    for prefix, digest in ranges.items():
        assert digest == digest_of([pair for pair in pairs if range_key(pair[0]).startswith(prefix)])
        total = total.combine(digest)
    assert total == digest_of(pairs)


@pytest.mark.parametrize("prefix", ["g", "A", "0" * 64, "../"])
def test_what_is_no_range_is_refused(prefix: str) -> None:
    """A prefix from outside is checked."""
    with pytest.raises(ValueError, match=r"not a range"):
        split_range([], prefix)


@given(st.dictionaries(st.text(max_size=4), st.binary(max_size=3), max_size=30), st.integers(0, 30))
def test_collected_changes_lead_from_one_set_to_the_other(after: dict[str, bytes], kept: int) -> None:
    """Differences of the smallest ranges, combined with what was there, are the digests of what is there now."""
    before = {name: content + b"x" for name, content in list(after.items())[:kept]} | {"gone": b"1"}
    leaves: dict[str, SetDigest] = {}
    for source, target in (({}, before), (before, after)):
        changes = LeafChanges()
        for name in source.keys() | target.keys():
            assert changes.replace(name, source.get(name), target.get(name)) == leaf_of(name)
        for leaf, change in changes.by_leaf.items():
            leaves[leaf] = leaves.get(leaf, SetDigest()).combine(change)
    assert total(leaves) == digest_of(after.items())
    for prefix in ("", "0", "ab"):
        assert split_leaves(leaves, prefix) == split_range(after.items(), prefix)
        assert total(leaves, prefix).count == sum(range_key(name).startswith(prefix) for name in after)


def test_the_pair_of_a_record() -> None:
    """Kind and id name it, the hash covers the line as it was served."""
    assert record_pair("task", "t", b"{}") == ("task/t", hashlib.sha256(b"{}").digest())


@pytest.mark.parametrize("text", ["", "3", "1:0x1", "1:-1", "01:1", f"1:{1 << 4096:x}", "a:1", "1:g"])
def test_what_is_no_digest(text: str) -> None:
    """Only what was dumped loads."""
    assert SetDigest.load(digest_of(numbered(3)).dump()) == digest_of(numbered(3))
    with pytest.raises(ValueError):  # noqa: PT011 - of int() as well
        SetDigest.load(text)
