"""How long evidence is kept: sealing, legal holds, retention, and lawful erasure that leaves every proof standing."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from server.evidence import ledger
from server.evidence.derivatives import derive_step
from server.evidence.examination import inspect_step
from server.evidence.models import Blob, Derivative, Evidence, PictureBand, Upload
from server.evidence.retention import destroy_step, erase_evidence, note_closed, retention_step
from server.evidence.service import manifest
from server.evidence.settlement import reconcile_step, sweep_step
from server.evidence.stores import open_store
from server.prooflog.models import PendingLeaf
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import (
    EVIDENCE,
    INSPECTION,
    PHOTO,
    SHA256,
    URL,
    Declare,
    MakeHeaders,
    Tus,
    json_of,
    problem_of,
)

OTHER = EVIDENCE[:-1] + "2"
HOLD = f"{URL}/holds/{INSPECTION}"
DAY_S = 86_400


@pytest.fixture
def attached(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """A verified photo, examined, with its copies drawn."""
    declared()
    tus.send(PHOTO)
    inspect_step(rt)
    derive_step(rt)


def close(rt: Runtime) -> None:
    """Close the case."""
    with rt.db.write() as session:
        note_closed(session, rt, INSPECTION)


def retain(rt: Runtime, **settings: int) -> int:
    """Run the worker's step under a policy."""
    policy = replace(rt, settings=replace(rt.settings, **settings))  # type: ignore[arg-type]  # counts of days
    with policy.db.write() as session:
        return retention_step(session, policy)


def erase(rt: Runtime, record: str = EVIDENCE) -> bool:
    """Carry out an order, as the erasure of records does."""
    with rt.db.write() as session:
        return erase_evidence(session, rt, record, order="order-1")


def intact(rt: Runtime, record: str = EVIDENCE) -> bool:
    """Whether the chain of custody holds."""
    with rt.db.read() as session:
        return ledger.check(session, session.get_one(Evidence, record)) == []


def files_below(folder: Path) -> list[Path]:
    """All files below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.usefixtures("attached")
def test_evidence_is_sealed_some_days_after_closing(rt: Runtime, clock: FakeClock, declared: Declare) -> None:
    """Not before its case is closed, once, with a leaf of the proof log; then the caption stands still."""
    assert retain(rt, seal_after_days=7) == 0
    close(rt)
    clock.advance(6 * DAY_S)
    close(rt)  # closing again does not begin anew
    assert retain(rt, seal_after_days=7) == 0
    clock.advance(DAY_S)
    assert (retain(rt, seal_after_days=7), retain(rt, seal_after_days=7)) == (1, 0)
    assert actions(rt)[-1] == "seal"
    with rt.db.read() as session:
        leaf = session.scalars(select(PendingLeaf.data).where(PendingLeaf.ref == f"{EVIDENCE}:seal")).one()
    assert row(rt).custody_head.encode() in leaf
    declared(caption="改")
    assert row(rt).caption is None
    assert intact(rt)


@pytest.mark.usefixtures("attached")
def test_order_destroys_bytes_and_keeps_proofs(
    client: FlaskClient, rt: Runtime, tus: Tus, sign_in: MakeHeaders, declared: Declare
) -> None:
    """Original, copies and personal members go; hashes and chain stay; nobody gets or brings the bytes again."""
    assert len(files_below(rt.settings.evidence_dir)) == 3
    assert erase(rt)
    assert not erase(rt)
    assert destroy_step(rt) == 3
    assert destroy_step(rt) == 0
    assert files_below(rt.settings.evidence_dir) == []
    evidence = row(rt)
    assert (evidence.status, evidence.sha256, evidence.file_name, evidence.position) == ("erased", SHA256, None, None)
    assert actions(rt)[-1] == "erase"
    assert intact(rt)
    with rt.db.read() as session:
        assert not session.scalars(select(Derivative)).all()
        assert not session.scalars(select(PictureBand)).all()
        assert session.get_one(Blob, SHA256).facts is None
    for kind in ("content", "thumbnail", "watermarked"):
        assert problem_of(client.get(f"{URL}/{EVIDENCE}/{kind}", headers=sign_in("auditor")))[:2] == (410, "erased")
    assert problem_of(tus.create(len(PHOTO), body=PHOTO))[:2] == (410, "erased")
    assert problem_of(tus.create(len(PHOTO)))[:2] == (410, "erased")
    declared(caption="again")
    assert row(rt).caption is None
    receipt = json_of(client.get(f"{URL}/{EVIDENCE}/receipt", headers=tus.headers))
    assert (receipt["status"], receipt["receipt"]) == ("erased", None)


@pytest.mark.usefixtures("attached")
def test_shared_bytes_stay_until_the_last_record_goes(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Another record's evidence is not touched; after both went, sending it for a third makes it evidence again."""
    declared(record=OTHER)
    erase(rt)
    destroy_step(rt)
    assert open_store(rt.settings).size_bytes(SHA256) == len(PHOTO)
    erase(rt, OTHER)
    destroy_step(rt)
    assert open_store(rt.settings).size_bytes(SHA256) is None
    third = EVIDENCE[:-1] + "3"
    declared(record=third)
    assert row(rt, third).status == "declared"
    tus.send(PHOTO, third)
    assert row(rt, third).status == "verified"
    assert destroy_step(rt) == 0
    assert open_store(rt.settings).size_bytes(SHA256) == len(PHOTO)
    erase(rt, third)
    assert destroy_step(rt) == 1


