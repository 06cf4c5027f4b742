"""Collecting what a case consists of: its records with every act, the devices' journals, custody, behaviors, proofs.

Everything is read in one session, so that the bundle shows one moment. Texts are the very bytes that were hashed.
"""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior
from server.casefile.journals import journal_runs
from server.db.engine import IN_LIST_LIMIT
from server.errors import Problem
from server.evidence.models import VERIFIED, Evidence
from server.evidence.service import custody, list_evidence
from server.prooflog import service as prooflog
from server.prooflog.models import Leaf
from server.prooflog.timestamps import first_stamp
from server.prooflog.witnesses import cosignatures
from server.records.models import Act, SyncedRecord

MAX_ACTS = 100_000
"""Most acts in one bundle."""
MAX_EVIDENCE = 10_000
"""Most pieces of evidence in one bundle."""
EXTENSIONS = {
    "image/jpeg": "jpg", "image/png": "png", "image/heic": "heic", "application/pdf": "pdf", "video/mp4": "mp4",
    "audio/mpeg": "mp3", "audio/mp4": "m4a", "text/csv": "csv", "application/json": "json",
}  # fmt: skip
"""Names are made from the content's type; a name that came from outside never becomes a path."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """All of a case but the bytes of its evidence; each row is a line of the bundle's list of that name."""

    inspection: str
    region: str
    department: str
    records: list[Row]
    """`{"kind", "id", "line"}`: the merged records as they are served."""
    acts: list[Row]
    """Every act on them: what it says, its receipt and status; null where personal data was lawfully erased."""
    journals: list[Row]
    """Runs of headers of devices' journals that hold these acts, each up to a head that the device has signed."""
    evidence: list[Row]
    behaviors: list[Row]
    proof_log: Row


def collect(session: Session, inspection: str) -> Case:
    """Collect a case.

    Raises:
        Problem: `not-found`: there is no such inspection; `unavailable`: the log has no head yet, or does not cover
            the case yet; `limit-exceeded`: too many acts or too much evidence.
    """
    root = session.get(SyncedRecord, ("inspection", inspection))
    if root is None:
        raise Problem("not-found", field="case", detail="there is no inspection with this id")
    children = select(SyncedRecord).where(SyncedRecord.parent == inspection)
    rows = [root, *session.execute(children.order_by(SyncedRecord.kind, SyncedRecord.id)).scalars()]
    acts = _acts(session, [(row.kind, row.id) for row in rows])
    runs = journal_runs(session, acts)
    evidence = bundled_evidence(session, inspection)
    behaviors = list(
        session.execute(
            select(Behavior).where(Behavior.inspection == inspection).order_by(Behavior.id, Behavior.version)
        ).scalars()
    )
    refs = [("behavior", f"{row.id}:{row.version}") for row in behaviors]
    refs += [("evidence", row.id) for row in evidence if row.status == VERIFIED]
    refs += [("journal-head", f"{run['journal']}:{run['first'] + len(run['headers']) - 1}") for run in runs]
    return Case(
        inspection=inspection,
        region=root.region,
        department=root.department,
        records=[{"kind": row.kind, "id": row.id, "line": row.line.decode()} for row in rows],
        acts=[_act_row(act) for act in acts],
        journals=runs,
        evidence=[_evidence_row(session, row) for row in evidence],
        behaviors=[_behavior_row(row) for row in behaviors],
        proof_log=_proofs(session, refs),
    )


def bundled_evidence(session: Session, inspection: str) -> list[Evidence]:
    """Return all evidence of a case: a bundle never leaves some of it out.

    Raises:
        Problem: `limit-exceeded`.
    """
    found = list_evidence(session, inspection, MAX_EVIDENCE + 1)
    if len(found) > MAX_EVIDENCE:
        raise Problem("limit-exceeded", field="case", detail="too much evidence for one bundle", limit=MAX_EVIDENCE)
    return found


