"""The register pages: theme views, every register as a list with search, and records with their history."""

import pytest
from flask.testing import FlaskClient

from server.pages.shelves import SHELVES
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import body
from tests.integration.registers.conftest import Rows, Send, complaint, credit
from tests.integration.registers.test_themes import fill


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_register_has_its_pages(
    client: FlaskClient, send: Send, entities: Rows, rt: Runtime, sign_in: SignIn, language: str
) -> None:
    """Each is listed, its first record shown with its history; nothing personal is on any page."""
    with rt.db.write() as session:
        fill(session, rt)
    firm = entities[0]["uscc"]
    law = {"number": "F-1", "kind": "law", "title": "样例条例", "region": "420000", "effective_from": "2020-01-01"}
    key = {"number": "P-1", "entity": firm, "kind": "catering", "name": "样例平台", "listed_on": "2026-01-01"}
    for name, record in (
        ("complaints", complaint("TS-1", received_at="2018-05-06")), ("credit-records", credit("XY-1", firm)),
        ("knowledge", law), ("key-subjects", key),
    ):  # fmt: skip
        assert send("POST", f"/{name}", json={**record, "reason": "登记"}).status_code == 201
    headers = sign_in("auditor")
    page = client.get(f"/registers?lang={language}", headers=headers)
    assert page.status_code == 200
    assert "≠" not in page.text
    for name in SHELVES:
        listed = client.get(f"/registers/{name}?lang={language}", headers=headers)
        assert listed.status_code == 200, name
        link = listed.text.split(f'href="/registers/{name}/', 1)[1].split('"', 1)[0]
        shown = client.get(f"/registers/{name}/{link}", headers=headers)
        assert shown.status_code == 200, name
        assert "13800001234" not in listed.text + shown.text
        assert "→" in shown.text or name in ("entities", "officers", "behaviors"), name
        if name == "complaints":
            assert ("12315 消费者投诉举报热线" if language == "zh" else "12315 consumer hotline") in shown.text


def test_searching_and_scope(client: FlaskClient, send: Send, entities: Rows, sign_in: SignIn) -> None:
    """Lists are searched and filtered; one character is told; what lies elsewhere, and no register, is not found."""
    made = body(send("POST", "/complaints", json={**complaint("TS-1"), "reason": "登记"}))
    headers = sign_in("auditor")
    for question, found in (
        ("q=标签", True),
        ("q=没有", False),
        ("sector=drugs", False),
        ("sector=market&q=TS-1", True),
    ):
        text = client.get(f"/registers/complaints?{question}", headers=headers).text
        assert (made["id"] in text) is found, question
    assert 'role="alert"' in client.get("/registers/complaints?q=标", headers=headers).text
    elsewhere = sign_in("auditor", region="4202")
    assert client.get(f"/registers/complaints/{made['id']}", headers=elsewhere).status_code == 404
    assert (
        client.get(f"/registers/entities/{entities[0]['id']}", headers=sign_in("auditor", region="4299")).status_code
        == 404
    )
    assert client.get("/registers/none", headers=headers).status_code == 404
