"""`fieldproof verify`: a sound database has no findings; whatever is tampered with is named."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from server.evidence.models import CustodyEntry
from server.fieldsync.models import Journal, SegmentSignature
from server.prooflog.service import sequence_step
from server.records.models import Act, SyncedRecord
from server.runtime import Runtime
from server.verifying import verify_everything
from tests.field_device import FieldDevice, World, make_world


@pytest.fixture
def world(rt: Runtime, client: FlaskClient) -> World:
    """A platform to which a handheld has pushed some acts, sequenced into the proof log."""
    made = make_world(rt)
    device = FieldDevice(rt, made.officers[0])
    for number in range(5):
        device.write("inspection", made.inspection, {"notes": f"第 {number} 条", "statement": "样例"})
    evidence = {
        "inspection": made.inspection, "sha256": "a" * 64, "sm3": "b" * 64, "size_bytes": 1,
        "media_type": "image/jpeg", "captured_at": "2026-03-01T10:00:00+08:00",
    }  # fmt: skip
    device.write("evidence", rt.new_id(), evidence)
    device.verdicts(client)
    with rt.db.write() as session:
        sequence_step(session, rt)
    return made


def _findings(rt: Runtime) -> list[str]:
    return [finding for check in verify_everything(rt) for finding in check.findings]


def test_sound_database_has_no_findings(rt: Runtime, world: World) -> None:
    """Every check of what this world has looks at something, and finds nothing wrong."""
    idle = {check.name for check in verify_everything(rt) if not check.checked}
    assert idle == {"监管行为 behaviors", "时间戳与见证 time stamps, witnesses", "依法删除 lawful erasures"}
    assert _findings(rt) == []


def _edit_header(session: Session) -> str:
    act = session.execute(select(Act).where(Act.seq == 3, Act.device.is_not(None))).scalar_one()
    act.header = act.header.replace(b'"op":"put"', b'"op":"pux"')
    return f"{act.journal}:3"


def _edit_body(session: Session) -> str:
    act = session.execute(select(Act).where(Act.seq == 2, Act.device.is_not(None))).scalar_one()
    act.body = act.body.replace("第".encode(), "策".encode())
    return f"{act.journal}:2"


def _drop_act(session: Session) -> str:
    journal = session.execute(select(Journal.id)).scalar_one()
    session.execute(delete(Act).where(Act.journal == journal, Act.seq == 4))
    return journal


def _drop_tail(session: Session) -> str:
    journal = session.execute(select(Journal.id)).scalar_one()
    session.execute(delete(Act).where(Act.journal == journal, Act.seq == 6))
    return journal


def _swap_acts(session: Session) -> str:
    journal = session.execute(select(Journal.id)).scalar_one()
    for before, after in ((2, 99), (3, 2), (99, 3)):
        session.execute(update(Act).where(Act.journal == journal, Act.seq == before).values(seq=after))
    return journal


def _edit_record(session: Session) -> str:
    record = session.execute(select(SyncedRecord).where(SyncedRecord.kind == "inspection")).scalar_one()
    record.line = record.line.replace("第 0 条".encode(), "第 9 条".encode())
    return record.id


def _forge_signature(session: Session) -> str:
    row = session.execute(select(SegmentSignature)).scalar_one()
    row.statement = row.statement.replace("\n6\n", "\n5\n")
    return row.journal


def _edit_custody(session: Session) -> str:
    entry = session.execute(select(CustodyEntry).limit(1)).scalar_one()
    entry.body = entry.body.replace(b'"actor":"device:', b'"actor":"nobody:')
    return entry.evidence


@pytest.mark.parametrize(
    "tamper",
    [
        _edit_header, _edit_body, _drop_act, _drop_tail, _swap_acts, _edit_record, _forge_signature, _edit_custody,
    ],
)  # fmt: skip
def test_tampering_is_named(rt: Runtime, world: World, tamper: Callable[[Session], str]) -> None:
    """Whatever is edited, dropped, swapped or forged below the server is found, and named by its place."""
    with rt.db.write() as session:
        named = tamper(session)
    assert any(named in finding for finding in _findings(rt))