def _acts(session: Session, keys: Sequence[tuple[str, str]]) -> list[Act]:
    found: list[Act] = []
    for start in range(0, len(keys), IN_LIST_LIMIT):
        wanted = tuple_(Act.kind, Act.record).in_(keys[start : start + IN_LIST_LIMIT])
        found += session.execute(select(Act).where(wanted).limit(MAX_ACTS + 1)).scalars()
        if len(found) > MAX_ACTS:
            raise Problem("limit-exceeded", field="case", detail="too many acts for one bundle", limit=MAX_ACTS)
    return sorted(found, key=lambda act: (act.journal, act.seq))


def _act_row(act: Act) -> Row:
    header = json.loads(act.header)
    return {
        "journal": act.journal,
        "seq": act.seq,
        "kind": act.kind,
        "record": act.record,
        "office": act.device is None,
        "author": act.author,
        "device": act.device,
        "at_ms": act.at_ms,
        "received_at": act.received_at.isoformat(),
        "status": str(act.status),
        "header": act.header.decode(),
        "body": act.body.decode() or None,
        "personal": (act.personal.decode() or None) if header["personal"] else None,
        "receipt": act.receipt.decode() or None,
    }


def _evidence_row(session: Session, row: Evidence) -> Row:
    entries, _ = custody(session, row)
    extension = EXTENSIONS.get(row.media_type or "", "bin")
    return {
        "id": row.id,
        "status": row.status,
        "sha256": row.sha256,
        "sm3": row.sm3,
        "size_bytes": row.size_bytes,
        "media_type": row.media_type,
        "captured_at": row.captured_at and row.captured_at.isoformat(),
        "caption": row.caption,
        "flags": row.flags,
        "file": f"evidence/{row.id}.{extension}" if row.status == VERIFIED else None,
        "custody": [entry.body.decode() for entry in entries],
        "custody_head": row.custody_head,
    }


def _behavior_row(row: Behavior) -> Row:
    personal = row.personal.decode() if row.personal is not None else None  # none for firms, and none once erased
    return {
        "id": row.id,
        "version": row.version,
        "kind": row.kind,
        "number": row.number,
        "content": row.line.decode(),
        "personal": personal,
    }


def _proofs(session: Session, refs: Iterable[tuple[str, str]]) -> Row:
    head = prooflog.latest_head(session)
    if head is None:
        raise Problem("unavailable", field="case", detail="the proof log has no signed head yet")
    leaves = _leaves(session, list(refs))
    paths = {proof.index: proof.path for proof in _inclusions(session, sorted(leaves), head.size)}
    checkpoint, signature = prooflog.checkpoint_of(session, head)
    lines = b"".join(line.line() for line in (signature, *cosignatures(session, head.size)))
    return {
        "checkpoint": (checkpoint.body() + b"\n" + lines).decode(),
        "leaves": [
            {
                "index": index,
                "kind": row.kind,
                "ref": row.ref,
                "leaf": row.data.decode(),
                "path": [step.hex() for step in paths[index]],
            }
            for index, row in sorted(leaves.items())
        ],
        "timestamp": _timestamp(session, max(leaves, default=0) + 1),
    }


def _leaves(session: Session, refs: Sequence[tuple[str, str]]) -> dict[int, Leaf]:
    found: dict[int, Leaf] = {}
    for start in range(0, len(refs), IN_LIST_LIMIT):
        wanted = tuple_(Leaf.kind, Leaf.ref).in_(refs[start : start + IN_LIST_LIMIT])
        found |= {row.index: row for row in session.execute(select(Leaf).where(wanted)).scalars()}
    return found


def _inclusions(session: Session, indexes: Sequence[int], size: int) -> Iterable[prooflog.InclusionProof]:
    for start in range(0, len(indexes), prooflog.MAX_PROOFS):
        yield from prooflog.inclusions(session, indexes[start : start + prooflog.MAX_PROOFS], size)


def _timestamp(session: Session, size: int) -> Mapping[str, Any] | None:
    """The earliest stamp of a head that covers the case, for those who trust its authority."""
    stamp = first_stamp(session, size)
    if stamp is None:
        return None
    message = prooflog.checkpoint_of(session, prooflog.head_of(session, stamp.size))[0].body()
    return {
        "size": stamp.size,
        "stamped_at": stamp.stamped_at.isoformat(),
        "message": message.decode(),
        "answer": base64.b64encode(stamp.answer).decode(),
    }
