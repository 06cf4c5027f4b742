"""A device's journal: dense numbers, each act naming its predecessor's hash, one signature per pushed segment."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from sync.acts import ActError, ActParts, Header, check_commitments, check_version, encode, is_hash, parse_header
from sync.clocks import Reading
from sync.dots import MAX_SEQUENCE
from sync.ids import is_id

SEGMENT_DOMAIN = b"fieldproof-segment-v1\n"
SEGMENT_VERSION = 1
SEGMENT_TYPE = "application/vnd.fieldproof.segment"
MAX_SEGMENT_ACTS = 500
"""Most acts in one pushed segment."""
MAX_SEGMENT_BYTES = 8 * 1024 * 1024
"""Largest pushed segment."""
SIGNATURE = re.compile(r"[A-Za-z0-9_-]{86}")
"""An Ed25519 signature in base64url without padding."""
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

    @property
    def reading(self) -> Reading:
        """The device's clocks when the segment was made."""
        return Reading(self.boot, self.wall_ms, self.mono_ms)

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
    check_version(members["v"], SEGMENT_VERSION)
    for name in ("journal", "boot"):
        if not is_id(members[name]):
            raise ActError(name, "is not an id")
    for name in ("first", "last", "wall_ms", "mono_ms"):
        _number(name, members[name])
    if not 1 <= members["first"] <= members["last"]:
        raise ActError("first", "must be from 1 to last")
    if members["last"] - members["first"] >= MAX_SEGMENT_ACTS:
        raise ActError("last", "too many acts in one segment", MAX_SEGMENT_ACTS)
    if not is_hash(members["head"]):
        raise ActError("head", "is not a SHA-256 in lower-case hexadecimal")
    if not isinstance(members["signature"], str) or not SIGNATURE.fullmatch(members["signature"]):
        raise ActError("signature", "is not an Ed25519 signature in base64url without padding")
    values: dict[str, Any] = {name: members[name] for name in SegmentHead.__dataclass_fields__}
    return SegmentHead(**values | {"parent": _parent(members["parent"])})


def _parent(members: object) -> Fork | None:
    if members is None:
        return None
    if not isinstance(members, dict) or members.keys() != {"journal", "seq", "hash"} or not is_id(members["journal"]):
        raise ActError("parent", 'must be null or {"journal", "seq", "hash"}')
    if not is_hash(members["hash"]):
        raise ActError("parent.hash", "is not a SHA-256 in lower-case hexadecimal")
    _number("parent.seq", members["seq"])
    if members["seq"] < 1:
        raise ActError("parent.seq", "must be from 1")
    return Fork(members["journal"], members["seq"], members["hash"])


def _number(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_SEQUENCE:
        raise ActError(name, "is not a whole number", MAX_SEQUENCE)


def chain_breaks(
    acts: Iterable[ActParts],
    decode: Callable[[bytes], object],
    *,
    journal: str,
    first: int = 1,
    prev: str = "",
    last: int | None = None,
    head: str | None = None,
) -> list[Break]:
    """Check a run of acts of one journal: dense numbers, each act naming its predecessor's hash, whole parts.

    Without `last` and `head` (from a signed segment head or a receipt) nothing can say whether the end of the run is
    the end of the journal, or whether its newest act is the one that was written.

    Args:
        acts: the acts in order. A committed personal part may be absent: it may have been erased.
        decode: turns header bytes into a JSON value; raises ValueError if it cannot.
        journal: the journal they belong to.
        first: the number the run starts with.
        prev: the hash of the act before it.
        last: the number it must reach.
        head: the hash its newest act must have.

    Returns:
        Every place that does not hold, in the order found, each with the number of the act that was changed, left
        out, put in or moved; empty when the run is whole.
    """
    found: list[Break] = []
    seq, hash_ = first - 1, prev
    for parts in acts:
        try:
            header = parse_header(decode(parts.header))
            if header.journal != journal:
                raise ActError("journal", "belongs to another journal")
        except ValueError as error:
            seq, hash_ = seq + 1, parts.hash()
            found.append(Break(seq, str(error)))
            continue
        found += _wrong_parts(header, parts)
        if header.seq <= seq:
            found.append(Break(header.seq, "occurs again, or after later ones"))
            continue
        if header.seq > seq + 1:
            found.append(Break(seq + 1, _missing(seq + 1, header.seq - 1)))
        elif header.prev != hash_:
            found.append(_unlinked(seq, first))
        seq, hash_ = header.seq, parts.hash()
    if last is not None and seq < last:
        found.append(Break(seq + 1, _missing(seq + 1, last)))
    elif head is not None and hash_ != head:
        found.append(Break(seq, "is not the act that the head names"))
    return found


def _wrong_parts(header: Header, parts: ActParts) -> list[Break]:
    try:
        check_commitments(header, parts, erasable=True)
    except ActError as error:
        return [Break(header.seq, str(error))]
    return []


def _missing(start: int, end: int) -> str:
    return "is missing" if start == end else f"is missing, and all up to {end}"


def _unlinked(seq: int, first: int) -> Break:
    if seq < first:
        return Break(first, "does not name the hash of the act before the run")
    return Break(seq, "is not the act that its successor names")
