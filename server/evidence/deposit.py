"""Evidence that the platform takes out of its own data: stored, entered in custody, verified and sealed at once.

The bytes are stored before any row speaks of them, like those of an upload.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.orm import Session

from server.db.engine import insert_ignore
from server.evidence import ledger
from server.evidence.hashing import Digest, digest_file
from server.evidence.models import DECLARED, Blob, Evidence
from server.evidence.recording import mark_verified
from server.evidence.retention import seal
from server.evidence.store import make_folder
from server.evidence.stores import open_store
from server.runtime import Runtime


@dataclass(frozen=True)
class Deposit:
    """What is deposited: stored bytes, the record that declares them, and where they come from."""

    record: str
    inspection: str
    region: str
    department: str
    act_hash: str
    """Hash of the office's act that declares the hashes."""
    digest: Digest
    media_type: str
    file_name: str
    caption: str
    captured_at: datetime
    origin: Mapping[str, Any]
    """What it was taken from, for the chain of custody; no personal data."""


def store_bytes(rt: Runtime, content: bytes) -> Digest:
    """Store bytes durably and return their digest. Harmless to repeat.

    Raises:
        OSError: they are not stored.
    """
    folder = rt.settings.evidence_dir
    make_folder(folder)
    with tempfile.NamedTemporaryFile(dir=folder) as out:
        out.write(content)
        out.flush()
        digest = digest_file(Path(out.name))
        open_store(rt.settings).put(Path(out.name), digest.sha256)
    return digest


def deposit(session: Session, rt: Runtime, made: Deposit) -> Evidence:
    """Enter stored bytes as verified and sealed evidence of an inspection, with its leaves of the proof log."""
    evidence = Evidence(
        id=made.record, inspection=made.inspection, region=made.region, department=made.department,
        device=ledger.SERVER, act_hash=made.act_hash, status=DECLARED, sha256=made.digest.sha256, sm3=made.digest.sm3,
        size_bytes=made.digest.size_bytes, media_type=made.media_type, captured_at=made.captured_at,
        file_name=made.file_name, caption=made.caption, declared_at=rt.now(), flags=[], custody_count=0,
        custody_head="",
    )  # fmt: skip
    session.add(evidence)
    session.flush()
    insert_ignore(session, cast(Table, Blob.__table__), [{**asdict(made.digest), "stored_at": rt.now()}])
    detail = {"act": made.act_hash, "inspection": made.inspection, **asdict(made.digest), **made.origin}
    ledger.append(session, rt, evidence, "capture", actor=ledger.SERVER, detail=detail)
    ledger.append_rows(session, [mark_verified(session, rt, evidence, made.digest)])
    evidence.examined_at = evidence.derived_at = rt.now()  # it is no picture, and nothing in it is claimed by others
    seal(session, rt, evidence)
    return evidence
