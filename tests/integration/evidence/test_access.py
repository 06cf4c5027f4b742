"""Who may see evidence, how originals leave the server, and what a device is told of its own."""

import json

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from server.evidence.examination import inspect_step
from server.evidence.models import CustodyEntry
from server.evidence.store import DirectoryStore
from server.runtime import Runtime
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import (
    EVIDENCE,
    INSPECTION,
    PHOTO,
    SHA256,
    URL,
    Declare,
    Headers,
    MakeHeaders,
    Tus,
    json_of,
    problem_of,
)


def fetch(client: FlaskClient, url: str, headers: Headers) -> TestResponse:
    """GET a whole body and close the file behind it, as every server does."""
    response = client.get(url, headers=headers)
    response.get_data()
    response.close()
    return response


@pytest.fixture
def verified(rt: Runtime, tus: Tus, declared: Declare) -> str:
    """A verified, examined photo; returns its URL."""
    declared()
    tus.send(PHOTO)
    inspect_step(rt)
    return f"{URL}/{EVIDENCE}"


def test_list_and_record(client: FlaskClient, sign_in: MakeHeaders, verified: str) -> None:
    """An operator sees the inspection's evidence and each record."""
    headers = sign_in("operator")
    listed = json_of(client.get(f"{URL}?inspection={INSPECTION}", headers=headers))
    assert (listed["total"], listed["verified"], listed["complete"]) == (1, 1, True)
    assert listed["evidence"][0]["file_name"] == "现场.jpg"
    shown = json_of(client.get(verified, headers=headers))
    assert (shown["id"], shown["status"], shown["captured_at"]) == (EVIDENCE, "verified", "2026-03-01T02:00:00+00:00")
    assert problem_of(client.get(URL, headers=headers)) == (422, "invalid-field", "inspection")


def test_scope_hides_evidence(client: FlaskClient, sign_in: MakeHeaders, verified: str) -> None:
    """Another region or department gets the answer of evidence that does not exist."""
    for headers in (sign_in("operator", region="4202"), sign_in("operator", department="999")):
        for path in ("", "/content", "/custody"):
            assert problem_of(client.get(verified + path, headers=headers))[:2] == (404, "not-found")
        assert problem_of(client.get(f"{URL}?inspection={INSPECTION}", headers=headers))[:2] == (404, "not-found")
    assert client.get(verified, headers=sign_in("operator", region="4201", department="330")).status_code == 200
    assert problem_of(client.get(f"{URL}/none", headers=sign_in("operator")))[0] == 404


def test_original_is_served_safely(client: FlaskClient, rt: Runtime, sign_in: MakeHeaders, verified: str) -> None:
    """The bytes come as they are, shown in place by their real type, and the look is recorded first."""
    headers = sign_in("operator")
    response = fetch(client, f"{verified}/content", headers)
    assert (response.status_code, response.data) == (200, PHOTO)
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["Content-Disposition"] == f"inline; filename={EVIDENCE}.jpg"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in response.headers["Content-Security-Policy"]
    assert response.headers["ETag"] == f'"{row(rt).sha256}"'
    assert actions(rt) == ["capture", "upload", "verify", "view"]
    again = fetch(client, f"{verified}/content", headers | {"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [("bytes=0-9", 206, 0, 10), ("bytes=10-", 206, 10, len(PHOTO)), ("bytes=-5", 206, len(PHOTO) - 5, len(PHOTO))],
)
def test_ranges(
    client: FlaskClient, rt: Runtime, sign_in: MakeHeaders, verified: str, asked: str, status: int, start: int, end: int
) -> None:
    """Parts are served as parts, and the entry says which."""
    response = fetch(client, f"{verified}/content", sign_in("operator") | {"Range": asked})
    assert (response.status_code, response.data) == (status, PHOTO[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(PHOTO)}"
    with rt.db.read() as session:
        last = session.scalars(select(CustodyEntry.body).order_by(CustodyEntry.seq.desc()).limit(1)).one()
    assert json.loads(last)["detail"] == {"range": asked}


def test_impossible_range_is_refused(client: FlaskClient, sign_in: MakeHeaders, verified: str) -> None:
    """A range beyond the end is told as such."""
    response = fetch(client, f"{verified}/content", sign_in("operator") | {"Range": "bytes=999999-"})
    assert problem_of(response) == (416, "range-not-satisfiable", "Range")


def test_other_files_are_only_saved(
    client: FlaskClient, rt: Runtime, tus: Tus, sign_in: MakeHeaders, declared: Declare
) -> None:
    """A page declared as a photo is never shown as a page."""
    page = b"<!doctype html><script>alert(1)</script>"
    declared(page, file_name='x.html"\r\nSet-Cookie: a=b')
    tus.send(page)
    inspect_step(rt)
    response = fetch(client, f"{URL}/{EVIDENCE}/content", sign_in("operator"))
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Content-Disposition"] == f"attachment; filename={EVIDENCE}"
    assert "Set-Cookie" not in response.headers


def test_unverified_bytes_are_not_served(client: FlaskClient, sign_in: MakeHeaders, declared: Declare) -> None:
    """There is nothing to see before verification."""
    declared()
    response = client.get(f"{URL}/{EVIDENCE}/content", headers=sign_in("operator"))
    assert (*problem_of(response)[:2], json_of(response)["state"]) == (409, "conflict", "declared")


def test_lost_blob_is_told(client: FlaskClient, rt: Runtime, sign_in: MakeHeaders, verified: str) -> None:
    """A store without the bytes answers honestly, and no look is recorded."""
    DirectoryStore(rt.settings.evidence_dir / "blobs").path(SHA256).unlink()
    assert problem_of(client.get(f"{verified}/content", headers=sign_in("operator")))[:2] == (503, "unavailable")
    assert actions(rt) == ["capture", "upload", "verify"]


def test_custody_is_served_and_checked(client: FlaskClient, rt: Runtime, sign_in: MakeHeaders, verified: str) -> None:
    """The chain comes with its verdict; a changed entry is found and named."""
    headers = sign_in("auditor")
    intact = json_of(client.get(f"{verified}/custody", headers=headers))
    assert (intact["intact"], intact["faults"], len(intact["entries"])) == (True, [], 3)
    with rt.db.write() as session:
        session.execute(update(CustodyEntry).where(CustodyEntry.seq == 2).values(body=b'{"forged":true}'))
    broken = json_of(client.get(f"{verified}/custody", headers=headers))
    assert (broken["intact"], broken["faults"][0]) == (False, {"seq": 2, "reason": "the entry was changed"})


def test_roles(client: FlaskClient, sign_in: MakeHeaders, tus: Tus, verified: str) -> None:
    """Devices read no records, people get no receipts, strangers get nothing."""
    device: Headers = tus.headers
    assert problem_of(client.get(verified, headers=device))[0] == 403
    assert problem_of(client.get(f"{verified}/receipt", headers=sign_in("operator")))[0] == 403
    assert problem_of(client.get(f"{verified}/content", headers=sign_in("central")))[0] == 403
    for path in ("", "/content", "/custody", "/receipt"):
        assert problem_of(client.get(verified + path))[0] == 401
