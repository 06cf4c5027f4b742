"""The pages of visits: what broke a limit is found, excused by a coded reason, and its notice printed once."""

import pytest
from flask.testing import FlaskClient

from server.inspections.models import Inspection
from server.runtime import Runtime
from server.web.auth import COOKIE, csrf_token, read_token
from tests.conftest import FakeClock, SignIn
from tests.field_device import make_world
from tests.integration.inspections.visits import Crew, crew


@pytest.fixture
def two(client: FlaskClient, rt: Runtime, clock: FakeClock) -> Crew:
    """Two officers, and a visit of theirs that was filed late and not scanned in."""
    made = crew(client, rt, clock, make_world(rt))
    assert made.finish(made.world.inspection) == 1
    return made


@pytest.fixture
def page(client: FlaskClient, sign_in: SignIn) -> FlaskClient:
    """An operator's browser."""
    client.set_cookie(COOKIE, sign_in("operator")["Authorization"].removeprefix("Bearer "))
    return client


def send(rt: Runtime, page: FlaskClient, path: str, **fields: str) -> tuple[int, str]:
    """Send a form of the page; returns the status and the page that follows."""
    cookie = page.get_cookie(COOKIE)
    assert cookie is not None
    token = csrf_token(rt, read_token(rt, cookie.value)["jti"])
    reply = page.post(path, data={"csrf": token, **fields})
    return reply.status_code, reply.text


def test_a_broken_limit_is_found_and_excused(rt: Runtime, two: Crew, page: FlaskClient) -> None:
    """In words, in both languages; a plan is no exception, an empty reason none; what is excused says so."""
    path = f"/visits/{two.world.inspection}"
    listed = page.get("/visits?lang=zh").text
    assert path in listed
    assert "计划备案晚于检查开始" in listed
    assert "the plan was filed after the visit began" in page.get(f"{path}?lang=en").text
    for code, reason in (("01", "计划内"), ("77", "无此码"), ("05", " ")):
        status, text = send(rt, page, path, action="excuse", code=code, reason=reason)
        assert (status, 'role="alert"' in text) == (422, True)
    assert send(rt, page, path, action="excuse", code="05", reason="燃气泄漏应急")[0] == 303
    shown = page.get(f"{path}?lang=zh").text
    assert "突发事件 · 燃气泄漏应急" in shown
    with rt.db.read() as session:
        assert session.get_one(Inspection, two.world.inspection).marks, "it stays visible"


def test_the_notice_is_printed_once(rt: Runtime, two: Crew, page: FlaskClient) -> None:
    """It names firm and officers, and carries the address for one rating as text and QR; then it is gone."""
    path = f"/visits/{two.world.inspection}"
    status, text = send(rt, page, path, action="notice")
    assert status == 200
    assert "入企检查告知单" in text
    assert "/rate?token=" in text
    assert "<svg" in text
    status, text = send(rt, page, path, action="notice")
    assert (status, "<svg" in text and "/rate?token=" in text) == (409, False)


def test_who_may_not(rt: Runtime, two: Crew, page: FlaskClient, sign_in: SignIn) -> None:
    """An auditor reads and gets no forms; another region sees nothing; unknown steps are refused."""
    path = f"/visits/{two.world.inspection}"
    assert send(rt, page, path, action="dance")[0] == 422
    page.set_cookie(COOKIE, sign_in("auditor")["Authorization"].removeprefix("Bearer "))
    assert "<textarea" not in page.get(path).text
    assert send(rt, page, path, action="notice")[0] == 403
    page.set_cookie(COOKIE, sign_in("operator", region="4205")["Authorization"].removeprefix("Bearer "))
    assert page.get(path).status_code == 404
    assert path not in page.get("/visits?all=1").text
