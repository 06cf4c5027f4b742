"""The third institution: the whole process on record (执法全过程记录). What is missing keeps a behavior from closing.

Inspections show their scenes by their own evidence; of other behaviors, each scene names the evidence that shows it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.service import record_event
from server.behaviors.criteria import Recording, recordings_needed, required_recordings
from server.behaviors.models import Behavior, Proceeding, ProcessRecording
from server.errors import Problem
from server.evidence.models import VERIFIED, Evidence
from server.evidence.service import found_media_type, list_evidence, manifest
from server.runtime import Runtime

MAX_RECORDINGS = 50
"""Most pieces of evidence that show one scene."""


@dataclass(frozen=True)
class SceneStanding:
    """A scene that must be on record, and what shows it."""

    recording: Recording
    evidence: tuple[str, ...]

    @property
    def shown(self) -> bool:
        """Whether it is on record."""
        return bool(self.evidence)


def scenes_of(session: Session, proceeding: str, kind: str, content: Mapping[str, Any]) -> list[SceneStanding]:
    """Return the scenes that a proceeding needs, each with the evidence that shows it."""
    query = select(ProcessRecording).where(ProcessRecording.proceeding == proceeding)
    named: dict[str, list[str]] = {}
    for row in session.execute(query.order_by(ProcessRecording.evidence)).scalars():
        named.setdefault(row.scene, []).append(row.evidence)
    return [SceneStanding(one, tuple(named.get(one.scene, ()))) for one in recordings_needed(kind, content)]


def require_complete(session: Session, proceeding: str, kind: str, content: Mapping[str, Any]) -> None:
    """Refuse to close while a required scene is not on record.

    Raises:
        Problem: `illegal-transition` naming the scenes that are missing.
    """
    missing = [one.recording for one in scenes_of(session, proceeding, kind, content) if not one.shown]
    if missing:
        detail = f"not on record: {'; '.join(f'{one.zh} / {one.en}' for one in missing)}"
        scenes = [one.scene for one in missing]
        raise Problem("illegal-transition", field="recordings", detail=detail, missing=scenes)


def missing_scenes(session: Session, inspection: str, content: Mapping[str, Any]) -> list[Recording]:
    """Return the scenes that an inspection needs and none of its verified evidence shows."""
    needed = recordings_needed("inspection", content)
    if not needed or not manifest(session, inspection).verified:
        return needed
    types = [found_media_type(session, row) for row in list_evidence(session, inspection) if row.status == VERIFIED]
    return [one for one in needed if not any(one.shown_by(media_type) for media_type in types)]


def attach(session: Session, rt: Runtime, row: Proceeding, scene: str, evidence: str, *, author: str) -> None:
    """Note that a piece of verified evidence of the case shows a scene.

    Raises:
        Problem: `not-found` for a scene or evidence that is not there or of another case; `conflict` while its bytes
            are not verified; `invalid-field` for a form that cannot show the scene; `limit-exceeded`.
    """
    wanted = next((one for one in required_recordings() if (one.kind, one.scene) == (row.kind, scene)), None)
    if wanted is None:
        raise Problem("not-found", field="scene", detail=f"no scene of this name for a {row.kind}")
    found = session.get(Evidence, evidence)
    if found is None or found.inspection is None or found.withdrawn_at is not None:
        raise Problem("not-found", field="evidence", detail="no such evidence")
    if found.inspection not in _cases_of(session, row):
        raise Problem("not-found", field="evidence", detail="belongs to another case")
    if found.status != VERIFIED:
        raise Problem("conflict", field="evidence", detail="its bytes are not verified", state=found.status)
    if not wanted.shown_by(found_media_type(session, found)):
        raise Problem("invalid-field", field="evidence", detail=f"the scene needs one of {', '.join(wanted.forms)}")
    present = [one for one in _of_scene(session, row.id, scene) if one != evidence]
    if len(present) >= MAX_RECORDINGS:
        raise Problem("limit-exceeded", field="scene", detail="too many recordings", limit=MAX_RECORDINGS)
    if session.get(ProcessRecording, (row.id, scene, evidence)) is None:
        session.add(ProcessRecording(proceeding=row.id, scene=scene, evidence=evidence, author=author, at=rt.now()))
        detail = {"scene": scene, "evidence": evidence}
        record_event(session, rt, author, "proceeding.record", "proceeding", row.id, detail)
        session.flush()


def _of_scene(session: Session, proceeding: str, scene: str) -> Sequence[str]:
    query = select(ProcessRecording.evidence).where(
        ProcessRecording.proceeding == proceeding, ProcessRecording.scene == scene
    )
    return session.execute(query).scalars().all()


def _cases_of(session: Session, row: Proceeding) -> set[str | None]:
    """The inspection that a proceeding follows, and the others of the same firm: re-checks and later visits."""
    visits = select(Behavior.inspection).where(Behavior.entity == row.entity, Behavior.kind == "inspection")
    return {row.inspection, *session.execute(visits).scalars()} - {None}
