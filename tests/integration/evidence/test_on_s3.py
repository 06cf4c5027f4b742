"""The life of evidence with its originals on S3: attach, read, examine, draw, erase; and a service that is away."""

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from server.config import S3Settings
from server.evidence.derivatives import derive_step
from server.evidence.examination import inspect_step
from server.evidence.retention import destroy_step, erase_evidence
from server.evidence.settlement import reconcile_step
from server.evidence.stores import open_store
from server.runtime import Runtime
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import EVIDENCE, PHOTO, SHA256, URL, Declare, MakeHeaders, Tus, problem_of


@pytest.fixture
def s3_rt(rt: Runtime, wired_app: Flask, s3_settings: S3Settings) -> Runtime:
    """The runtime with a bucket."""
    made = replace(rt, settings=replace(rt.settings, s3=s3_settings))
    wired_app.extensions["fieldproof"] = made
    return made


def test_life_of_evidence_on_s3(
    client: FlaskClient, s3_rt: Runtime, tus: Tus, declared: Declare, sign_in: MakeHeaders
) -> None:
    """Nothing of it lies in the folder; ranges are read, copies drawn, and erasure removes all of it."""
    declared()
    tus.send(PHOTO)
    assert row(s3_rt).status == "verified"
    assert [path for path in s3_rt.settings.evidence_dir.rglob("*") if path.is_file()] == []
    assert (inspect_step(s3_rt), derive_step(s3_rt)) == (1, 1)
    assert row(s3_rt).flags == []
    headers = sign_in("auditor")
    with client.get(f"{URL}/{EVIDENCE}/content", headers=headers | {"Range": "bytes=10-19"}) as part:
        assert (part.status_code, part.data) == (206, PHOTO[10:20])
    with client.get(f"{URL}/{EVIDENCE}/thumbnail", headers=headers) as thumbnail:
        assert thumbnail.data[:2] == b"\xff\xd8"
    with s3_rt.db.write() as session:
        erase_evidence(session, s3_rt, EVIDENCE, order="order-1")
    assert destroy_step(s3_rt) == 3
    assert open_store(s3_rt.settings).size_bytes(SHA256) is None


def test_service_that_is_away_keeps_bytes_waiting(
    client: FlaskClient, rt: Runtime, wired_app: Flask, s3_rt: Runtime, tus: Tus, declared: Declare,
    sign_in: MakeHeaders, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The device is told that its bytes are safe; they are attached once the service is back, and then read or not."""
    monkeypatch.setattr("server.evidence.s3.MAX_ATTEMPTS", 1)
    assert s3_rt.settings.s3 is not None
    nowhere = replace(s3_rt.settings.s3, endpoint_url="http://127.0.0.1:9")
    away = replace(s3_rt, settings=replace(s3_rt.settings, s3=nowhere))
    wired_app.extensions["fieldproof"] = away
    declared()
    tus.send(PHOTO)
    assert (row(rt).status, reconcile_step(away)) == ("declared", 0)
    assert reconcile_step(s3_rt) == 1
    assert actions(rt) == ["capture", "upload", "verify"]
    answer = client.get(f"{URL}/{EVIDENCE}/content", headers=sign_in("auditor"))
    assert problem_of(answer)[:2] == (503, "unavailable")
