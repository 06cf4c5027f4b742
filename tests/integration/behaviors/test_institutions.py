"""The three institutions: publication by working days, the whole process on record, review by another person."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import jwt
import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from sqlalchemy.orm import Session

from server.audit.models import AuditEvent
from server.behaviors.models import Behavior, LegalReviewer, Publication
from server.behaviors.publication import watch_deadlines
from server.evidence.models import VERIFIED, Blob, Evidence
from server.runtime import Runtime
from tests.conftest import FakeClock, SignIn
from tests.field_device import make_world
from tests.integration.behaviors.cases import DECISION, PENALTY, URL, Office, inspected, office
from tests.integration.exchange.behaviors import WUHAN, XIANGYANG

PUBLICATIONS, PUBLIC = "/api/v1/publications", "/api/v1/public/behaviors"
MAJOR = PENALTY | {"fine_yuan": "200000"}


@pytest.fixture
def number(rt: Runtime) -> str:
    """The number of an inspection."""
    with rt.db.write() as session:
        return inspected(session, rt, entity="entity-1")


@pytest.fixture
def desk(client: FlaskClient, rt: Runtime, sign_in: SignIn) -> Office:
    """A signed-in operator."""
    return office(client, rt, sign_in)


def reviewer(desk: Office, sign_in: SignIn, **more: Any) -> dict[str, str]:  # noqa: ANN401 - of an account
    """Another operator, appointed by an administrator; returns their headers."""
    headers = sign_in("operator", **more)
    appoint(desk, sign_in, headers, "2030-01-01T00:00:00+08:00")
    return headers


def appoint(desk: Office, sign_in: SignIn, headers: dict[str, str], until: str) -> None:
    """Note that the holder of an account is qualified."""
    account = account_of(desk, headers)
    body = {"certificate_number": f"法样 {account}", "valid_until": until}
    answer = desk.client.put(f"/api/v1/legal-reviewers/{account}", json=body, headers=sign_in("admin"))
    assert answer.status_code == 200, answer.text


def account_of(desk: Office, headers: dict[str, str]) -> str:
    """The account behind a token."""
    claims = jwt.decode(headers["Authorization"].split()[1], options={"verify_signature": False})
    return str(claims["sub"])


def proposed(desk: Office, number: str, **content: Any) -> None:  # noqa: ANN401 - any national field
    """A penalty up to its proposal."""
    desk.open("penalty", number, **content)
    for action in ("file", "propose"):
        desk.step(action)


# Legal review.


def test_a_major_decision_waits_for_another_person(desk: Office, sign_in: SignIn, number: str) -> None:
    """It cannot be issued; neither its author nor an unqualified person approves it; the reasons are kept."""
    proposed(desk, number, **MAJOR)
    told = desk.step("issue", 409, content=DECISION)
    assert (told["criteria"], told["legal"]) == (["fine-on-organisation"], ["request_review", "return", "withdraw"])
    desk.step("request_review")
    assert desk.step("issue", 409, content=DECISION)["legal"] == ["approve", "return"]
    assert desk.step("approve", 403, reason="样例同意")["reason"] == "not-qualified"
    author, qualified = desk.headers, reviewer(desk, sign_in)
    appoint(desk, sign_in, author, "2030-01-01T00:00:00+08:00")
    assert desk.step("approve", 403, reason="样例同意")["reason"] == "same-person"
    desk.headers = qualified
    assert desk.step("approve", 422)["field"] == "reason"
    desk.step("return", reason="证据不足，补正", opinion="2")
    assert desk.whole["state"] == "filed"
    assert "legal_review" not in desk.whole["content"]
    desk.headers = author
    desk.step("propose")
    desk.step("request_review")
    desk.headers = qualified
    desk.step("approve", reason="样例同意")
    assert desk.step("issue", content=DECISION)["content"]["legal_review_opinion"] == "1"
    rounds = [(one["round"], one["opinion"], one["reason"]) for one in desk.whole["reviews"]]
    assert rounds == [(1, "2", "证据不足，补正"), (2, "1", "样例同意")]


def test_a_qualification_runs_out(desk: Office, sign_in: SignIn, number: str, clock: FakeClock) -> None:
    """Whoever was qualified once must still be so on the day."""
    proposed(desk, number, **MAJOR)
    desk.step("request_review")
    desk.headers = reviewer(desk, sign_in)
    appoint(desk, sign_in, desk.headers, (clock.now() - timedelta(seconds=1)).isoformat())
    assert desk.step("approve", 403, reason="样例同意")["reason"] == "not-qualified"


def test_who_took_part_does_not_review(desk: Office, rt: Runtime, sign_in: SignIn) -> None:
    """An officer of the inspection is no other person."""
    world = make_world(rt)
    acting = [
        {"name": "张样例", "certificate_number": "HB-0000"},
        {"name": "李样例", "certificate_number": "HB-0001"},
    ]
    with rt.db.write() as session:
        number = inspected(session, rt, officers=acting)
    proposed(desk, number, **MAJOR)
    desk.step("request_review")
    desk.headers = reviewer(desk, sign_in, officer=world.officers[0])
    assert desk.step("approve", 403, reason="样例同意")["reason"] == "same-person"


def test_appointing(desk: Office, rt: Runtime, sign_in: SignIn) -> None:
    """Administrators only; a certificate is one person's; the account must be one that decides."""
    account = account_of(desk, desk.headers)
    url = f"/api/v1/legal-reviewers/{account}"
    body = {"certificate_number": "法样-1", "valid_until": "2030-01-01T00:00:00+08:00"}
    assert desk.client.put(url, json=body, headers=desk.headers).status_code == 403
    admin = sign_in("admin")
    assert desk.client.put(url, json=body, headers=admin).status_code == 200
    assert desk.client.put(url, json=body, headers=admin).status_code == 200
    other = account_of(desk, sign_in("operator"))
    taken = desk.client.put(f"/api/v1/legal-reviewers/{other}", json=body, headers=admin)
    assert (taken.status_code, taken.get_json()["field"]) == (409, "certificate_number")
    auditor = account_of(desk, sign_in("auditor"))
    assert desk.client.put(f"/api/v1/legal-reviewers/{auditor}", json=body, headers=admin).status_code == 422
    assert desk.client.put(f"/api/v1/legal-reviewers/{rt.new_id()}", json=body, headers=admin).status_code == 404
    listed = desk.client.get("/api/v1/legal-reviewers", headers=desk.headers).get_json()["reviewers"]
    assert [(row["account"], row["certificate_number"]) for row in listed] == [(account, "法样-1")]
    with rt.db.read() as session:
        assert len(session.execute(select(LegalReviewer)).all()) == 1


