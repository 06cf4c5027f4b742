"""Order-independent digests of sets of (id, hash) pairs, and hash ranges that locate a difference.

Two copies that hold the same pairs have the same digest, in whatever order they received them, and a pair is added or
removed in constant time. The construction is the additive multiset hash of Bellare and Micciancio (AdHASH, Eurocrypt
1997): the sum of wide hashes modulo 2**2048. The width matters: with 256 bits a second set of equal sum costs only
about 2**32 work (Wagner's generalised birthday), with 2048 bits about 2**90.

A difference is located by splitting the pairs by the SHA-256 of their id: ranges whose digests agree are never looked
at again, so the work is proportional to the difference and not to the set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

STATE_BYTES = 256
"""Size in bytes of the running sum (2048 bits)."""

MAX_PREFIX_DIGITS = 64
"""A range is at most a whole SHA-256 in hex digits."""

MAX_RANGE_PAIRS = 64
"""A range with at most this many pairs is listed instead of being split further."""

_MODULUS = 1 << (STATE_BYTES * 8)

LEAF_DIGITS = 3
"""Both sides keep running digests of the 4,096 ranges with so many digits; everything above is their sum."""

Pair = tuple[str, bytes]
"""(id, hash of the bytes stored under it)."""


@dataclass(frozen=True, slots=True)
class SetDigest:
    """Running digest of a set of pairs: how many there are, and the sum of their wide hashes."""

    count: int = 0
    state: int = 0

    def add(self, identifier: str, content_hash: bytes) -> SetDigest:
        """The digest with one pair more."""
        return SetDigest(self.count + 1, (self.state + _wide_hash(identifier, content_hash)) % _MODULUS)

    def remove(self, identifier: str, content_hash: bytes) -> SetDigest:
        """The digest with one pair less; removing what was never added gives a digest that equals no real set's."""
        return SetDigest(self.count - 1, (self.state - _wide_hash(identifier, content_hash)) % _MODULUS)

    def combine(self, other: SetDigest) -> SetDigest:
        """The digest of two disjoint sets together."""
        return SetDigest(self.count + other.count, (self.state + other.state) % _MODULUS)

    def hex(self) -> str:
        """The digest in its short form for comparing and showing: SHA-256 over count and state, 64 hex digits."""
        text = b"fieldproof-set-v1\n%d\n" % self.count
        return hashlib.sha256(text + self.state.to_bytes(STATE_BYTES, "big")).hexdigest()

    def dump(self) -> str:
        """The whole running state as text, for keeping it between runs; `load` reads it back."""
        return f"{self.count}:{self.state:x}"

    @classmethod
    def load(cls, text: str) -> SetDigest:
        """Read what `dump` wrote. Raises ValueError for anything else."""
        count, separator, state = text.partition(":")
        digest = cls(int(count), int(state, 16)) if separator else cls(-1)
        if not 0 <= digest.state < _MODULUS or digest.dump() != text:
            raise ValueError("not a set digest")
        return digest


def record_pair(kind: str, record: str, line: bytes) -> Pair:
    """The pair of a served record: `kind/id`, and the SHA-256 of its line as it was served, without the line feed."""
    return f"{kind}/{record}", hashlib.sha256(line).digest()


class LeafChanges:
    """What changes of pairs do to the digests of the smallest ranges, collected so that each is written once.

    `by_leaf` maps the range's digits to a difference: a `SetDigest` to be combined with the one that is kept.
    """

    def __init__(self) -> None:
        """Begin without any change."""
        self.by_leaf: dict[str, SetDigest] = {}

    def replace(self, identifier: str, before: bytes | None, after: bytes | None) -> str:
        """Note that the hash under an id changes; None stands for not being there. Returns the id's range."""
        leaf = leaf_of(identifier)
        digest = self.by_leaf.get(leaf, SetDigest())
        if before is not None:
            digest = digest.remove(identifier, before)
        if after is not None:
            digest = digest.add(identifier, after)
        self.by_leaf[leaf] = digest
        return leaf


def leaf_of(identifier: str) -> str:
    """The smallest range with a running digest that an id lies in."""
    return range_key(identifier)[:LEAF_DIGITS]


def total(leaves: Mapping[str, SetDigest], prefix: str = "") -> SetDigest:
    """Digest of a range from those of the smallest ranges; `prefix` has at most LEAF_DIGITS digits."""
    digest = SetDigest()
    for leaf, part in leaves.items():
        if leaf.startswith(prefix):
            digest = digest.combine(part)
    return digest


def split_leaves(leaves: Mapping[str, SetDigest], prefix: str) -> dict[str, SetDigest]:
    """As `split_range`, from the digests of the smallest ranges; `prefix` has fewer than LEAF_DIGITS digits."""
    ranges: dict[str, SetDigest] = {}
    for leaf, part in leaves.items():
        if leaf.startswith(prefix) and part.count:
            child = leaf[: len(prefix) + 1]
            ranges[child] = ranges.get(child, SetDigest()).combine(part)
    return ranges


def digest_of(pairs: Iterable[Pair]) -> SetDigest:
    """Digest of all `pairs`, in any order."""
    count = state = 0
    for identifier, content_hash in pairs:
        count += 1
        state += _wide_hash(identifier, content_hash)
    return SetDigest(count, state % _MODULUS)


def range_key(identifier: str) -> str:
    """Where an id stands in the hash ranges: its SHA-256 in hex, so that ids of any form spread evenly."""
    return hashlib.sha256(identifier.encode()).hexdigest()


def split_range(pairs: Iterable[Pair], prefix: str) -> dict[str, SetDigest]:
    """Digests of the sixteen ranges just below `prefix` (hex digits), those without pairs left out.

    Pairs outside `prefix` are ignored. Raises ValueError for a prefix that is no range.
    """
    if len(prefix) >= MAX_PREFIX_DIGITS or prefix.strip("0123456789abcdef"):
        raise ValueError("not a range that can be split")
    ranges: dict[str, SetDigest] = {}
    for identifier, content_hash in pairs:
        key = range_key(identifier)
        if key.startswith(prefix):
            child = key[: len(prefix) + 1]
            ranges[child] = ranges.get(child, SetDigest()).add(identifier, content_hash)
    return ranges


def _wide_hash(identifier: str, content_hash: bytes) -> int:
    """2048-bit hash of one pair; the id's length keeps (ab, c) and (a, bc) apart."""
    name = identifier.encode()
    material = b"fieldproof-pair-v1\n%d\n" % len(name) + name + content_hash
    return int.from_bytes(hashlib.shake_128(material).digest(STATE_BYTES), "big")
