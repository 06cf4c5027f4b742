"""Custody receipts: the server's signed word that it has a device's evidence, so that the device may delete its copy.

A receipt needs verified bytes and the stored act that declares them, whatever became of that act: what is held or
quarantined is declared all the same. It names the head of the chain of custody, so a copy of it outside the server
shows later whether the chain was cut short.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.errors import Problem
from server.evidence.hashing import Digest
from server.evidence.models import DECLARED, UNSETTLED, VERIFIED, WAITING, Evidence, Upload
from server.evidence.placing import Declared
from server.prooflog.keys import load_key, rotations
from server.records.models import Act
from server.runtime import Runtime
from server.web.body import parse_json

DOMAIN = b"fieldproof-custody-receipt-v1\n"
"""What the signed bytes begin with, before the statement."""
UNKNOWN = "unknown"
"""Of a piece that is not this device's, or that nobody has heard of."""
MAX_ACTS = 20
"""Acts of one record that are searched for its declaration."""


def receipt(session: Session, rt: Runtime, evidence_id: str, device: str) -> dict[str, Any]:
    """Return what a device may know of its own evidence: its status and, once due, the custody receipt.

    Raises:
        Problem: `not-found`, also for another device's evidence.
    """
    (answer,) = receipts(session, rt, [evidence_id], device)
    if answer["status"] == UNKNOWN:
        raise Problem("not-found", detail="no such evidence")
    return answer


def receipts(session: Session, rt: Runtime, ids: Sequence[str], device: str) -> list[dict[str, Any]]:
    """Return the same of several pieces, in their order; the status of what is not this device's is `unknown`."""
    mine = select(Evidence).where(Evidence.id.in_(ids), Evidence.device == device)
    rows = {row.id: row for row in session.scalars(mine)}
    unsettled = (Upload.evidence.in_(ids), Upload.device == device, Upload.state.in_(UNSETTLED))
    uploads = {row.evidence: row for row in session.scalars(select(Upload).where(*unsettled))}
    unapplied = _unapplied(session, [uploads[one] for one in ids if one in uploads and one not in rows])
    return [_answer(rt, one, rows.get(one), uploads.get(one), unapplied.get(one)) for one in ids]


def _answer(
    rt: Runtime, name: str, evidence: Evidence | None, upload: Upload | None, unapplied: dict[str, Any] | None
) -> dict[str, Any]:
    if evidence is None:
        status = UNKNOWN if upload is None else WAITING
        return {"evidence": name, "status": status, "receipt": unapplied and _sign(rt, unapplied)}
    answer: dict[str, Any] = {"evidence": name, "status": evidence.status, "receipt": None}
    if evidence.status == DECLARED and upload is not None:
        answer["status"] = WAITING
    if evidence.status == VERIFIED and evidence.verified_at is not None and evidence.act_hash:
        answer["receipt"] = _sign(rt, _of_verified(evidence))
    return answer


def finished_upload(session: Session, evidence_id: str, device: str) -> Upload | None:
    """Return a device's finished upload for a record that is not settled, if there is one."""
    mine = (Upload.evidence == evidence_id, Upload.device == device, Upload.state.in_(UNSETTLED))
    return session.scalars(select(Upload).where(*mine).limit(1)).first()


def _of_verified(evidence: Evidence) -> dict[str, Any]:
    return {
        "evidence": evidence.id,
        "device": evidence.device,
        "act": evidence.act_hash,
        "sha256": evidence.sha256,
        "sm3": evidence.sm3,
        "size_bytes": evidence.size_bytes,
        "verified_at": evidence.verified_at.isoformat() if evidence.verified_at else None,
        "custody_count": evidence.custody_count,
        "custody_head": evidence.custody_head,
    }


def _unapplied(session: Session, uploads: Sequence[Upload]) -> dict[str, dict[str, Any]]:
    """Return the statements on bytes that fit what a stored act declares, though that act is not applied, by record."""
    hashed = {one.evidence: one for one in uploads if one.sha256 and one.sm3 and one.settled_at is None}
    if not hashed:
        return {}
    place = func.row_number().over(partition_by=(Act.record, Act.device), order_by=(Act.journal, Act.seq))
    some = select(Act.record, Act.device, Act.journal, Act.seq, Act.hash, Act.body, place.label("place"))
    acts = some.where(Act.kind == "evidence", Act.record.in_(hashed), Act.device == uploads[0].device).subquery()
    found: dict[str, dict[str, Any]] = {}
    first = select(acts.c.record, acts.c.hash, acts.c.body).where(acts.c.place <= MAX_ACTS)
    for record, act_hash, body in session.execute(first.order_by(acts.c.journal, acts.c.seq)):
        if record not in found and _fits(hashed[record], _declared_fields(body)):
            found[record] = _of_unapplied(hashed[record], act_hash)
    return found


def _fits(upload: Upload, fields: Mapping[str, Any]) -> bool:
    claimed = Declared(upload.device, fields.get("sha256"), fields.get("sm3"), fields.get("size_bytes"))
    return claimed.fits(Digest(str(upload.sha256), str(upload.sm3), upload.length_bytes))


def _of_unapplied(upload: Upload, act_hash: str) -> dict[str, Any]:
    return {
        "evidence": upload.evidence,
        "device": upload.device,
        "act": act_hash,
        "sha256": upload.sha256,
        "sm3": upload.sm3,
        "size_bytes": upload.length_bytes,
        "verified_at": upload.received_at.isoformat() if upload.received_at else None,
        "custody_count": 0,
        "custody_head": "",
    }


def _declared_fields(body: bytes) -> Mapping[str, Any]:
    try:
        value = parse_json(body)
    except Problem:
        return {}
    fields = value.get("fields") if isinstance(value, dict) else None
    return fields if isinstance(fields, dict) else {}


def _sign(rt: Runtime, members: dict[str, Any]) -> dict[str, Any]:
    """Return the members with the signed statement: the exact text, its signature, and the key that made it."""
    key = load_key(rt.settings)
    statement = json.dumps({"v": 1, **members}, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    signature = base64.urlsafe_b64encode(key.sign(DOMAIN + statement.encode())).rstrip(b"=").decode()
    proof = {"statement": statement, "signature": signature, "key": key.verifier.encode()}
    return {**members, **proof, "rotations": rotations(rt.settings)}
