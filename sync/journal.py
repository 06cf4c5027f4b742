"""A device's journal: dense numbers, each act naming its predecessor's hash, one signature per pushed segment."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sync.acts import ActError, ActParts, encode, parse_header
from sync.dots import MAX_SEQUENCE
from sync.ids import is_id

SEGMENT_DOMAIN = b"fieldproof-segment-v1\n"
SIGN_IN_DOMAIN = b"fieldproof-sign-in-v1\n"
ENROL_DOMAIN = b"fieldproof-enrol-v1\n"
SEGMENT_VERSION = 1
SEGMENT_TYPE = "application/vnd.fieldproof.segment"
MAX_SEGMENT_ACTS = 500
"""Most acts in one pushed segment."""
MAX_SEGMENT_BYTES = 8 * 1024 * 1024
"""Largest pushed segment."""
MAX_JOURNAL_GAP = 10_000
"""How far a segment may lie beyond the server's head of the journal."""


@dataclass(frozen=True)
class Fork:
    """Where a journal continues another one: the last act both agree on."""

    journal: str
    seq: int
    hash: str


@dataclass(frozen=True)
class SegmentHead:
    """The first line of a push: which acts follow, their head, the device's clocks, and the signature over all that."""

    journal: str
    first: int
    last: int
    head: str
    boot: str
    wall_ms: int
    mono_ms: int
    parent: Fork | None = None
    signature: str = ""

    def statement(self) -> bytes:
        """Return the bytes that the device signs."""
        parent = f"{self.parent.journal}:{self.parent.seq}:{self.parent.hash}" if self.parent else ""
        values = (self.journal, parent, self.first, self.last, self.head, self.boot, self.wall_ms, self.mono_ms)
        return SEGMENT_DOMAIN + "\n".join(str(value) for value in values).encode()

    def line(self) -> bytes:
        """Return the head line as it is sent, line feed included."""
        parent = self.parent and {"journal": self.parent.journal, "seq": self.parent.seq, "hash": self.parent.hash}
        members = {
            "v": SEGMENT_VERSION,
            "journal": self.journal,
            "parent": parent,
            "first": self.first,
            "last": self.last,
            "head": self.head,
            "boot": self.boot,
            "wall_ms": self.wall_ms,
            "mono_ms": self.mono_ms,
            "signature": self.signature,
        }
        return encode(members) + b"\n"


@dataclass(frozen=True)
class Break:
    """A place at which a chain does not hold."""

    seq: int
    reason: str


def parse_segment_head(members: object) -> SegmentHead:
    """Check a decoded segment head.

    Raises:
        ActError: a member is missing, unknown, wrong or past its limit.
    """
    if not isinstance(members, dict) or members.keys() != {"v", *SegmentHead.__dataclass_fields__}:
        raise ActError("segment", "the first line must be the segment head")
    if members["v"] != SEGMENT_VERSION:
        raise ActError("v", f"must be {SEGMENT_VERSION}")
    for name in ("journal", "boot"):
        if not is_id(members[name]):
            raise ActError(name, "is not an id")
    for name in ("first", "last", "wall_ms", "mono_ms"):
        _number(name, members[name])
    if not 1 <= members["first"] <= members["last"]:
        raise ActError("first", "must be from 1 to last")
    if members["last"] - members["first"] >= MAX_SEGMENT_ACTS:
        raise ActError("last", "too many acts in one segment", MAX_SEGMENT_ACTS)
    for name in ("head", "signature"):
        if not isinstance(members[name], str) or len(members[name]) > 128:
            raise ActError(name, "is not text", 128)
    values: dict[str, Any] = {name: members[name] for name in SegmentHead.__dataclass_fields__}
    return SegmentHead(**values | {"parent": _parent(members["parent"])})


def _parent(members: object) -> Fork | None:
    if members is None:
        return None
    if not isinstance(members, dict) or members.keys() != {"journal", "seq", "hash"} or not is_id(members["journal"]):
        raise ActError("parent", 'must be null or {"journal", "seq", "hash"}')
    if not isinstance(members["hash"], str) or len(members["hash"]) != 64:
        raise ActError("parent.hash", "is not a hash")
    _number("parent.seq", members["seq"])
    return Fork(members["journal"], members["seq"], members["hash"])


def _number(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEQUENCE:
        raise ActError(name, "is not a whole number", MAX_SEQUENCE)


def sign_in_statement(device: str, at_ms: int, nonce: str) -> bytes:
    """Return the bytes a device signs to get a token."""
    return SIGN_IN_DOMAIN + f"{device}\n{at_ms}\n{nonce}".encode()


def enrol_statement(public_key: str, officer: str) -> bytes:
    """Return the bytes a device signs to prove that it holds the key it enrols (`public_key` in base64url)."""
    return ENROL_DOMAIN + f"{public_key}\n{officer}".encode()


def chain_breaks(
    acts: Iterable[ActParts], decode: Callable[[bytes], object], *, journal: str, first: int = 1, prev: str = ""
) -> list[Break]:
    """Check a run of acts of one journal: dense numbers, and each act naming its predecessor's hash.

    Args:
        acts: the acts in order.
        decode: turns header bytes into a JSON value.
        journal: the journal they belong to.
        first: the number the run starts with.
        prev: the hash of the act before it.

    Returns:
        Every place that does not hold; empty when the run is whole.
    """
    found: list[Break] = []
    seq = first
    for parts in acts:
        try:
            header = parse_header(decode(parts.header))
        except ValueError as error:
            found.append(Break(seq, str(error)))
        else:
            if header.journal != journal:
                found.append(Break(seq, "belongs to another journal"))
            if header.seq != seq:
                found.append(Break(seq, f"carries the number {header.seq}"))
            if header.prev != prev:
                found.append(Break(seq, "does not name its predecessor's hash"))
        prev, seq = parts.hash(), seq + 1
    return found
