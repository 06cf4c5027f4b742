"""The pages of draws and ratings: what the desk and anybody see, a step taken by form, a rating given by form."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from server.ratings.service import MIN_SHOWN
from server.ratings.tokens import issue_token
from server.runtime import Runtime
from server.web.auth import COOKIE
from tests.conftest import FakeClock, SignIn
from tests.integration.plans.office import Office


@pytest.fixture
def desk(client: FlaskClient, rt: Runtime, clock: FakeClock, sign_in: SignIn) -> Office:
    """An operator, signed in for the API and in the browser."""
    made = Office(client, rt, clock, sign_in)
    client.set_cookie(COOKIE, made.headers["Authorization"].split()[1])
    return made


def page(client: FlaskClient, path: str) -> str:
    """A page, in Chinese."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text[:500]
    return answer.text


def test_a_batch_from_its_announcement_to_the_results(desk: Office) -> None:
    """The list leads to it; it is drawn by form when the time has come; each firm's part is explained in words."""
    batch = desk.announce(desk.plan())
    path = f"/draws/{batch}"
    assert path in page(desk.client, "/draws")
    shown = page(desk.client, path)
    found = re.search(r'name="csrf" value="([^"]+)"', shown)
    assert found is not None
    form = {"csrf": found[1], "action": "draw", "reason": "", "beacon_value": ""}
    early = desk.client.post(path, data=form)
    assert (early.status_code, "alert" in early.text) == (409, True)
    assert desk.client.post(path, data=form | {"action": "complete"}).status_code == 422, "not a person's to do"
    assert desk.client.post(path, data=form | {"csrf": "x"}).status_code == 403
    desk.clock.advance(1_860)
    drawn = desk.client.post(path, data=form)
    assert (drawn.status_code, drawn.location) == (303, path)
    entity = desk.visits(batch)[0]["entity"]
    explained = page(desk.client, f"{path}?entity={entity}")
    assert "抽中：分层“all”" in explained
    assert f">{desk.staff[2]}<" not in explained, "people are named, not numbered"
    assert ">王样例2<" in explained
    assert "样例面馆" in explained
    desk.client.delete_cookie(COOKIE)
    public = page(desk.client, f"/public/draws/{batch}")
    assert entity not in public, "firms do not learn of visits to come"
    assert "公告" in page(desk.client, "/public/draws")
    assert desk.client.get("/draws").status_code == 303, "sign in first"
    assert desk.client.get("/public/draws/none").status_code == 404


def test_a_rating_by_form(desk: Office, rt: Runtime) -> None:
    """The address on the notice leads to a form; one token, one rating; counts appear when there are enough."""
    desk.client.delete_cookie(COOKIE)
    assert "market" not in page(desk.client, "/public/ratings")
    for number in range(MIN_SHOWN):
        token = issue_token(rt, "market", rt.now().date())
        assert token in page(desk.client, f"/rate?token={token}")
        form = {"token": token, "stars": "4", "issues": ["04", "no such code"]}
        if number == 0:
            assert desk.client.post("/rate", data=form | {"stars": "9"}).status_code == 422
        assert "感谢评价" in desk.client.post("/rate", data=form).text
        assert desk.client.post("/rate", data=form).status_code == 409
        desk.clock.advance(30)
    shown = page(desk.client, "/public/ratings")
    assert "market" in shown
    assert ">4.0<" in shown
