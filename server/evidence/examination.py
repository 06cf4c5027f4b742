"""Worker step that examines stored bytes and writes the flags of the records they belong to."""

import logging

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.entities.models import Entity
from server.evidence.facts import MediaFacts, facts_from_json
from server.evidence.flags import Claims, Place, compare
from server.evidence.media import MediaExaminer, examiner
from server.evidence.models import VERIFIED, Blob, Evidence
from server.evidence.pictures import remember_picture, same_pictures
from server.evidence.stores import open_store
from server.records.service import get_view
from server.runtime import Runtime

log = logging.getLogger(__name__)

EXAMINE_BATCH = 64
"""Records examined by one step."""


def inspect_step(rt: Runtime, batch: int = EXAMINE_BATCH) -> int:
    """Worker step: examine verified evidence that was not examined yet; returns how many records were.

    Each content is decoded once, in a child process; each record is compared with it. No transaction is open meanwhile.
    """
    due = (Evidence.status == VERIFIED, Evidence.examined_at.is_(None))
    with rt.db.read() as session:
        query = select(Evidence.id, Evidence.sha256, Blob.facts).join(Blob, Blob.sha256 == Evidence.sha256)
        rows = session.execute(query.where(*due).order_by(Evidence.verified_at).limit(batch)).all()
    if not rows:
        return 0
    found: list[tuple[str, str, MediaFacts]] = []
    known: dict[str, MediaFacts] = {}
    with examiner() as child:
        for evidence_id, sha256, stored in rows:
            facts = known.get(sha256) or (facts_from_json(stored) if stored else _examine(rt, child, sha256))
            if facts is not None:
                known[sha256] = facts
                found.append((evidence_id, sha256, facts))
    with rt.db.write() as session:
        for evidence_id, sha256, facts in found:
            _record(session, rt, session.get_one(Evidence, evidence_id), session.get_one(Blob, sha256), facts)
    return len(found)


def _examine(rt: Runtime, child: MediaExaminer, sha256: str) -> MediaFacts | None:
    try:
        with open_store(rt.settings).local(sha256) as path:
            return child.examine(path)
    except OSError as error:
        log.warning("blob %s cannot be examined now: %s", sha256, error)
        return None


def _record(session: Session, rt: Runtime, evidence: Evidence, blob: Blob, facts: MediaFacts) -> None:
    if blob.facts is None:
        blob.facts = facts.as_json()
        remember_picture(session, blob, facts.phash)
    if evidence.examined_at is None:  # another worker may have been faster
        flags = [*compare(facts, claims_of(session, evidence)), *same_pictures(session, evidence, facts.phash)]
        evidence.flags = [*evidence.flags, *(flag.as_json() for flag in flags)]
        evidence.examined_at = rt.now()


def claims_of(session: Session, evidence: Evidence) -> Claims:
    """Return what a record declares, and where the inspected entity is, for comparison."""
    position = evidence.position
    place = Place(position["lat"], position["lon"], position["datum"]) if position else None
    return Claims(
        media_type=evidence.media_type,
        captured_at=evidence.captured_at,
        place=place,
        entity_place=_entity_place(session, evidence.inspection),
    )


def _entity_place(session: Session, inspection: str | None) -> Place | None:
    fields = get_view(session, "inspection", inspection) if inspection else None
    entity = session.get(Entity, fields["entity"]) if fields and fields.get("entity") else None
    return None if entity is None else Place(entity.lat, entity.lon, entity.datum)
