"""What the server says of an act that arrived, and what it keeps of one that it does not merge. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from server.errors import Problem
from server.fieldsync.segment import LinkedAct
from sync.dots import Dot
from sync.merge import Verdict

_encode = msgspec.json.Encoder().encode
COLUMN_CHARS = 64


@dataclass(frozen=True)
class Unmerged:
    """Why an act is kept as bytes only: what it waits for, or else what is wrong with it."""

    cause: str | None
    problem: Problem | None
    at_ms: int
    position: int
    """Feed position at which this became so."""


def receipt_of(row: Mapping[str, Any], epoch: str, position: int) -> bytes:
    """Return the receipt of an act, from its row: the first verdict, stored and repeated as these bytes."""
    return _encode(
        {
            "journal": row["journal"],
            "seq": row["seq"],
            "act": row["hash"],
            "verdict": row["verdict"],
            "epoch": epoch,
            "position": position,
            "at_ms": row["at_ms"],
            "problem": row["problem"],
        }
    )


def unmerged_row(act: LinkedAct, dot: Dot, device: str, now: datetime, lost: Unmerged) -> dict[str, Any]:
    """Return the row of an act that is kept as bytes only: held or quarantined."""
    verdict = str(Verdict.HELD if lost.cause else Verdict.QUARANTINED)
    return {
        "journal": dot.journal,
        "seq": dot.seq,
        "hash": act.hash,
        "kind": _text(act.members.get("kind")),
        "record": _text(act.members.get("record")),
        "device": device,
        "author": _text(act.members.get("officer")),
        "header": act.parts.header,
        "body": act.parts.body,
        "personal": act.parts.personal,
        "received_at": now,
        "at_ms": lost.at_ms,
        "verdict": verdict,
        "status": verdict,
        "status_position": lost.position,
        "waiting_for": lost.cause,
        "problem": None if lost.cause or lost.problem is None else lost.problem.as_dict(),
        "receipt": b"",
    }


def _text(value: object) -> str:
    """A member of an unchecked header, as far as it fits its column."""
    return value[:COLUMN_CHARS].replace("\x00", "") if isinstance(value, str) else ""
