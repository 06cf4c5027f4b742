"""Proceedings over HTTP: from an inspection's number to a closed penalty, and everything that is refused."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior, Proceeding
from server.behaviors.proceedings import Opening, open_proceeding
from server.behaviors.service import erase_personal
from server.prooflog.models import PendingLeaf
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.integration.behaviors.cases import COERCION, DECISION, GIVEN, PENALTY, URL, Office, inspected, office
from tests.integration.exchange.behaviors import XIANGYANG

ORDINARY = PENALTY | {"no_penalty": "1", "outcome": "2"}
"""No penalty is imposed: needs neither review nor recordings."""


@pytest.fixture
def number(rt: Runtime) -> str:
    """The number of an inspection."""
    with rt.db.write() as session:
        return inspected(session, rt)


@pytest.fixture
def desk(client: FlaskClient, rt: Runtime, sign_in: SignIn) -> Office:
    """A signed-in operator."""
    return office(client, rt, sign_in)


def test_a_penalty_from_draft_to_close(desk: Office, rt: Runtime, number: str) -> None:
    """Each step is shown with what is legal next; issued it is a behavior, and each later step a version of it."""
    draft = desk.open("penalty", number)
    assert (draft["state"], draft["legal"]) == ("draft", ["file", "withdraw"])
    assert {"facts", "basis", "kinds"} <= set(draft["missing"])
    body = {"revision": draft["revision"], "content": ORDINARY}
    edited = desk.client.patch(f"{URL}/{draft['id']}", json=body, headers=desk.headers).get_json()
    assert edited["missing"] == []
    desk.whole = edited
    for action in ("file", "propose"):
        desk.step(action)
    desk.step("issue", content=DECISION)
    assert desk.whole["content"]["decision_number"] == DECISION["decision_number"]
    desk.step("execute", content=GIVEN["penalty", "execute"])
    closed = desk.step("close", content=GIVEN["penalty", "close"])
    assert (closed["state"], closed["legal"]) == ("closed", [])
    assert [one["action"] for one in closed["steps"]] == ["file", "propose", "issue", "execute", "close"]
    assert [one["version"] for one in closed["steps"]] == [None, None, 1, 2, 3]
    with rt.db.read() as session:
        query = select(Behavior.version, Behavior.line).where(Behavior.id == draft["id"]).order_by(Behavior.version)
        rows = session.execute(query).all()
        leaves = session.execute(select(PendingLeaf.ref).where(PendingLeaf.ref.startswith(draft["id"]))).scalars().all()
    assert [version for version, _ in rows] == [1, 2, 3]
    assert len(leaves) == 3
    content = json.loads(rows[-1].line)
    assert (content["inspection_number"], content["closed_at"]) == (number, GIVEN["penalty", "close"]["closed_at"])
    assert content["behavior_kind"] == "penalty"


def test_illegal_steps_say_what_is_legal(desk: Office, number: str) -> None:
    """409 with the state and the legal actions, in every state; nothing changes."""
    desk.open("coercion", number, **COERCION)
    told = desk.step("issue", 409, content=GIVEN["coercion", "issue"])
    assert (told["code"], told["state"], told["legal"]) == ("illegal-transition", "draft", ["propose", "withdraw"])
    desk.step("propose")
    told = desk.step("lift", 409)
    assert (told["state"], told["legal"]) == ("proposed", ["request_review", "return", "issue", "withdraw"])
    assert desk.step("return", 422)["field"] == "reason"
    desk.step("withdraw", reason="样例撤销")
    assert desk.step("propose", 409)["legal"] == []


def test_a_step_needs_its_fields(desk: Office, number: str) -> None:
    """What lacks is named; what does not come with a step is refused."""
    desk.open("penalty", number)
    told = desk.step("file", 422)
    assert (told["field"], told["missing"]) == ("content.case_source", ["case_source", "facts", "filed_at"])
    desk.step("file", content={name: PENALTY[name] for name in ("case_source", "facts", "filed_at")})
    assert "kinds" in desk.step("propose", 422)["missing"]
    desk.step("propose", content=ORDINARY)
    assert desk.step("issue", 422)["field"] == "decision_number"
    assert desk.step("issue", 422, content=DECISION | {"kinds": ["08"]})["field"] == "content.kinds"
    desk.step("issue", content=DECISION)
    assert desk.step("execute", 422)["field"] == "content.execution"
    assert desk.step("execute", 422, content={"execution": "2", "fine_yuan": "1"})["field"] == "content.fine_yuan"
    told = desk.step("close", 422, content={"closed_at": "2020-01-01T00:00:00+08:00"})
    assert told["field"] == "closed_at", "closed before filed"


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"kinds": ["77"]}, "content.kinds"),
        ({"fine_yuan": "-1"}, "content.fine_yuan"),
        ({"unknown": "1"}, "content.unknown"),
        ({"record_id": "x"}, "content.record_id"),
        ({"legal_review_opinion": "1"}, "content.legal_review_opinion"),
        ({"officers": [{"name": "张样例", "certificate_number": "样例-1"}]}, "content.officers"),
    ],
)
def test_wrong_fields_are_named(desk: Office, number: str, content: dict[str, object], field: str) -> None:
    """Codes, amounts, unknown fields, one officer, and what only the platform gives."""
    body = {"kind": "penalty", "inspection_number": number, "content": content}
    refused = desk.client.post(URL, json=body, headers=desk.headers)
    assert (refused.status_code, refused.get_json()["field"]) == (422, field)


def test_it_follows_an_inspection_of_the_scope(
    desk: Office, client: FlaskClient, rt: Runtime, sign_in: SignIn, number: str
) -> None:
    """Without such an inspection, or with another's, there is nothing to follow; lists and pages keep to the scope."""
    for wrong in ("none", number + "1"):
        body = {"kind": "penalty", "inspection_number": wrong}
        assert client.post(URL, json=body, headers=desk.headers).status_code == 404
    outside = sign_in("operator", region=XIANGYANG[:4])
    body = {"kind": "other", "inspection_number": number}
    assert client.post(URL, json=body, headers=outside).status_code == 404
    mine = desk.open("other", number)
    assert client.get(f"{URL}/{mine['id']}", headers=outside).status_code == 404
    assert client.get(URL, headers=outside).get_json()["proceedings"] == []
    listed = client.get(f"{URL}?kind=other&state=draft&inspection_number={number}", headers=desk.headers).get_json()
    assert [row["id"] for row in listed["proceedings"]] == [mine["id"]]
    assert client.get(f"{URL}?after={mine['id']}", headers=desk.headers).get_json()["proceedings"] == []
    assert client.post(URL, json=body | {"kind": "inspection"}, headers=desk.headers).status_code == 422
    assert client.post(URL, json=body, headers=sign_in("auditor")).status_code == 403


