"""The chain of custody, pure: entries that each carry the hash of the one before, and the check of a whole chain.

One chain per evidence record, from its capture on. An entry's body is kept as the exact bytes that were hashed. The
record keeps the number of entries and the last hash, so a shortened chain shows too; both also stand in receipts,
which leave the server.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

DOMAIN = b"fieldproof-custody-v1\n"
ACTIONS = (
    "capture", "upload", "verify", "reject", "view", "export", "transfer", "seal", "withdraw", "reinstate", "hold",
    "release", "erase",
)  # fmt: skip
"""What may happen to evidence."""


@dataclass(frozen=True)
class Entry:
    """One entry as stored: its place in the chain, the bytes that were hashed, their hash (lower-case hex)."""

    seq: int
    body: bytes
    hash: str


@dataclass(frozen=True)
class Fault:
    """What is wrong with a chain and where: at entry `seq` (1 is the first)."""

    seq: int
    reason: str


def entry_hash(body: bytes) -> str:
    """Return the hash of an entry's body."""
    return hashlib.sha256(DOMAIN + body).hexdigest()


def make_entry(
    *, evidence: str, seq: int, prev: str, action: str, actor: str, at: datetime, detail: dict[str, Any]
) -> Entry:
    """Return the next entry of a chain.

    Args:
        evidence: id of the evidence record.
        seq: number of the entry; the first is 1.
        prev: hash of the entry before; empty for the first.
        action: one of :data:`ACTIONS`.
        actor: pseudonymous id of who acted (`device:…`, an account id, `server`).
        at: when the server recorded it, aware.
        detail: JSON object with what belongs to the action.

    Raises:
        ValueError: the action is not one of the known ones.
    """
    if action not in ACTIONS:
        raise ValueError(f"unknown custody action {action!r}")
    body = json.dumps(
        {
            "v": 1,
            "evidence": evidence,
            "seq": seq,
            "prev": prev,
            "action": action,
            "actor": actor,
            "at": at.isoformat(),
            "detail": detail,
        },
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    ).encode()
    return Entry(seq=seq, body=body, hash=entry_hash(body))


def check_chain(evidence: str, entries: Sequence[Entry], *, count: int, head: str) -> list[Fault]:
    """Return every fault of a chain, in order; an intact chain has none.

    Args:
        evidence: id of the record whose chain it should be.
        entries: the entries in the order they are kept.
        count: how many there should be.
        head: hash of the last one; empty for an empty chain.
    """
    faults: list[Fault] = []
    prev = ""
    for place, entry in enumerate(entries, 1):
        faults += [Fault(place, reason) for reason in _entry_faults(evidence, place, prev, entry)]
        prev = entry.hash
    if len(entries) < count:
        faults.append(Fault(len(entries) + 1, f"{count - len(entries)} entries are missing at the end"))
    elif len(entries) > count:
        faults.append(Fault(count + 1, f"{len(entries) - count} entries more than recorded"))
    elif prev != head:
        faults.append(Fault(len(entries), "the last hash is not the recorded head"))
    return faults


def _entry_faults(evidence: str, place: int, prev: str, entry: Entry) -> list[str]:
    if entry_hash(entry.body) != entry.hash:
        return ["the entry was changed"]
    try:
        body = json.loads(entry.body)
    except ValueError:
        return ["the entry is not readable"]
    if not isinstance(body, dict):
        return ["the entry is not readable"]
    reasons = []
    if body.get("evidence") != evidence:
        reasons.append("the entry belongs to other evidence")
    if entry.seq != place or body.get("seq") != place:
        reasons.append(f"entry {body.get('seq')} stands here: one was removed, added or moved")
    elif body.get("prev") != prev:
        reasons.append("the entry does not follow the one before it")
    return reasons
