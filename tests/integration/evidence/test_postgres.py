"""The life of evidence once more, on PostgreSQL."""

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from server.config import load_settings
from server.db.engine import Database
from server.evidence import ledger
from server.evidence.derivatives import derive_step
from server.evidence.examination import inspect_step
from server.evidence.models import Evidence
from server.evidence.retention import destroy_step, erase_evidence, lift_hold, note_closed, place_hold, retention_step
from server.evidence.service import manifest
from server.evidence.settlement import reconcile_step, sweep_step
from server.records.service import start_epoch
from server.runtime import Runtime
from server.tables import METADATA
from tests.conftest import FakeClock
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import EVIDENCE, INSPECTION, PHOTO, URL, Declare, MakeHeaders, Tus, problem_of
from tests.integration.evidence.test_concatenation import final, part
from tests.integration.evidence.test_derivatives import scene

OTHER = EVIDENCE[:-1] + "2"
THIRD = EVIDENCE[:-1] + "3"
VIEWS = 12


@pytest.fixture
def rt(tmp_path: Path, clock: FakeClock, postgres_database_url: str) -> Iterator[Runtime]:
    """A runtime on an empty PostgreSQL database."""
    env = {"FIELDPROOF_HOME": str(tmp_path / "home"), "FIELDPROOF_DATABASE_URL": postgres_database_url}
    settings = load_settings(env)
    settings.home.mkdir(parents=True)
    database = Database(settings.database_url)
    METADATA.create_all(database.engine)
    runtime = Runtime(settings, database, clock, random.Random(7).randbytes)
    with database.write() as session:
        start_epoch(session, runtime)
    yield runtime
    database.dispose()


def test_life_of_evidence(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Attach, wait, share, reject, examine, clean up."""
    declared()
    tus.send(PHOTO)
    declared(record=OTHER)
    tus.send(b"too early", THIRD)
    declared(b"something else", record=THIRD)
    assert reconcile_step(rt) == 1
    assert [row(rt, each).status for each in (EVIDENCE, OTHER, THIRD)] == ["verified", "verified", "rejected"]
    assert inspect_step(rt) == 2
    assert sweep_step(rt) == 0
    with rt.db.read() as session:
        found = manifest(session, INSPECTION)
        assert (found.total, found.verified, found.rejected, found.flagged) == (3, 2, [THIRD], [])


def test_copies_holds_and_erasure(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Draw, put parts together, seal, hold, erase, destroy, and send again."""
    data = scene()
    declared(data)
    locations = [part(tus, data[:5_000]), part(tus, data[5_000:])]
    assert final(tus, *locations).status_code == 201
    assert (inspect_step(rt), derive_step(rt)) == (1, 1)
    with rt.db.write() as session:
        note_closed(session, rt, INSPECTION)
    with rt.db.write() as session:
        assert retention_step(session, rt) == 1
        place_hold(session, rt, INSPECTION, reason="样例", actor="a1")
        assert erase_evidence(session, rt, EVIDENCE, order="order-1")
    assert destroy_step(rt) == 2
    with rt.db.write() as session:
        lift_hold(session, rt, INSPECTION, reason="样例", actor="a1")
    assert destroy_step(rt) == 1
    assert actions(rt)[-4:] == ["seal", "hold", "erase", "release"]
    declared(data, record=OTHER)
    tus.send(data, OTHER)
    assert (row(rt).status, row(rt, OTHER).status, destroy_step(rt)) == ("erased", "verified", 0)
    assert sweep_step(rt) == 0


def test_same_picture_is_found(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """The index of perceptual hashes answers here as well."""
    declared(scene())
    tus.send(scene())
    copy = scene(quality=40)
    declared(copy, record=OTHER, inspection=THIRD)
    tus.send(copy, OTHER)
    assert inspect_step(rt) == 2
    assert "same-picture" in [flag["code"] for flag in row(rt, OTHER).flags]


def test_views_at_once_keep_the_chain(
    rt: Runtime, client: FlaskClient, tus: Tus, declared: Declare, sign_in: MakeHeaders
) -> None:
    """Many readers at once: each look has its entry, and the chain holds."""
    declared()
    tus.send(PHOTO)
    headers = sign_in("operator")

    def view(_number: int) -> int:
        response = client.application.test_client().get(f"{URL}/{EVIDENCE}/content", headers=headers)
        response.get_data()
        response.close()
        return response.status_code

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(view, range(VIEWS))) == {200}
    assert actions(rt).count("view") == VIEWS
    with rt.db.read() as session:
        assert ledger.check(session, session.get_one(Evidence, EVIDENCE)) == []


def test_bad_creation_changes_nothing(tus: Tus) -> None:
    """A refused creation leaves no row behind."""
    assert problem_of(tus.create("x"))[0] == 400
    assert problem_of(tus.create(5, evidence="nonsense"))[0] == 400