def test_unfinished_and_rejected_bytes_go_too(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """What never became evidence of an erased record is destroyed as well."""
    declared()
    tus.send_apart(b"other bytes")
    tus.create(len(PHOTO), body=PHOTO[:99])
    assert len(list((rt.settings.evidence_dir / "quarantine").iterdir())) == 1
    assert sweep_step(rt) == 0
    erase(rt)
    assert sweep_step(rt) == 2
    assert files_below(rt.settings.evidence_dir) == []
    assert reconcile_step(rt) == 0
    with rt.db.read() as session:
        assert session.scalars(select(Upload)).all() == []
        assert manifest(session, INSPECTION).missing == []


@pytest.mark.usefixtures("attached")
def test_hold_stops_destruction_until_it_is_lifted(
    client: FlaskClient, rt: Runtime, clock: FakeClock, sign_in: MakeHeaders
) -> None:
    """Neither policy nor order destroys what is held; afterwards both take effect."""
    headers = sign_in("operator")
    assert client.post(HOLD, json={"reason": "诉讼 litigation"}, headers=headers).status_code == 201
    assert problem_of(client.post(HOLD, json={"reason": "x"}, headers=headers))[:2] == (409, "conflict")
    close(rt)
    clock.advance(100 * DAY_S)
    assert retain(rt, retention_days=90, seal_after_days=999) == 0
    erase(rt)
    assert destroy_step(rt) == 2  # copies can be drawn again; the original is what is held
    assert open_store(rt.settings).size_bytes(SHA256) == len(PHOTO)
    headers = sign_in("operator")
    lifted = client.post(f"{HOLD}/lift", json={"reason": "结案"}, headers=headers)
    assert json_of(lifted)["lifted_at"] == rt.now().isoformat()
    assert problem_of(client.post(f"{HOLD}/lift", json={"reason": "x"}, headers=headers))[:2] == (404, "not-found")
    assert destroy_step(rt) == 1
    assert actions(rt)[-3:] == ["hold", "erase", "release"]
    assert intact(rt)


@pytest.mark.usefixtures("attached")
def test_retention_ends_after_its_time(rt: Runtime, clock: FakeClock) -> None:
    """For ever by default; with a policy, some days after the case was closed."""
    close(rt)
    clock.advance(timedelta(days=400).total_seconds())
    assert retain(rt, seal_after_days=9_999) == 0
    assert retain(rt, seal_after_days=9_999, retention_days=401) == 0
    assert retain(rt, seal_after_days=9_999, retention_days=400) == 1
    assert row(rt).status == "erased"
    assert destroy_step(rt) == 3


def test_hold_needs_scope_and_reason(client: FlaskClient, sign_in: MakeHeaders, declared: Declare) -> None:
    """A case elsewhere, or one without evidence, is not there; a blank reason is none."""
    assert problem_of(client.post(HOLD, json={"reason": "x"}, headers=sign_in("operator")))[:2] == (404, "not-found")
    declared()
    elsewhere = sign_in("operator", region="4202")
    assert problem_of(client.post(HOLD, json={"reason": "x"}, headers=elsewhere))[:2] == (404, "not-found")
    blank = client.post(HOLD, json={"reason": " "}, headers=sign_in("operator"))
    assert problem_of(blank) == (422, "invalid-field", "reason")


@pytest.mark.usefixtures("attached")
def test_transfer_stands_in_the_chain(client: FlaskClient, rt: Runtime, sign_in: MakeHeaders) -> None:
    """Handing evidence to a court is entered with recipient and ground."""
    body = {"recipient": "样例法院", "basis": "调取证据通知书 样例 1 号"}
    assert client.post(f"{URL}/{EVIDENCE}/transfers", json=body, headers=sign_in("operator")).status_code == 201
    assert actions(rt)[-1] == "transfer"
    with rt.db.read() as session:
        assert "样例法院".encode() in ledger.entries_of(session, EVIDENCE)[-1].body


def test_unverified_evidence_is_not_transferred(client: FlaskClient, sign_in: MakeHeaders, declared: Declare) -> None:
    """There is nothing to hand over yet."""
    declared()
    body = {"recipient": "样例法院", "basis": "样例"}
    answer = client.post(f"{URL}/{EVIDENCE}/transfers", json=body, headers=sign_in("operator"))
    assert problem_of(answer)[:2] == (409, "conflict")