# Whole-process record.


def evidence(session: Session, rt: Runtime, inspection: str, media_type: str, status: str = VERIFIED) -> str:
    """A piece of evidence whose bytes are what they are said to be."""
    sha256 = rt.random_bytes(32).hex()
    row = Evidence(
        id=rt.new_id(), inspection=inspection, region=WUHAN, department="", device="d", act_hash="", status=status,
        sha256=sha256, sm3=sha256, size_bytes=1, media_type=media_type, declared_at=rt.now(), verified_at=rt.now(),
    )  # fmt: skip
    facts = {"media_type": media_type}
    session.add_all([row, Blob(sha256=sha256, sm3=sha256, size_bytes=1, stored_at=rt.now(), facts=facts)])
    session.flush()
    return row.id


def test_nothing_closes_while_a_scene_is_missing(desk: Office, rt: Runtime, number: str) -> None:
    """A penalty with a hearing needs its facts and its hearing on record, the latter as sound or picture in motion."""
    with rt.db.write() as session:
        inspection = session.execute(select(Behavior.inspection).where(Behavior.number == number)).scalar_one()
        assert inspection is not None
        photo, video = (evidence(session, rt, inspection, one) for one in ("image/jpeg", "video/mp4"))
        foreign = evidence(session, rt, rt.new_id(), "video/mp4")
        unverified = evidence(session, rt, inspection, "video/mp4", "declared")
    proposed(desk, number, **PENALTY)
    desk.step("issue", content=DECISION)
    closing = {"closed_at": "2026-04-01T00:00:00+08:00"}
    told = desk.step("close", 409, content=closing)
    assert (told["field"], told["missing"]) == ("recordings", ["facts"])
    url = f"{URL}/{desk.whole['id']}/recordings"

    def attach(scene: str, piece: str) -> int:
        answer = desk.client.post(f"{url}/{scene}", json={"evidence": piece}, headers=desk.headers)
        return answer.status_code

    assert attach("facts", foreign) == 404
    assert attach("facts", unverified) == 409
    assert attach("sealing", video) == 404, "a scene of coercion"
    assert attach("hearing", photo) == 422, "a photo shows no hearing"
    assert attach("facts", photo) == 200
    assert attach("facts", photo) == 200
    assert desk.step("close", content=closing)["scenes"][0]["evidence"] == [photo]


# Publication.


def listed(desk: Office, **query: str) -> list[dict[str, Any]]:
    """The office's list."""
    answer = desk.client.get(PUBLICATIONS, query_string=query, headers=desk.headers)
    rows: list[dict[str, Any]] = answer.get_json()["publications"]
    return rows


