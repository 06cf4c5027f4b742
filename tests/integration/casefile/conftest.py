"""A closed inspection with evidence, sequenced into the proof log, and its bundle."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from schemas.kinds.field_work import UNSIGNED_FIELDS
from server.casefile.verify_bundle import findings
from server.casefile.writing import export_case, signed_note
from server.inspections.closing import close_ready
from server.prooflog.keys import load_key
from server.prooflog.service import sequence_step
from server.records.lines import decode_state
from server.records.models import SyncedRecord
from server.runtime import Runtime
from sync.signing import covered, signed_digest
from tests.conftest import FakeClock
from tests.field_device import FieldDevice, World, live_dots, make_world
from tests.integration.evidence.sending import Tus, photo, sm3

COMPLETE: dict[str, Any] = {
    "started_at": "2026-03-01T09:30:00+08:00", "inspected_at": "2026-03-01T10:00:00+08:00", "form": "01",
    "category": "03", "method": "01", "result": "01", "conclusion": "未发现问题", "scene": "现场整洁，设备运行正常。",
    "statement": "样例陈述", "party_opinion": "样例意见：无异议", "notes": "样例备注",
    "position": {"lat": 30.5, "lon": 114.3, "datum": "WGS-84"},
}  # fmt: skip


@dataclass
class ClosedCase:
    """What tests need of a case."""

    rt: Runtime
    world: World
    folder: Path
    evidence: str

    @property
    def verifier(self) -> str:
        """The key to trust."""
        return load_key(self.rt.settings).verifier.encode()

    def export(self, name: str = "case.zip") -> Path:
        """Write the bundle."""
        path = self.folder / name
        export_case(self.rt, self.world.inspection, path, actor="account:sample")
        return path

    def rewritten(self, bundle: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
        """The bundle with changed files, their hashes and the signature made anew: what an insider could do."""
        with zipfile.ZipFile(bundle) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        change(files)
        index = json.loads(files.pop("case.json"))
        index["files"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
        path = self.folder / "rewritten.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
            archive.writestr("case.json", json.dumps(index))
        data = path.read_bytes()
        note = signed_note(load_key(self.rt.settings), "case", hashlib.sha256(data).hexdigest(), len(data))
        Path(f"{path}.sig").write_bytes(note)
        return path

    def faults(self, bundle: Path) -> list[str]:
        """What checking names."""
        return list(findings(bundle, self.verifier))


@pytest.fixture
def case(rt: Runtime, client: FlaskClient, clock: FakeClock, tmp_path: Path) -> ClosedCase:
    """Two officers inspected, one took a photo, both signed; it closed."""
    world = make_world(rt)
    lead, second = FieldDevice(rt, world.officers[0], 1), FieldDevice(rt, world.officers[1], 2)

    def line() -> bytes:
        with rt.db.read() as session:
            return session.get_one(SyncedRecord, ("inspection", world.inspection)).line

    def write(device: FieldDevice, fields: dict[str, Any]) -> None:
        device.write("inspection", world.inspection, fields, live_dots(json.loads(line())))
        device.verdicts(client, device.segment(len(device.acts)))

    data, evidence = photo(), rt.new_id()
    lead.write("inspection", world.inspection, COMPLETE, live_dots(json.loads(line())))
    lead.write(
        "evidence", evidence,
        {
            "inspection": world.inspection, "sha256": hashlib.sha256(data).hexdigest(), "sm3": sm3(data),
            "size_bytes": len(data), "media_type": "image/jpeg", "captured_at": "2026-03-01T10:00:00+08:00",
            "caption": "样例照片",
        },
    )  # fmt: skip
    lead.write("answer", rt.new_id(), {"inspection": world.inspection, "number": "1", "outcome": "pass"})
    lead.verdicts(client)
    Tus(client, lead.headers).send(data, evidence)
    for device in (lead, second):
        pairs = covered(decode_state(line()), UNSIGNED_FIELDS)
        signature = {
            "officer": device.officer, "role": "lead" if device is lead else "second",
            "dots": sorted({str(dot) for _, dot in pairs}), "digest": signed_digest(pairs),
        }  # fmt: skip
        write(device, {"signatures": {"add": [signature]}})
    write(lead, {"status": "submitted"})
    clock.advance(10)
    with rt.db.write() as session:
        assert close_ready(session, rt) == 1
    with rt.db.write() as session:
        sequence_step(session, rt)
    return ClosedCase(rt, world, tmp_path, evidence)
