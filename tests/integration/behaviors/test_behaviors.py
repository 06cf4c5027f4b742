"""Supervision behaviors in the database and over HTTP: written, corrected, found, and seen only in scope."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from schemas.identifiers import make_uscc
from server.audit.models import AuditEvent
from server.behaviors.models import Behavior
from server.behaviors.service import BehaviorDraft, correct_behavior, create_behavior
from server.errors import Problem
from server.prooflog.models import PendingLeaf
from server.runtime import Runtime
from sync.acts import commitment
from sync.merkle import leaf_hash
from tests.conftest import FakeClock, SignIn

URL = "/api/v1/behaviors"
WUHAN, XIANGYANG = "420106", "420602"
DEPARTMENT = "示例部门"
USCC = make_uscc("91", "420100", "MA4K0001")


def content_of(rt: Runtime, **change: Any) -> dict[str, Any]:  # noqa: ANN401 - any national field
    """National fields of an inspection of a plainly fictitious shop."""
    now = rt.now().isoformat()
    return {
        "item_code": "01234567890123",
        "checklist_code": f"{USCC}1001",
        "name": "示例事项",
        "implementing_body": "示例部门",
        "implementing_body_code": USCC,
        "object": "示例食品店",
        "counterpart_name": "示例食品店",
        "counterpart_nature": "2",
        "certificate_type": "001",
        "certificate_number": USCC,
        "region": WUHAN,
        "form": "01",
        "category": "03",
        "result": "01",
        "inspected_at": now,
        "officers": [
            {"name": "张样例", "certificate_number": "样例-1"},
            {"name": "李样例", "certificate_number": "样例-2"},
        ],
        "reported_at": now,
        "reported_by": "张样例",
        **change,
    }


def write(rt: Runtime, region: str = WUHAN, department: str = DEPARTMENT, **change: Any) -> str:  # noqa: ANN401
    """Write one inspection behavior and commit it; returns its id."""
    with rt.db.write() as session:
        return create_behavior(
            session, rt, BehaviorDraft("inspection", region, department, content_of(rt, **change), "entity-1")
        )


def rows_of(session: Session, behavior_id: str) -> list[Behavior]:
    """All versions of a behavior."""
    query = select(Behavior).where(Behavior.id == behavior_id).order_by(Behavior.version)
    return list(session.execute(query).scalars())


def test_the_leaf_commits_to_the_stored_content(session: Session, rt: Runtime) -> None:
    """A leaf with the content's hash waits in the same transaction, and holds none of the content."""
    behavior_id = create_behavior(session, rt, BehaviorDraft("inspection", WUHAN, DEPARTMENT, content_of(rt)))
    row = rows_of(session, behavior_id)[0]
    waiting = session.execute(select(PendingLeaf)).scalar_one()
    assert (waiting.kind, waiting.ref, waiting.data) == ("behavior", f"{behavior_id}:1", row.leaf)
    assert json.loads(row.leaf)["content"] == commitment(row.line)
    assert "样例".encode() not in row.leaf
    assert json.loads(row.line)["record_id"] == behavior_id


def test_equal_content_has_different_commitments(session: Session, rt: Runtime) -> None:
    """Each version has its own salt: a commitment cannot be guessed from what the content probably was."""
    content = content_of(rt, number="示例-1")
    first = create_behavior(session, rt, BehaviorDraft("inspection", WUHAN, DEPARTMENT, content))
    correct_behavior(session, rt, first, content)
    before, after = (json.loads(row.leaf)["content"] for row in rows_of(session, first))
    assert before != after


