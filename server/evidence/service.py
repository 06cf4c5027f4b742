"""Evidence records: declaring them, the manifest of an inspection, and access with its custody entries."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.evidence import ledger
from server.evidence.custody import Entry, Fault
from server.evidence.derivatives import WATERMARKED, find_derivative
from server.evidence.facts import UNKNOWN_TYPE
from server.evidence.hashing import Digest
from server.evidence.models import DECLARED, ERASED, REJECTED, STORED, VERIFIED, WAITING, Blob, Evidence, Upload
from server.evidence.placing import declared_of
from server.evidence.receipts import finished_upload
from server.evidence.recording import mark_verified
from server.evidence.stores import open_store
from server.prooflog.models import Leaf
from server.runtime import Runtime

MAX_LISTED = 1_000
"""Most evidence records of one inspection in one answer."""
MAX_RANGE_CHARS = 100
"""Characters of a Range header that are kept with a custody entry."""
FIXED = ("inspection", "sha256", "sm3", "size_bytes", "media_type", "captured_at", "position", "file_name")
"""Fields that the first declaration fixes; a later different value is flagged, not taken."""


@dataclass(frozen=True)
class Manifest:
    """The evidence of one inspection, each list by record id."""

    total: int
    verified: int
    """With verified bytes; bytes that were lawfully destroyed since count as well."""
    missing: list[str] = field(default_factory=list)
    """Declared, and the bytes are not here (or not settled) yet."""
    rejected: list[str] = field(default_factory=list)
    """The bytes that came are not what was declared."""
    flagged: list[str] = field(default_factory=list)
    """Verified, with discrepancies for a person; blocks nothing."""
    withdrawn: list[str] = field(default_factory=list)
    """Deleted records; not part of the total."""

    @property
    def complete(self) -> bool:
        """Whether every record's bytes are verified."""
        return self.verified == self.total


@dataclass(frozen=True)
class Content:
    """An original, opened for reading; the caller closes the stream."""

    stream: BinaryIO
    sha256: str
    size_bytes: int


def declare(
    session: Session,
    rt: Runtime,
    record_id: str,
    fields: Mapping[str, Any],
    *,
    device: str,
    act_hash: str,
    region: str = "",
    department: str = "",
) -> None:
    """Take over what an applied evidence act declares; called inside the transaction that applies it.

    Files are not touched here: finished bytes that wait for this record are settled by the worker, in the next step.

    Args:
        session: the write session.
        rt: the runtime.
        record_id: id of the evidence record.
        fields: the act's fields in wire form (schemas.kinds.field_work.EvidenceSchema), already validated.
        device: the device whose journal the act is in.
        act_hash: hash of the act, lower-case hex.
        region: division code of the inspection.
        department: department code of the inspection.
    """
    values = _values(fields)
    evidence = ledger.lock_evidence(session, record_id)
    if evidence is None:
        evidence = Evidence(
            id=record_id, region=region, department=department, device=device, act_hash=act_hash, status=DECLARED,
            declared_at=rt.now(), flags=[], custody_count=0, custody_head="", **values,
        )  # fmt: skip
        session.add(evidence)
        session.flush()
    else:
        evidence.region, evidence.department = region or evidence.region, department or evidence.department
        if evidence.withdrawn_at is not None:  # an act that had seen the deletion revived the record
            evidence.withdrawn_at = None
            ledger.append(session, rt, evidence, "reinstate", actor=_actor(device), detail={"act": act_hash})
        if not _supplement(evidence, values, device, act_hash):
            return
        evidence.derived_at = None  # what the watermark says has changed
    detail = {name: fields[name] for name in ("inspection", "captured_at", "sha256", "sm3") if name in fields}
    ledger.append(session, rt, evidence, "capture", actor=f"device:{device}", detail={"act": act_hash, **detail})
    _recheck(session, rt, evidence)


