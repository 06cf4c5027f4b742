"""The rows of uploads whose files are where they belong: the upload, the record it is attached to, custody, proof leaf.

Every upload comes through here, so its statements are prepared (:mod:`server.db.prepared`) and a record is read as
the few columns that settling looks at or changes.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol, cast

from sqlalchemy import Table, and_, bindparam, or_, select, update
from sqlalchemy.orm import Session

from server.db.many_rows import insert_rows, update_rows
from server.db.prepared import Prepared
from server.evidence import ledger
from server.evidence.hashing import Digest
from server.evidence.models import (
    DECLARED,
    ERASED,
    LOST,
    QUARANTINED,
    REJECTED,
    STORED,
    UNSETTLED,
    VERIFIED,
    WAITING,
    Blob,
    Evidence,
    Upload,
)
from server.evidence.placing import Placed, declared_of
from server.prooflog.service import enqueue
from server.runtime import Runtime

_EVIDENCE, _UPLOADS, _BLOBS = (cast(Table, model.__table__) for model in (Evidence, Upload, Blob))


class Attachable(Protocol):
    """What of a record's row attaching bytes reads and changes: the row itself, or :class:`Concerned`."""

    id: Any
    inspection: Any
    act_hash: Any
    status: Any
    sha256: Any
    sm3: Any
    size_bytes: Any
    verified_at: Any
    examined_at: Any
    custody_count: Any
    custody_head: Any


@dataclass
class Concerned:
    """A locked record that an upload may concern, as far as settling needs it."""

    id: str
    inspection: str | None
    device: str
    act_hash: str
    status: str
    sha256: str | None
    sm3: str | None
    size_bytes: int | None
    verified_at: datetime | None
    examined_at: datetime | None
    custody_count: int
    custody_head: str


_COLUMNS = tuple(Concerned.__dataclass_fields__)
_CHANGED = ("id", "status", "sm3", "size_bytes", "verified_at", "examined_at", "custody_count", "custody_head")
"""What settling may change, and the key."""
_CONCERNED = Prepared(
    select(*(_EVIDENCE.c[name] for name in _COLUMNS))
    .where(
        or_(
            _EVIDENCE.c.id.in_(bindparam("ids", expanding=True)),
            and_(
                _EVIDENCE.c.sha256.in_(bindparam("contents", expanding=True)),
                _EVIDENCE.c.status != VERIFIED,
                _EVIDENCE.c.status != ERASED,
            ),
        )
    )
    .order_by(_EVIDENCE.c.id)
    .with_for_update(),
    "ids",
    "contents",
)
_REVIVE = Prepared(  # what is evidence again is not destroyed
    update(_BLOBS)
    .where(_BLOBS.c.sha256.in_(bindparam("contents", expanding=True)), _BLOBS.c.doomed_at.is_not(None))
    .values(doomed_at=None, destroyed_at=None)
    .returning(_BLOBS.c.sha256),
    "contents",
)


def record(session: Session, rt: Runtime, placed: Sequence[Placed]) -> list[str]:
    """Write the rows of placed uploads; returns the state of each. Their files are where they belong already."""
    uploads = _upload_rows(session, placed)
    stored = {each.digest.sha256 for each in placed if each.state == STORED and each.digest}
    wanted = {"ids": sorted({each.upload.evidence for each in placed}), "contents": sorted(stored)}
    records = {row[0]: Concerned(*row) for row in _CONCERNED.rows(session, wanted)}
    before = {name: _row(one) for name, one in records.items()}
    blobs: dict[str, dict[str, Any]] = {}
    entries: list[dict[str, Any]] = []
    for each in placed:
        upload = uploads.get(each.upload.id)
        if upload is None:
            continue
        evidence = records.get(upload.evidence)
        if evidence is not None and (evidence.device != upload.device or evidence.status == ERASED):
            evidence = None  # another device's record, or an erased one: these bytes are none of its business
        if each.digest is not None:
            upload.sha256, upload.sm3 = each.digest.sha256, each.digest.sm3
        if each.digest is None or evidence is None or each.state not in (STORED, QUARANTINED):
            _unsettled(rt, upload, evidence, each.state)
            continue
        upload.state, upload.settled_at = each.state, rt.now()
        entries.append(_uploaded(rt, evidence, upload, each.digest))
        if each.state == QUARANTINED:
            entries.append(_reject(rt, evidence, upload))
            continue
        blobs[each.digest.sha256] = {**asdict(each.digest), "stored_at": rt.now()}
        siblings = (
            one for one in records.values() if one.status not in (VERIFIED, ERASED) and one.device == upload.device
        )
        fitting = [one for one in siblings if declared_of(one).fits(each.digest)]
        entries += [mark_verified(session, rt, one, each.digest) for one in fitting]
    insert_rows(session, _BLOBS, list(blobs.values()), ignore=True)
    if blobs:
        _REVIVE.rows(session, {"contents": sorted(blobs)})
    update_rows(session, _EVIDENCE, ["id"], [row for one in records.values() if (row := _row(one)) != before[one.id]])
    ledger.append_rows(session, entries)
    _insert_fresh(session, [uploads[each.upload.id] for each in placed if each.fresh])
    return [uploads[each.upload.id].state if each.upload.id in uploads else LOST for each in placed]


