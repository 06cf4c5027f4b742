"""Visits of two officers, act by act: written by their handhelds, pushed, signed, submitted and closed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flask.testing import FlaskClient

from schemas.kinds.field_work import UNSIGNED_FIELDS
from server.evidence.models import VERIFIED, Blob, Evidence
from server.inspections.closing import close_ready
from server.inspections.models import Inspection
from server.records.lines import decode_state
from server.records.models import SyncedRecord
from server.runtime import Runtime
from sync.signing import covered, signed_digest
from tests.conftest import FakeClock
from tests.field_device import FieldDevice, World, live_dots

COMPLETE: dict[str, Any] = {
    "started_at": "2026-03-01T10:00:00+08:00", "inspected_at": "2026-03-01T10:00:00+08:00", "form": "01",
    "category": "03", "method": "01", "result": "03", "conclusion": "责令改正",
}  # fmt: skip


@dataclass
class Crew:
    """Two officers with their handhelds, on a platform whose clock they share."""

    client: FlaskClient
    rt: Runtime
    clock: FakeClock
    world: World
    devices: tuple[FieldDevice, FieldDevice]

    def write(self, kind: str, record: str, fields: Mapping[str, Any], device: int = 0) -> str:
        """Open a record as it is now, change it, push that; returns the verdict."""
        one = self.devices[device]
        with self.rt.db.read() as session:
            row = session.get(SyncedRecord, (kind, record))
            seen = live_dots(json.loads(row.line)) if row else []
        one.write(kind, record, dict(fields), seen)
        return one.verdicts(self.client, one.segment(len(one.acts)))[-1]

    def sign(self, inspection: str, device: int) -> None:
        """Sign what the inspection says now."""
        with self.rt.db.read() as session:
            pairs = covered(
                decode_state(session.get_one(SyncedRecord, ("inspection", inspection)).line), UNSIGNED_FIELDS
            )
        signature = {
            "officer": self.devices[device].officer, "role": ("lead", "second")[device],
            "dots": sorted({str(dot) for _, dot in pairs}), "digest": signed_digest(pairs),
        }  # fmt: skip
        self.write("inspection", inspection, {"signatures": {"add": [signature]}}, device)

    def finish(self, inspection: str, **change: Any) -> int:  # noqa: ANN401 - any field
        """Conclude, sign, submit, and let the platform close; returns how many closed."""
        self.write("inspection", inspection, COMPLETE | change)
        for device in (0, 1):
            self.sign(inspection, device)
        self.write("inspection", inspection, {"status": "submitted"})
        return self.close()

    def close(self) -> int:
        """Let the platform close what is ready."""
        self.clock.advance(10)
        with self.rt.db.write() as session:
            return close_ready(session, self.rt)

    def blockers(self, inspection: str) -> list[dict[str, Any]]:
        """What keeps an inspection from closing."""
        with self.rt.db.read() as session:
            return list(session.get_one(Inspection, inspection).blockers)

    def photograph(self, inspection: str, media_type: str = "image/jpeg") -> str:
        """Declare a photo and let its bytes be verified and examined; returns the evidence id."""
        evidence, sha256 = self.rt.new_id(), self.rt.random_bytes(32).hex()
        self.write(
            "evidence", evidence,
            {
                "inspection": inspection, "sha256": sha256, "sm3": sha256, "size_bytes": 1, "media_type": media_type,
                "captured_at": "2026-03-01T10:00:00+08:00",
            },
        )  # fmt: skip
        with self.rt.db.write() as session:
            row = session.get_one(Evidence, evidence)
            row.status, row.verified_at = VERIFIED, self.rt.now()
            facts = {"media_type": media_type}
            session.add(Blob(sha256=sha256, sm3=sha256, size_bytes=1, stored_at=self.rt.now(), facts=facts))
        return evidence


def crew(client: FlaskClient, rt: Runtime, clock: FakeClock, world: World) -> Crew:
    """The two officers of a seeded platform."""
    return Crew(
        client, rt, clock, world, (FieldDevice(rt, world.officers[0], 1), FieldDevice(rt, world.officers[1], 2))
    )
