"""The pages of behaviors under way and the public one: what they show, and a step taken by form."""

import re

import pytest
from flask.testing import FlaskClient

from server.behaviors.lifecycles import COERCION, OTHER, PENALTY, PUBLICATION
from server.entities.models import Entity
from server.entities.service import add_entities
from server.inspections.lifecycles import RECTIFICATION
from server.pages import behaviors_api
from server.pages.behaviors_api import action_label, state_label
from server.runtime import Runtime
from server.web.auth import COOKIE
from tests.conftest import SignIn
from tests.integration.behaviors.cases import Office, inspected, office
from tests.integration.registers.conftest import ROWS


@pytest.fixture
def desk(client: FlaskClient, rt: Runtime, sign_in: SignIn) -> Office:
    """An operator, signed in for the API and in the browser."""
    made = office(client, rt, sign_in)
    client.set_cookie(COOKIE, made.headers["Authorization"].split()[1])
    return made


def page(desk: Office, path: str, status: int = 200) -> str:
    """A page in English."""
    answer = desk.client.get(path, headers={"Accept-Language": "en"})
    assert answer.status_code == status, answer.text[:500]
    return answer.text


def test_a_proceeding_is_taken_on_by_form(desk: Office, rt: Runtime) -> None:
    """The list leads to it; its page shows the course and the legal steps; an illegal one is explained."""
    with rt.db.write() as session:
        add_entities(session, rt, [Entity(**ROWS[0])], author="op")
        number = inspected(session, rt, entity=ROWS[0]["id"])
    made = desk.open("other", number, measures="样例约谈")
    path = f"/behaviors/{made['id']}"
    listed = page(desk, "/behaviors")
    assert path in listed
    assert ROWS[0]["name"] in listed
    assert ">更新时间<" in listed
    assert ">期限<" not in listed
    shown = page(desk, path)
    assert 'value="issue"' in shown
    assert 'value="close"' not in shown
    found = re.search(r'name="csrf" value="([^"]+)"', shown)
    assert found is not None
    form = {"csrf": found[1], "revision": str(made["revision"]), "action": "close", "reason": "", "fields": "{}"}
    refused = desk.client.post(path, data=form)
    assert refused.status_code == 409
    assert "alert" in refused.text
    assert desk.client.post(path, data=form | {"fields": "[]"}).status_code == 422
    assert desk.client.post(path, data=form | {"csrf": "x", "action": "issue"}).status_code == 403
    taken = desk.client.post(path, data=form | {"action": "issue"})
    assert (taken.status_code, taken.location) == (303, path)
    assert 'value="close"' in page(desk, path)


def test_lists_and_the_public_page(desk: Office, rt: Runtime) -> None:
    """Orders and publications have their lists; strangers see what is published, and nothing before."""
    with rt.db.write() as session:
        number = inspected(session, rt)
    assert number in page(desk, "/behaviors?view=publications")
    assert number not in page(desk, "/behaviors?view=publications&overdue=1")
    page(desk, "/behaviors?view=orders")
    page(desk, "/behaviors?view=x", 404)
    stranger = desk.client.application.test_client()
    assert number not in stranger.get("/public").text
    (row,) = desk.client.get("/api/v1/publications", headers=desk.headers).get_json()["publications"]
    url = f"/api/v1/publications/{row['behavior']}/actions"
    desk.client.post(url, json={"action": "publish"}, headers=desk.headers)
    public = stranger.get("/public")
    assert public.status_code == 200
    assert number in public.text
    assert "张样例" not in public.text


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_state_and_action_has_its_words(desk: Office, language: str) -> None:
    """In both languages, from the tables themselves."""
    with desk.client.application.test_request_context("/", headers={"Accept-Language": language}):
        for kind, machine in {
            "penalty": PENALTY, "coercion": COERCION, "other": OTHER, "orders": RECTIFICATION,
            "publications": PUBLICATION,
        }.items():  # fmt: skip
            assert all(state_label(kind, state) for state in machine.states)
            assert all(action_label(kind, one.action) for one in machine.transitions)


@pytest.mark.parametrize("view", ["proceedings", "publications"])
def test_lists_go_on_page_by_page(desk: Office, rt: Runtime, monkeypatch: pytest.MonkeyPatch, view: str) -> None:
    """Each row stands on one page, and the last one leads no further."""
    monkeypatch.setattr(behaviors_api, "PAGE", 2)
    with rt.db.write() as session:
        numbers = [inspected(session, rt) for _ in range(5)]
    if view == "proceedings":
        for number in numbers:
            desk.open("other", number, measures="样例约谈")
    seen: list[str] = []
    path = f"/behaviors?view={view}"
    while path:
        shown = page(desk, path)
        seen += re.findall(r"<code>([^<]+)</code>", shown)
        link = re.search(r'class="more" href="([^"]+)"', shown)
        path = link[1].replace("&amp;", "&") if link else ""
    assert sorted(seen) == sorted(numbers)
