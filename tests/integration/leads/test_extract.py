"""The telemetry extract of a lead: sealed as evidence, for its officers only, the same bytes for the same readings."""

import hashlib
import json
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from server.casefile.collecting import collect
from server.evidence.hashing import new_sm3
from server.evidence.models import VERIFIED, Evidence
from server.evidence.service import custody
from server.leads.extract import content_of, extract_step
from server.leads.models import Lead
from server.officers.models import Officer
from server.prooflog.models import Leaf
from server.prooflog.service import sequence_step
from server.runtime import Runtime
from server.telemetry.models import StoredReading
from server.verifying import check_custody, check_records
from tests.conftest import FakeClock, SignIn
from tests.field_device import FieldDevice, World, make_world
from tests.integration.leads.lead_play import SENSOR, LeadPlay


@pytest.fixture
def world(rt: Runtime) -> World:
    """A seeded platform."""
    return make_world(rt)


@pytest.fixture
def play(rt: Runtime, world: World, clock: FakeClock) -> LeadPlay:
    """Leads on that platform, and readings: one of them is invalid."""
    play = LeadPlay(rt, world, clock)
    with rt.db.write() as session:
        for hour in range(1, 5):
            session.add(
                StoredReading(
                    at=rt.now() - timedelta(hours=hour), sensor_id=SENSOR, factor="SO2", kind="hour",
                    value=500.0 + hour, flag="N" if hour > 1 else "D", valid=hour > 1,
                    reason=None if hour > 1 else "flagged", seq=hour, received_at=rt.now(), skew_ms=None,
                )
            )  # fmt: skip
    return play


def _extract(rt: Runtime, lead: str) -> bytes:
    with rt.db.read() as session:
        return content_of(session, session.get_one(Lead, lead))


def test_readings_are_sealed_as_evidence(rt: Runtime, play: LeadPlay) -> None:
    """Valid and invalid readings, hashed twice, with custody up to its seal and two leaves of the proof log."""
    lead = play.open()
    expected = _extract(rt, lead)
    play.push()
    evidence_id = str(play.lead(lead).extract_id)
    with rt.db.write() as session:
        while sequence_step(session, rt):
            pass
    with rt.db.read() as session:
        evidence = session.get_one(Evidence, evidence_id)
        entries, faults = custody(session, evidence)
        leaves = select(Leaf.ref).where(Leaf.kind == "evidence").order_by(Leaf.ref)
        assert session.scalars(leaves).all() == [evidence_id, f"{evidence_id}:seal"]
        assert (check_custody(session).findings, check_records(session).findings) == ([], [])
        case = collect(session, str(evidence.inspection))
    sm3 = new_sm3()
    sm3.update(expected)
    assert (evidence.sha256, evidence.sm3) == (hashlib.sha256(expected).hexdigest(), sm3.hexdigest())
    assert (evidence.status, evidence.sealed_at) == (VERIFIED, rt.now())
    assert [json.loads(entry.body)["action"] for entry in entries] == ["capture", "verify", "seal"]
    assert faults == []
    assert [row["id"] for row in case.evidence] == [evidence_id]
    said = json.loads(expected)
    assert [(one["value"], one["valid"], one["flag"]) for one in said["readings"]] == [
        (504.0, True, "N"), (503.0, True, "N"), (502.0, True, "N"), (501.0, False, "D")
    ]  # fmt: skip
    assert said["complete"]


def test_the_same_readings_give_the_same_bytes(rt: Runtime, play: LeadPlay) -> None:
    """Taking out again changes nothing; what comes later changes no sealed extract."""
    lead = play.open()
    assert (extract_step(rt), extract_step(rt)) == (1, 0)
    sealed = play.lead(lead).extract_sha256
    assert hashlib.sha256(_extract(rt, lead)).hexdigest() == sealed
    with rt.db.write() as session:
        late = session.scalars(select(StoredReading).limit(1)).one()
        late.value = 1.0
    assert hashlib.sha256(_extract(rt, lead)).hexdigest() != sealed
    assert play.push() == 1
    with rt.db.read() as session:
        assert session.get_one(Evidence, str(play.lead(lead).extract_id)).sha256 == sealed


def test_the_extract_reaches_the_officers_alone(
    client: FlaskClient, rt: Runtime, world: World, play: LeadPlay, sign_in: SignIn
) -> None:
    """A handheld of one of the two reads it, which is a custody entry; other handhelds and other regions do not."""
    lead = play.open()
    play.push()
    path = f"/api/v1/evidence/{play.lead(lead).extract_id}/content"
    reply = client.get(path, headers=play.device().headers)
    assert hashlib.sha256(reply.data).hexdigest() == play.lead(lead).extract_sha256
    reply.close()
    with rt.db.write() as session:
        known = session.get_one(Officer, world.officers[0])
        columns = {name: getattr(known, name) for name in ("name", "certificate_valid_until", "region", "department")}
        session.add(Officer(id=rt.new_id(), certificate_number="HB-0009", **columns))
    with rt.db.read() as session:
        third = session.scalars(select(Officer.id).where(Officer.certificate_number == "HB-0009")).one()
    stranger = FieldDevice(rt, third, 99)
    assert client.get(path, headers=stranger.headers).status_code == 404
    assert client.get(path, headers=sign_in(role="operator", region="4203")).status_code == 404
    with rt.db.read() as session:
        entries, _ = custody(session, session.get_one(Evidence, str(play.lead(lead).extract_id)))
    assert [json.loads(entry.body)["actor"] for entry in entries][3:] == [play.device().id]
