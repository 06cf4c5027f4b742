"""Reading a pushed segment: frame, chain and signature. A fault here refuses the request; faults inside an act do not.

Pure but for the signature check, which the caller passes in.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from server.errors import Problem
from server.fieldsync.headers import usual_header
from server.web.body import parse_json
from sync.acts import ActError, ActParts, Header, split_line
from sync.dots import Dot
from sync.journal import MAX_SEGMENT_ACTS, MAX_SEGMENT_BYTES, SegmentHead, parse_segment_head

T = TypeVar("T")
CHAIN_MEMBERS = ("journal", "seq", "prev")
"""Header members without which an act has no place in its chain."""


class LinkedAct(NamedTuple):
    """An act whose place in the chain is proven; the rest of its header may still be unchecked."""

    dot: Dot
    prev: str
    hash: str
    parts: ActParts
    members: Mapping[str, Any]
    header: Header | None = None
    """The header, where it was recognised at once; it is sound then."""

    @property
    def seq(self) -> int:
        """Its number."""
        return self.dot.seq


@dataclass(frozen=True)
class Segment:
    """A whole, chained and signed run of acts."""

    head: SegmentHead
    acts: tuple[LinkedAct, ...]


def read_segment(data: bytes, verify: Callable[[SegmentHead], None]) -> Segment:
    """Read a pushed body.

    Args:
        data: the bytes as sent.
        verify: raises a problem if the head's signature is not the device's.

    Raises:
        Problem: `too-large`, `bad-request` naming line and member, or what `verify` raises.
    """
    if len(data) > MAX_SEGMENT_BYTES:
        raise Problem("too-large", detail="segment too long", limit=MAX_SEGMENT_BYTES)
    lines = data.split(b"\n")
    if len(lines) < 3 or lines[-1]:
        raise Problem("bad-request", field="segment", detail="a head line and act lines, each ended by a line feed")
    if len(lines) - 2 > MAX_SEGMENT_ACTS:
        raise Problem("limit-exceeded", field="segment", detail="too many acts", limit=MAX_SEGMENT_ACTS)
    head = _guarded("head", lambda: parse_segment_head(parse_json(lines[0])))
    if len(lines) - 2 != head.last - head.first + 1:
        raise Problem("bad-request", field="last", detail="the number of acts is not what the head says")
    acts = tuple(_linked(index + head.first, line, head) for index, line in enumerate(lines[1:-1]))
    for before, after in pairwise(acts):
        if after.prev != before.hash:
            raise Problem("bad-request", field=f"acts.{after.seq}.prev", detail="does not name its predecessor's hash")
    if acts[-1].hash != head.head:
        raise Problem("bad-request", field="head", detail="is not the hash of the last act")
    verify(head)
    return Segment(head, acts)


def _linked(seq: int, line: bytes, head: SegmentHead) -> LinkedAct:
    parts = _guarded(f"acts.{seq}", lambda: split_line(line))
    header = usual_header(parts.header)
    if header is not None and header.journal == head.journal and header.seq == seq:
        return LinkedAct(header.dot, header.prev, parts.hash(), parts, vars(header), header)
    members = _guarded(f"acts.{seq}.header", lambda: parse_json(parts.header))
    if not isinstance(members, dict) or any(name not in members for name in CHAIN_MEMBERS):
        raise Problem("bad-request", field=f"acts.{seq}.header", detail="journal, seq and prev are needed")
    if members["journal"] != head.journal or members["seq"] is True or members["seq"] != seq:
        raise Problem("bad-request", field=f"acts.{seq}.seq", detail="journal and numbers must follow the head")
    if not isinstance(members["prev"], str) or (seq == 1) != (members["prev"] == ""):
        raise Problem("bad-request", field=f"acts.{seq}.prev", detail="is empty for the first act and for no other")
    return LinkedAct(Dot(head.journal, seq), members["prev"], parts.hash(), parts, members)


def _guarded(where: str, action: Callable[[], T]) -> T:
    try:
        return action()
    except ActError as error:
        raise Problem("bad-request", field=f"{where}.{error.field}", detail=error.reason, limit=error.limit) from error
    except Problem as error:
        error.field = error.field or where
        raise