def test_two_people_do_not_overwrite_each_other(desk: Office, number: str) -> None:
    """A change names the revision it was made upon."""
    whole = desk.open("other", number)
    body = {"revision": 1, "content": {"measures": "样例"}}
    assert desk.client.patch(f"{URL}/{whole['id']}", json=body, headers=desk.headers).status_code == 200
    late = desk.client.patch(f"{URL}/{whole['id']}", json=body, headers=desk.headers)
    assert (late.status_code, late.get_json()["field"], late.get_json()["revision"]) == (409, "revision", 2)
    assert desk.step("issue", 409)["field"] == "revision"


def test_content_is_written_before_the_proposal_only(desk: Office, number: str) -> None:
    """A proposed decision stays as it is until it is returned."""
    desk.open("penalty", number, **ORDINARY)
    desk.step("file")
    whole = desk.step("propose")
    body = {"revision": whole["revision"], "content": {"fine_yuan": "1"}}
    refused = desk.client.patch(f"{URL}/{whole['id']}", json=body, headers=desk.headers)
    assert (refused.status_code, refused.get_json()["state"]) == (409, "proposed")
    desk.step("return", reason="样例补正")
    body["revision"] = desk.whole["revision"]
    assert desk.client.patch(f"{URL}/{whole['id']}", json=body, headers=desk.headers).status_code == 200


def test_a_correction_leaves_the_decision_alone(desk: Office, number: str) -> None:
    """Facts may be corrected with a reason; kinds, fine and outcome take a decision of their own."""
    desk.open("penalty", number, **ORDINARY)
    for action in ("file", "propose"):
        desk.step(action)
    whole = desk.step("issue", content=DECISION)
    url = f"/api/v1/behaviors/{whole['id']}/versions"
    wrong = {"content": whole["content"] | {"fine_yuan": "1"}, "reason": "样例"}
    refused = desk.client.post(url, json=wrong, headers=desk.headers)
    assert (refused.status_code, refused.get_json()["field"]) == (409, "content.fine_yuan")
    right = {"content": whole["content"] | {"facts": "更正后的样例事实"}, "reason": "笔误"}
    assert desk.client.post(url, json=right, headers=desk.headers).status_code == 201
    shown = desk.client.get(f"{URL}/{whole['id']}", headers=desk.headers).get_json()
    assert shown["content"]["facts"] == "更正后的样例事实"


def test_an_erased_citizen_leaves_the_drafts_too(session: Session, rt: Runtime) -> None:
    """What a draft took over from an inspection of a citizen goes with it."""
    number = inspected(
        session, rt, counterpart_nature="1", counterpart_name="王样例", certificate_type="990", certificate_number="样"
    )
    row = open_proceeding(session, rt, Opening("other", number, {}), author="a-1")
    assert row.content["counterpart_name"] == "王样例"
    behavior = session.execute(select(Behavior.id).where(Behavior.number == number)).scalar_one()
    erase_personal(session, behavior, "order")
    assert "counterpart_name" not in session.get_one(Proceeding, row.id).content