def test_a_behavior_is_published_in_time(desk: Office, rt: Runtime, number: str, clock: FakeClock) -> None:
    """Twenty working days for an inspection; the public sees it once it is published, and no more once taken down."""
    (row,) = listed(desk)
    assert (row["number"], row["state"], row["since"], row["due_on"]) == (number, "due", "2026-03-02", "2026-03-30")
    assert (row["provisional"], row["legal"]) == (False, ["publish", "withhold"])
    assert desk.client.get(PUBLIC).get_json() == {"behaviors": []}
    assert desk.client.get(f"{PUBLIC}/{number}").status_code == 404
    url = f"{PUBLICATIONS}/{row['behavior']}/actions"
    assert desk.client.post(url, json={"action": "publish"}, headers=desk.headers).get_json()["state"] == "published"
    again = desk.client.post(url, json={"action": "publish"}, headers=desk.headers)
    assert (again.status_code, again.get_json()["legal"]) == (409, ["take_down"])
    (shown,) = desk.client.get(PUBLIC).get_json()["behaviors"]
    assert (shown["number"], shown["corrected"], shown["fields"]["result"]["zh"]) == (number, False, "未发现问题")
    assert desk.client.get(f"{PUBLIC}/{number}").get_json() == shown
    assert "officers" not in shown["fields"]
    assert desk.client.post(url, json={"action": "take_down"}, headers=desk.headers).status_code == 422
    body = {"action": "take_down", "reason": "样例撤下"}
    assert desk.client.post(url, json=body, headers=desk.headers).status_code == 200
    assert desk.client.get(f"{PUBLIC}/{number}").status_code == 404


def test_overdue_publications_surface(
    desk: Office, rt: Runtime, number: str, clock: FakeClock, sign_in: SignIn
) -> None:
    """On the day after the deadline the worker marks it, once; the list finds it."""
    clock.advance(28 * 86_400)
    desk.headers = sign_in("operator")
    with rt.db.write() as session:
        assert watch_deadlines(session, rt) == 0, "30 March is the last day"
    assert listed(desk, overdue="true") == []
    clock.advance(86_400)
    desk.headers = sign_in("operator")
    with rt.db.write() as session:
        assert (watch_deadlines(session, rt), watch_deadlines(session, rt)) == (1, 0)
        event = session.execute(select(AuditEvent).where(AuditEvent.action == "publication.overdue")).scalar_one()
        assert event.detail["due_on"] == "2026-03-30"
    assert [row["number"] for row in listed(desk, overdue="true")] == [number]
    assert listed(desk, overdue="false") == []
    assert listed(desk, state="published") == []
    assert listed(desk, kind="penalty") == []


def test_a_deadline_of_an_unknown_year_is_counted_anew(rt: Runtime, number: str) -> None:
    """What was provisional is settled as soon as the year's holidays are in the calendar."""
    with rt.db.write() as session:
        row = session.execute(select(Publication)).scalar_one()
        row.provisional, row.due_on = True, date(2026, 3, 27)
    with rt.db.write() as session:
        assert (watch_deadlines(session, rt), watch_deadlines(session, rt)) == (1, 0)
        row = session.execute(select(Publication)).scalar_one()
        assert (row.due_on, row.provisional) == (date(2026, 3, 30), False)


def test_penalties_have_seven_days_from_their_decision(
    desk: Office, rt: Runtime, clock: FakeClock, sign_in: SignIn
) -> None:
    """The days count from the decision, in China, and cross into a year that is not announced as provisional."""
    clock.instant = datetime(2026, 12, 29, 1, 0, tzinfo=UTC)
    desk.headers = sign_in("operator")
    with rt.db.write() as session:
        number = inspected(session, rt)
    proposed(desk, number, **PENALTY)
    desk.step("issue", content=DECISION | {"decided_at": "2026-12-29T20:00:00+00:00"})
    (row,) = listed(desk, kind="penalty")
    assert (row["since"], row["due_on"], row["provisional"]) == ("2026-12-30", "2027-01-08", True)


def test_citizens_are_masked(desk: Office, rt: Runtime) -> None:
    """A citizen's name, number and telephone cannot be read from what is public."""
    with rt.db.write() as session:
        number = inspected(
            session, rt, counterpart_nature="1", counterpart_name="王样例", object="王样例", certificate_type="990",
            certificate_number="SAMPLE-42", registered_address="样例路 1 号",
        )  # fmt: skip
    proposed(desk, number, **PENALTY | {"facts": "王样例（电话 13800000000）承认"})
    behavior = desk.step("issue", content=DECISION)["id"]
    desk.client.post(f"{PUBLICATIONS}/{behavior}/actions", json={"action": "publish"}, headers=desk.headers)
    text = desk.client.get(PUBLIC).text
    assert not re.search("王样例|SAMPLE-42|13800000000|样例路", text)
    (shown,) = desk.client.get(f"{PUBLIC}?kind=penalty&region={WUHAN}").get_json()["behaviors"]
    assert shown["fields"]["counterpart_name"] == "王**"
    assert desk.client.get(f"{PUBLIC}?after={shown['number']}").get_json()["behaviors"] == []


def test_publishing_keeps_to_the_scope(desk: Office, sign_in: SignIn, number: str) -> None:
    """What is another region's cannot be published or seen in the list."""
    (row,) = listed(desk)
    desk.headers = sign_in("operator", region=XIANGYANG[:4])
    assert listed(desk) == []
    url = f"{PUBLICATIONS}/{row['behavior']}/actions"
    assert desk.client.post(url, json={"action": "publish"}, headers=desk.headers).status_code == 404
    assert desk.client.post(url, json={"action": "publish"}, headers=sign_in("auditor")).status_code == 403
