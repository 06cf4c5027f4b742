"""Thumbnails and watermarked copies: drawn by the worker from originals that stay untouched, and drawn again at will.

They are blobs of their own in the same store, found by record and kind. The watermark says what the copy is a copy of,
in Chinese and English, in Noto Sans CJK from a wheel: it looks the same on every machine.
"""

import logging
import tempfile
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from server.entities.models import Entity
from server.evidence.facts import DECODED, LOCAL_ZONE
from server.evidence.hashing import Digest, digest_file
from server.evidence.media import MediaExaminer, examiner
from server.evidence.models import VERIFIED, Blob, Derivative, Evidence
from server.evidence.store import BlobStore
from server.evidence.stores import open_store
from server.officers.service import get_officers
from server.records.service import get_view
from server.runtime import Runtime

log = logging.getLogger(__name__)

THUMBNAIL, WATERMARKED = "thumbnail", "watermarked"
KINDS = (THUMBNAIL, WATERMARKED)
SIDES_PX = {THUMBNAIL: 480, WATERMARKED: 2_560}
"""Length of the longer side, at most."""
DERIVE_BATCH = 16
MEDIA_TYPE = "image/jpeg"


@dataclass(frozen=True)
class Made:
    """A drawn derivative, stored."""

    kind: str
    digest: Digest


def derive_step(rt: Runtime, batch: int = DERIVE_BATCH) -> int:
    """Worker step: draw the derivatives that are due; returns how many records were served.

    No transaction is open while pictures are drawn. A record whose store or disk refuses is tried again.
    """
    due = (Evidence.status == VERIFIED, Evidence.examined_at.is_not(None), Evidence.derived_at.is_(None))
    with rt.db.read() as session:
        query = select(Evidence, Blob.facts).join(Blob, Blob.sha256 == Evidence.sha256).where(*due)
        found = session.execute(query.order_by(Evidence.examined_at).limit(batch)).all()
        jobs = [
            (row.id, str(row.sha256), bool(facts) and facts["outcome"] == DECODED, watermark_lines(session, row))
            for row, facts in found
        ]
    served = 0
    with examiner() as child:
        for evidence_id, sha256, drawable, lines in jobs:
            try:
                made = _draw(rt, child, sha256, lines) if drawable else []
            except OSError as error:
                log.warning("nothing can be drawn of blob %s now: %s", sha256, error)
                continue
            _record(rt, evidence_id, made)
            served += 1
    return served


def redraw(session: Session, evidence: Evidence) -> None:
    """Let the worker draw a record's derivatives again; the present ones stay until then."""
    evidence.derived_at = None
    session.flush()


def find_derivative(session: Session, evidence_id: str, kind: str) -> Derivative | None:
    """Return a record's derivative of a kind, if it has been drawn."""
    return session.get(Derivative, (evidence_id, kind))


def drop_derivatives(session: Session, rt: Runtime, evidence_id: str) -> None:
    """Forget a record's derivatives; those that no other record uses are to be destroyed."""
    mine = list(session.scalars(select(Derivative.sha256).where(Derivative.evidence == evidence_id)))
    session.execute(delete(Derivative).where(Derivative.evidence == evidence_id))
    _doom(session, rt, mine)


def watermark_lines(session: Session, evidence: Evidence) -> list[str]:
    """Return what the watermark of a record says; the hash of the original is the last line."""
    inspection = get_view(session, "inspection", evidence.inspection) if evidence.inspection else None
    fields = inspection or {}
    officers = get_officers(session, fields.get("officers") or ()).values()
    entity = session.get(Entity, fields["entity"]) if fields.get("entity") else None
    lines = [
        f"副本，原件未改动 · Copy, the original is unchanged · {evidence.id}",
        f"案件 Case: {evidence.inspection or '-'}",
        "执法人员 Officers: " + ("；".join(f"{each.name} {each.certificate_number}" for each in officers) or "-"),
        f"时间 Time: {_local(evidence.captured_at)}",
        f"地点 Place: {_place(evidence)}" + (f"（{entity.name}）" if entity is not None else ""),
        f"SHA-256: {evidence.sha256}",
    ]
    return [line[:200] for line in lines]


def _local(instant: datetime | None) -> str:
    return instant.astimezone(LOCAL_ZONE).strftime("%Y-%m-%d %H:%M:%S UTC+8") if instant else "-"


def _place(evidence: Evidence) -> str:
    at = evidence.position
    return f"{at['lat']:.5f}, {at['lon']:.5f} ({at['datum']})" if at else "-"


def font_path() -> Path:
    """Return the font collection for Chinese text."""
    return Path(str(files("manimgx_fonts_cjk") / "NotoSansCJK-VF.otf.ttc"))


def _draw(rt: Runtime, child: MediaExaminer, sha256: str, lines: list[str]) -> list[Made]:
    """Draw and store all kinds; what cannot be drawn is left out.

    Raises:
        OSError: store or disk refused.
    """
    store, made = open_store(rt.settings), []
    with tempfile.TemporaryDirectory(prefix="fieldproof-") as folder, store.local(sha256) as original:
        for kind in KINDS:
            target = Path(folder) / kind
            drawing = {"target": str(target), "side_px": SIDES_PX[kind]}
            if kind == WATERMARKED:
                drawing |= {"font": str(font_path()), "lines": lines}
            if child.draw(original, drawing):
                made.append(_keep(store, kind, target))
    return made


def _keep(store: BlobStore, kind: str, target: Path) -> Made:
    digest = digest_file(target)
    store.put(target, digest.sha256)
    return Made(kind, digest)


def _record(rt: Runtime, evidence_id: str, made: list[Made]) -> None:
    with rt.db.write() as session:
        evidence = session.get(Evidence, evidence_id, with_for_update=True)
        if evidence is None or evidence.status != VERIFIED:  # erased meanwhile
            for each in made:
                session.merge(_doomed(rt, each.digest))
            return
        fresh = {each.kind: each.digest for each in made}
        for old in session.scalars(select(Derivative).where(Derivative.evidence == evidence_id)).all():
            if old.kind in fresh and fresh[old.kind].sha256 != old.sha256:
                session.delete(old)
                session.flush()
                _doom(session, rt, [old.sha256])
        for kind, digest in fresh.items():
            _revive(session, digest)
            row = Derivative(evidence=evidence_id, kind=kind, sha256=digest.sha256, size_bytes=digest.size_bytes)
            row.made_at = rt.now()
            session.merge(row)
        evidence.derived_at = rt.now()


def _doom(session: Session, rt: Runtime, contents: list[str]) -> None:
    """Let derivatives that no record uses any more be destroyed."""
    for sha256 in contents:
        users = select(func.count()).select_from(Derivative).where(Derivative.sha256 == sha256)
        originals = select(func.count()).select_from(Evidence).where(Evidence.sha256 == sha256)
        if not session.scalar(users) and not session.scalar(originals):
            session.merge(_doomed(rt, Digest(sha256, "", 0)))


def _doomed(rt: Runtime, digest: Digest) -> Blob:
    return Blob(
        sha256=digest.sha256, sm3=digest.sm3, size_bytes=digest.size_bytes, stored_at=rt.now(), doomed_at=rt.now()
    )


def _revive(session: Session, digest: Digest) -> None:
    """Take back the destruction of bytes that were drawn again before it was carried out."""
    blob = session.get(Blob, digest.sha256)
    if blob is not None and blob.sm3 == "":
        session.delete(blob)
