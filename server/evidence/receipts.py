"""Custody receipts: the server's signed word that it has a device's evidence, so that the device may delete its copy.

A receipt needs verified bytes and the stored act that declares them, whatever became of that act: what is held or
quarantined is declared all the same. It names the head of the chain of custody, so a copy of it outside the server
shows later whether the chain was cut short.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select
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
MAX_ACTS = 20
"""Acts of one record that are searched for its declaration."""


def receipt(session: Session, rt: Runtime, evidence_id: str, device: str) -> dict[str, Any]:
    """Return what a device may know of its own evidence: its status and, once due, the custody receipt.

    Raises:
        Problem: `not-found`, also for another device's evidence.
    """
    evidence = session.get(Evidence, evidence_id)
    upload = finished_upload(session, evidence_id, device)
    if evidence is None or evidence.device != device:
        if upload is None:
            raise Problem("not-found", detail="no such evidence")
        held = _unapplied(session, upload)
        return {"evidence": evidence_id, "status": WAITING, "receipt": held and _sign(rt, held)}
    answer: dict[str, Any] = {"evidence": evidence.id, "status": evidence.status, "receipt": None}
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


def _unapplied(session: Session, upload: Upload) -> dict[str, Any] | None:
    """Return the statement on bytes that fit what a stored act declares, though that act is not applied; else None."""
    if upload.sha256 is None or upload.sm3 is None or upload.settled_at is not None:
        return None
    query = select(Act).where(Act.kind == "evidence", Act.record == upload.evidence, Act.device == upload.device)
    for act in session.scalars(query.order_by(Act.journal, Act.seq).limit(MAX_ACTS)):
        fields = _declared_fields(act.body)
        claimed = Declared(upload.device, fields.get("sha256"), fields.get("sm3"), fields.get("size_bytes"))
        digest = Digest(upload.sha256, upload.sm3, upload.length_bytes)
        if claimed.fits(digest):
            return {
                "evidence": upload.evidence,
                "device": upload.device,
                "act": act.hash,
                "sha256": upload.sha256,
                "sm3": upload.sm3,
                "size_bytes": upload.length_bytes,
                "verified_at": upload.received_at.isoformat() if upload.received_at else None,
                "custody_count": 0,
                "custody_head": "",
            }
    return None


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
