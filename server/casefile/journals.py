"""Which stretches of devices' journals vouch for a set of acts: headers from the first of them to a signed head.

Headers hold commitments and pseudonymous ids only, so the headers between two acts of a case may be shown to those who
see the case, although they belong to others.
"""

import base64
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.devices.keys import signer_of
from server.devices.models import Device
from server.fieldsync.models import Journal, SegmentSignature
from server.prooflog.models import Leaf
from server.records.models import Act

HEAD_KIND = "journal-head"


def journal_runs(session: Session, acts: Iterable[Act]) -> list[dict[str, Any]]:
    """Return the runs that hold the given acts, each `{"journal", "first", "headers", "statement", "signature",
    "public_key", "device"}`, the key being the one that signed, which the device may have changed since.

    A run begins at the first wanted act of a signed segment and ends at the first head of that journal in the proof
    log that covers the segment. Beyond its signed act it only leads to that head: acts there are in the runs of their
    own segments. Acts beyond a gap, which no head covers yet, are in none.
    """
    wanted: dict[str, list[int]] = defaultdict(list)
    for act in acts:
        if act.device is not None:
            wanted[act.journal].append(act.seq)
    runs = []
    for journal, numbers in sorted(wanted.items()):
        runs += _runs_of(session, journal, sorted(numbers))
    return runs


def _runs_of(session: Session, journal_id: str, numbers: Sequence[int]) -> list[dict[str, Any]]:
    journal = session.get_one(Journal, journal_id)
    device = session.get_one(Device, journal.device)
    query = select(SegmentSignature).where(SegmentSignature.journal == journal_id).order_by(SegmentSignature.last)
    segments = list(session.execute(query).scalars())
    heads = _logged_heads(session, journal_id)
    runs: list[dict[str, Any]] = []
    covered = 0
    for segment in segments:
        mine = [seq for seq in numbers if max(segment.first, covered + 1) <= seq <= segment.last]
        end = next((seq for seq in heads if seq >= segment.last), None)
        if not mine or end is None or end > journal.head_seq:
            continue
        signer = signer_of(session, device, segment.statement.encode(), segment.signature) or device.public_key
        headers = select(Act.header).where(Act.journal == journal_id, Act.seq.between(mine[0], end)).order_by(Act.seq)
        runs.append(
            {
                "journal": journal_id,
                "device": device.id,
                "public_key": base64.b64encode(signer).decode(),
                "first": mine[0],
                "headers": [header.decode() for header in session.execute(headers).scalars()],
                "statement": segment.statement,
                "signature": segment.signature,
            }
        )
        covered = segment.last
    return runs


def _logged_heads(session: Session, journal_id: str) -> list[int]:
    first, beyond = f"{journal_id}:", f"{journal_id};"  # in the order of texts, all that begins with the id and a colon
    query = select(Leaf.ref).where(Leaf.kind == HEAD_KIND, Leaf.ref >= first, Leaf.ref < beyond)
    return sorted(int(ref.removeprefix(first)) for ref in session.execute(query).scalars())