def _row(evidence: Concerned) -> dict[str, Any]:
    return {name: getattr(evidence, name) for name in _CHANGED}


def _upload_rows(session: Session, placed: Sequence[Placed]) -> dict[str, Upload]:
    """Return the rows to be written: those that are still unsettled, and new ones that are added at the end."""
    known = [each.upload.id for each in placed if not each.fresh]
    uploads = {each.upload.id: each.upload for each in placed if each.fresh}
    if known:
        query = select(Upload).where(Upload.id.in_(known), Upload.state.in_(UNSETTLED)).with_for_update()
        found = session.scalars(query.order_by(Upload.id), execution_options={"populate_existing": True})
        uploads |= {row.id: row for row in found}
    return uploads


def _insert_fresh(session: Session, uploads: Sequence[Upload]) -> None:
    names = [column.key for column in _UPLOADS.columns]
    insert_rows(session, _UPLOADS, [{name: getattr(row, name) for name in names} for row in uploads])


def _unsettled(rt: Runtime, upload: Upload, evidence: Concerned | None, state: str) -> None:
    """Note bytes that wait for their declaration or for the store, or that the disk has lost."""
    upload.state = WAITING if state in (STORED, QUARANTINED) else state
    upload.settled_at = rt.now() if state == LOST else None
    if evidence is not None and evidence.status != VERIFIED and state in (WAITING, LOST):
        evidence.status = WAITING if state == WAITING else DECLARED


def _uploaded(rt: Runtime, evidence: Concerned, upload: Upload, digest: Digest) -> dict[str, Any]:
    received_at = upload.received_at.isoformat() if upload.received_at else None
    detail = {"upload": upload.id, **asdict(digest), "received_at": received_at}
    return ledger.add(rt, evidence, "upload", actor=f"device:{upload.device}", detail=detail)


def _reject(rt: Runtime, evidence: Concerned, upload: Upload) -> dict[str, Any]:
    if evidence.status != VERIFIED:
        evidence.status = REJECTED
    declared = {"declared_sha256": evidence.sha256, "declared_sm3": evidence.sm3, "upload": upload.id}
    return ledger.add(rt, evidence, "reject", actor=ledger.SERVER, detail=declared)


def mark_verified(session: Session, rt: Runtime, evidence: Attachable, digest: Digest) -> dict[str, Any]:
    """Attach stored bytes to a locked record; returns the custody row, and enters the leaf of the proof log."""
    evidence.status, evidence.verified_at, evidence.examined_at = VERIFIED, rt.now(), None
    evidence.sm3, evidence.size_bytes = digest.sm3, digest.size_bytes
    entry = ledger.add(rt, evidence, "verify", actor=ledger.SERVER, detail=asdict(digest))
    enqueue(session, rt, "evidence", evidence.id, leaf_bytes(evidence))
    return entry


def leaf_bytes(evidence: Attachable) -> bytes:
    """Return the proof-log leaf of verified evidence: compact JSON, members sorted; hashes and ids only."""
    leaf = {
        "v": 1,
        "type": "evidence",
        "evidence": evidence.id,
        "inspection": evidence.inspection,
        "act": evidence.act_hash,
        "sha256": evidence.sha256,
        "sm3": evidence.sm3,
        "size_bytes": evidence.size_bytes,
        "custody": evidence.custody_head,
    }
    return json.dumps(leaf, separators=(",", ":"), sort_keys=True).encode()