def test_a_correction_appends_and_names_the_leaf_before_it(session: Session, rt: Runtime) -> None:
    """The first version stays as it was; the second carries its leaf's hash, the same id and number."""
    behavior_id = create_behavior(session, rt, BehaviorDraft("inspection", WUHAN, DEPARTMENT, content_of(rt)))
    first = rows_of(session, behavior_id)[0]
    line, leaf = first.line, first.leaf
    change = content_of(rt, result="03", number="other", record_id="other")
    assert correct_behavior(session, rt, behavior_id, change, author="a-1", reason="笔误") == 2
    old, new = rows_of(session, behavior_id)
    assert (old.line, old.leaf, old.status) == (line, leaf, "superseded")
    assert (new.status, new.result, new.number) == ("current", "03", old.number)
    assert json.loads(new.line)["record_id"] == behavior_id
    assert json.loads(new.leaf)["previous"] == leaf_hash(leaf).hex()
    assert json.loads(old.leaf)["previous"] is None
    event = session.execute(select(AuditEvent).where(AuditEvent.action == "behavior.correct")).scalar_one()
    assert (event.actor, event.detail["version"], event.detail["reason"]) == ("a-1", 2, "笔误")
    assert event.detail["fields"]["result"] == [json.loads(line)["result"], "03"]
    assert event.detail["fields"].keys().isdisjoint({"record_id", "number", "salt"})


def test_a_wrong_field_is_named_and_nothing_is_stored(session: Session, rt: Runtime) -> None:
    """The problem says which field; neither row nor leaf is there."""
    with pytest.raises(Problem) as caught:
        create_behavior(session, rt, BehaviorDraft("inspection", WUHAN, DEPARTMENT, content_of(rt, form="77")))
    assert (caught.value.code, caught.value.field) == ("invalid-field", "form")
    assert not session.execute(select(Behavior)).all()
    assert not session.execute(select(PendingLeaf)).all()


def test_an_unknown_kind_is_refused(session: Session, rt: Runtime) -> None:
    """There are four kinds."""
    with pytest.raises(Problem, match="unknown-kind"):
        create_behavior(session, rt, BehaviorDraft("nonsense", WUHAN, DEPARTMENT, content_of(rt)))


def test_correcting_nothing_is_refused(session: Session, rt: Runtime) -> None:
    """A correction needs a behavior."""
    with pytest.raises(Problem, match="not-found"):
        correct_behavior(session, rt, rt.new_id(), content_of(rt))


def test_a_number_is_taken_once(session: Session, rt: Runtime) -> None:
    """Two behaviors never share a number: what follows an inspection names it by its number."""
    draft = BehaviorDraft("inspection", WUHAN, DEPARTMENT, content_of(rt, number="示例-1"))
    create_behavior(session, rt, draft)
    with pytest.raises(Problem) as caught:
        create_behavior(session, rt, draft)
    assert (caught.value.code, caught.value.field) == ("conflict", "number")


def test_what_follows_refers_to_an_inspection(session: Session, rt: Runtime) -> None:
    """An other behavior is written for the number of an inspection, refused for any other number."""
    number = "示例-1"
    create_behavior(session, rt, BehaviorDraft("inspection", WUHAN, DEPARTMENT, content_of(rt, number=number)))
    following = content_of(rt, inspection_number=number)
    other = create_behavior(session, rt, BehaviorDraft("other", WUHAN, DEPARTMENT, following))
    other_number = rows_of(session, other)[0].number
    for wrong in ("示例-2", other_number):
        with pytest.raises(Problem) as caught:
            create_behavior(
                session, rt, BehaviorDraft("other", WUHAN, DEPARTMENT, content_of(rt, inspection_number=wrong))
            )
        assert caught.value.field == "inspection_number"


def test_lists_keep_to_region_and_department(client: FlaskClient, rt: Runtime, sign_in: SignIn) -> None:
    """Each caller sees its own region and department; another's behavior is not there at all."""
    mine, other_place, other_house = write(rt), write(rt, XIANGYANG), write(rt, department="另一部门")
    headers = sign_in("operator", region="4201", department=DEPARTMENT)
    listed = client.get(URL, headers=headers).get_json()["behaviors"]
    assert [row["id"] for row in listed] == [mine]
    for hidden in (other_place, other_house):
        assert client.get(f"{URL}/{hidden}", headers=headers).status_code == 404
        assert client.get(f"{URL}/{hidden}/versions", headers=headers).status_code == 404
    everything = client.get(URL, headers=sign_in("auditor")).get_json()["behaviors"]
    assert {row["id"] for row in everything} == {mine, other_place, other_house}