def withdraw(session: Session, rt: Runtime, record_id: str, *, device: str | None, act_hash: str) -> None:
    """Note that an evidence record is deleted; bytes and chain stay, the manifest leaves it out.

    Args:
        session: the write session.
        rt: the runtime.
        record_id: id of the evidence record.
        device: whose act deleted it; None: the office's.
        act_hash: hash of that act; empty if it is not known.
    """
    evidence = ledger.lock_evidence(session, record_id)
    if evidence is not None and evidence.withdrawn_at is None:
        evidence.withdrawn_at = rt.now()
        ledger.append(session, rt, evidence, "withdraw", actor=_actor(device), detail={"act": act_hash})


def _actor(device: str | None) -> str:
    return ledger.SERVER if device is None else f"device:{device}"


def manifest(session: Session, inspection_id: str) -> Manifest:
    """Return what evidence an inspection declares and how far each has got."""
    rows = list(session.scalars(select(Evidence).where(Evidence.inspection == inspection_id).order_by(Evidence.id)))
    live = [row for row in rows if row.withdrawn_at is None]
    return Manifest(
        total=len(live),
        verified=sum(row.status in (VERIFIED, ERASED) for row in live),
        missing=[row.id for row in live if row.status in (DECLARED, WAITING)],
        rejected=[row.id for row in live if row.status == REJECTED],
        flagged=[row.id for row in live if row.status == VERIFIED and row.flags],
        withdrawn=[row.id for row in rows if row.withdrawn_at is not None],
    )


def list_evidence(session: Session, inspection_id: str, limit: int = MAX_LISTED) -> list[Evidence]:
    """Return an inspection's evidence rows, oldest first, at most `limit`."""
    query = select(Evidence).where(Evidence.inspection == inspection_id).order_by(Evidence.id).limit(limit)
    return list(session.scalars(query))


def get_evidence(session: Session, evidence_id: str) -> Evidence:
    """Return one evidence row.

    Raises:
        Problem: `not-found`.
    """
    evidence = session.get(Evidence, evidence_id)
    if evidence is None:
        raise Problem("not-found", detail="no such evidence")
    return evidence


def open_content(
    session: Session, rt: Runtime, evidence_id: str, *, actor: str, requested: str = "", kind: str = ""
) -> Content:
    """Open the original of verified evidence, or a derivative, and enter the access in the chain of custody.

    Args:
        session: a write session; the entry commits before a byte leaves.
        rt: the runtime.
        evidence_id: the record.
        actor: pseudonymous id of the reader.
        requested: the Range header, kept with the entry.
        kind: which derivative; empty for the original.

    Raises:
        Problem: `not-found`, also for a derivative that is not drawn; `conflict` while the bytes are not verified;
            `unavailable` if the store does not give them now.
    """
    evidence = ledger.lock_evidence(session, evidence_id)
    if evidence is None:
        raise Problem("not-found", detail="no such evidence")
    if evidence.status == ERASED:
        raise Problem("erased", detail="the bytes of this evidence were lawfully destroyed")
    if evidence.status != VERIFIED or evidence.sha256 is None or evidence.size_bytes is None:
        raise Problem("conflict", detail="the bytes of this evidence are not verified yet", state=evidence.status)
    wanted = (evidence.sha256, evidence.size_bytes)
    detail = {"range": requested[:MAX_RANGE_CHARS]} if requested else {}
    if kind:
        derivative = find_derivative(session, evidence_id, kind)
        if derivative is None:
            raise Problem("not-found", detail="this copy is not drawn; not every file has one")
        wanted, detail["copy"] = (derivative.sha256, derivative.size_bytes), kind
    try:
        stream = open_store(rt.settings).open(wanted[0])
    except OSError as error:
        raise Problem("unavailable", detail="the store does not have these bytes now") from error
    ledger.append(session, rt, evidence, "export" if kind == WATERMARKED else "view", actor=actor, detail=detail)
    return Content(stream, *wanted)