def test_lists_are_filtered_and_paged(client: FlaskClient, rt: Runtime, sign_in: SignIn, clock: FakeClock) -> None:
    """Newest first; a page continues after the last id of the one before; filters narrow."""
    ids = []
    for result in ("01", "03", "01", "03", "01"):
        ids.append(write(rt, result=result))
        clock.advance(60)
    headers = sign_in("operator")
    seen: list[str] = []
    after = ""
    while page := client.get(f"{URL}?limit=2&after={after}", headers=headers).get_json()["behaviors"]:
        seen += [row["id"] for row in page]
        after = seen[-1]
    assert seen == ids[::-1]

    def found(**query: str) -> list[str]:
        listed = client.get(URL, query_string=query, headers=headers).get_json()["behaviors"]
        return [row["id"] for row in listed]

    assert found(result="03") == [ids[3], ids[1]]
    first = client.get(f"{URL}/{ids[0]}", headers=headers).get_json()
    assert found(number=first["number"]) == [ids[0]]
    assert found(kind="penalty") == []
    assert found(region="4206") == []
    assert found(entity="entity-1", inspected_before=first["inspected_at"]) == []
    assert found(inspected_from=first["inspected_at"], result="03") == [ids[3], ids[1]]


def test_a_correction_over_http(client: FlaskClient, rt: Runtime, sign_in: SignIn) -> None:
    """An operator corrects with a reason; both versions stay readable."""
    behavior_id = write(rt)
    headers = sign_in("operator")
    body = {"content": content_of(rt, result="03"), "reason": "结果录入有误"}
    created = client.post(f"{URL}/{behavior_id}/versions", json=body, headers=headers)
    assert created.status_code == 201, created.text
    assert (created.get_json()["version"], created.get_json()["result"]) == (2, "03")
    versions = client.get(f"{URL}/{behavior_id}/versions", headers=headers).get_json()["behaviors"]
    assert [(row["version"], row["status"]) for row in versions] == [(1, "superseded"), (2, "current")]
    assert client.get(f"{URL}/{behavior_id}", headers=headers).get_json()["content"]["result"] == "03"


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({"content": {}, "reason": "x"}, 422, "record"),
        ({"content": {"result": "77"}, "reason": ""}, 422, "reason"),
        ({"content": []}, 422, "content"),
        ({"content": {}, "reason": "x", "more": 1}, 422, "more"),
    ],
)
def test_a_bad_correction_is_refused(
    client: FlaskClient, rt: Runtime, sign_in: SignIn, body: dict[str, Any], status: int, named: str
) -> None:
    """A correction without its fields or reason is refused as a problem, and no version appears."""
    behavior_id = write(rt)
    headers = sign_in("operator")
    refused = client.post(f"{URL}/{behavior_id}/versions", json=body, headers=headers)
    assert refused.status_code == status
    assert refused.mimetype == "application/problem+json"
    assert named == "record" or named in refused.get_json()["field"]
    assert len(client.get(f"{URL}/{behavior_id}/versions", headers=headers).get_json()["behaviors"]) == 1


def test_only_operators_correct(client: FlaskClient, rt: Runtime, sign_in: SignIn) -> None:
    """An auditor reads; nobody corrects what is outside the scope."""
    behavior_id = write(rt, XIANGYANG)
    body = {"content": content_of(rt), "reason": "x"}
    assert client.post(f"{URL}/{behavior_id}/versions", json=body, headers=sign_in("auditor")).status_code == 403
    outside = sign_in("operator", region="4201")
    assert client.post(f"{URL}/{behavior_id}/versions", json=body, headers=outside).status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "kind=x", "region=abc", "inspected_from=yesterday", "no=1"])
def test_a_bad_query_is_refused(client: FlaskClient, sign_in: SignIn, query: str) -> None:
    """Every member of the query has its form and limit."""
    refused = client.get(f"{URL}?{query}", headers=sign_in("operator"))
    assert refused.status_code == 422
    assert refused.get_json()["field"] == query.partition("=")[0]