def note_transfer(session: Session, rt: Runtime, evidence_id: str, *, actor: str, recipient: str, basis: str) -> None:
    """Enter that verified evidence was handed to somebody outside.

    Raises:
        Problem: `not-found`; `conflict` while its bytes are not verified.
    """
    evidence = ledger.lock_evidence(session, evidence_id)
    if evidence is None:
        raise Problem("not-found", detail="no such evidence")
    if evidence.status != VERIFIED:
        raise Problem("conflict", detail="the bytes of this evidence are not verified", state=evidence.status)
    detail = {"recipient": recipient, "basis": basis}
    ledger.append(session, rt, evidence, "transfer", actor=actor, detail=detail)


def found_media_type(session: Session, evidence: Evidence) -> str:
    """Return the media type that examination found in the bytes; never the declared one."""
    blob = session.get(Blob, evidence.sha256) if evidence.sha256 else None
    return str(blob.facts["media_type"]) if blob is not None and blob.facts else UNKNOWN_TYPE


def custody(session: Session, evidence: Evidence) -> tuple[list[Entry], list[Fault]]:
    """Return a record's chain of custody and its faults.

    The chain is also held against the proof log, which names its head at each verification and at sealing: a chain that
    was rewritten together with its recorded head still lacks the entry that the log has.
    """
    entries, faults = ledger.entries_of(session, evidence.id), ledger.check(session, evidence)
    hashes = {entry.hash for entry in entries}
    for head in anchored_heads(session, evidence.id):
        if head not in hashes:
            faults.append(Fault(len(entries), f"the proof log names entry {head[:16]}…, which is not in the chain"))
    return entries, faults


def anchored_heads(session: Session, evidence_id: str) -> list[str]:
    """Return the hashes of custody entries that leaves of the proof log name for a record."""
    refs = (evidence_id, f"{evidence_id}:seal")
    leaves = select(Leaf.data).where(Leaf.kind == "evidence", Leaf.ref.in_(refs)).order_by(Leaf.index)
    return [str(json.loads(data)["custody"]) for data in session.scalars(leaves)]


def _recheck(session: Session, rt: Runtime, evidence: Evidence) -> None:
    """Attach bytes this device has sent before; note finished bytes that wait for this record."""
    if evidence.sha256 is None or evidence.status in (VERIFIED, ERASED):
        return
    sent = select(Upload).where(
        Upload.device == evidence.device, Upload.sha256 == evidence.sha256, Upload.state == STORED
    )
    for upload in session.scalars(sent.order_by(Upload.id).limit(1)):
        digest = Digest(str(upload.sha256), str(upload.sm3), upload.length_bytes)
        if declared_of(evidence).fits(digest):
            ledger.append_rows(session, [mark_verified(session, rt, evidence, digest)])
            return
    if finished_upload(session, evidence.id, evidence.device) is not None:
        evidence.status = WAITING


def _supplement(evidence: Evidence, values: dict[str, Any], device: str, act_hash: str) -> bool:
    """Add what an earlier act left open; returns whether something fixed was added.

    A caption may change until the record is sealed. What is fixed stays as it is, and a different later value becomes
    a flag. What was erased stays erased.
    """
    if evidence.status == ERASED:
        return False
    evidence.act_hash = evidence.act_hash or act_hash
    if "caption" in values and evidence.sealed_at is None:
        evidence.caption = values["caption"]
    if evidence.sha256 is None and values.get("sha256") is not None:
        evidence.device, evidence.act_hash = device, act_hash
    added, changed = False, []
    for name in FIXED:
        if values.get(name) is None:
            continue
        if getattr(evidence, name) is None:
            setattr(evidence, name, values[name])
            added = True
        elif getattr(evidence, name) != values[name]:
            changed.append(name)
    if changed:
        flag = {"code": "redeclared", "fields": changed, "act": act_hash}
        evidence.flags = [*evidence.flags, flag]
    return added


def _values(fields: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: fields[name] for name in (*FIXED, "caption") if fields.get(name) is not None}
    if "captured_at" in values:
        values["captured_at"] = _instant(values["captured_at"])
    return values


def _instant(text: str) -> datetime | None:
    """Return a wire instant in UTC; None for one that no clock here can hold (year 1 with an offset)."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
