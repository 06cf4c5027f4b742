"""The pages over HTTP: who gets in, what guards them, what a form may do."""

import re
from collections.abc import Callable
from contextlib import closing

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from server.accounts.service import issue_code
from server.pages.display import STATIC
from server.runtime import Runtime
from tests.e2e.pages_world import PASSWORD, World, make_account
from tests.integration.pages.conftest import Browser, csrf_of, decision

PRIVATE = ["/", "/overview/live", "/conflicts", "/conflicts/0192f3c1-7a11-7c00-8a00-3fd1c2aa91be"]


@pytest.mark.parametrize("path", PRIVATE)
def test_without_a_session_there_is_only_sign_in(client: FlaskClient, path: str) -> None:
    """Every page but sign-in sends a stranger to sign-in and keeps the way back; the polled part just says 401."""
    answer = client.get(path)
    if path == "/overview/live":
        assert answer.status_code == 401
        return
    assert answer.status_code == 303
    assert answer.location.startswith("/sign-in?next=")


@pytest.mark.parametrize("role", ["officer", "central"])
def test_other_roles_have_no_pages(app: Flask, sign_in: Callable[..., dict[str, str]], role: str) -> None:
    """Officers and the central system are told that the pages are not theirs."""
    answer = app.test_client().get("/", headers=sign_in(role=role))
    assert answer.status_code == 403
    assert "无权访问" in answer.text


def test_sign_in_by_password(client: FlaskClient, world: World) -> None:
    """The right password starts a session in a cookie that scripts and other sites cannot use."""
    answer = client.post("/sign-in", data={"login": "operator", "password": PASSWORD, "next": "/conflicts"})
    assert (answer.status_code, answer.location) == (303, "/conflicts")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/conflicts").status_code == 200
    assert world.operator


@pytest.mark.parametrize(
    "form",
    [
        {"login": "operator", "password": "wrong"},
        {"login": "nobody", "password": PASSWORD},
        {"login": "", "password": ""},
        {"login": "operator", "password": "x" * 10_000},
    ],
)
def test_wrong_sign_in(client: FlaskClient, world: World, form: dict[str, str]) -> None:
    """A wrong account or password starts nothing, and the answer does not tell which it was."""
    answer = client.post("/sign-in", data=form)
    assert answer.status_code == 401
    assert "账号或密码不正确" in answer.text
    assert "Set-Cookie" not in answer.headers
    assert world.operator


def test_too_many_wrong_passwords_lock(client: FlaskClient, world: World) -> None:
    """Wrong passwords are counted although the page is an error, and end in a lock that also stops the right one."""
    for _ in range(10):
        client.post("/sign-in", data={"login": "operator", "password": "wrong"})
    answer = client.post("/sign-in", data={"login": "operator", "password": PASSWORD})
    assert answer.status_code == 429
    assert "请求过于频繁" in answer.text
    assert world.operator


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://elsewhere.example"}])
def test_sign_in_forms_of_other_sites_are_refused(client: FlaskClient, world: World, headers: dict[str, str]) -> None:
    """Another site cannot sign a browser in."""
    answer = client.post("/sign-in", data={"login": "operator", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert "Set-Cookie" not in answer.headers
    assert world.operator


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Origin": "http://localhost"}])
def test_sign_in_forms_of_this_site_are_taken(client: FlaskClient, world: World, headers: dict[str, str]) -> None:
    """The form's own site is no stranger."""
    answer = client.post("/sign-in", data={"login": "operator", "password": PASSWORD}, headers=headers)
    assert answer.status_code == 303
    assert world.operator


@pytest.mark.parametrize(
    "wish",
    ["https://elsewhere.example/", "//elsewhere.example", "/\\elsewhere.example", "javascript:alert(1)", "x" * 600,
     "/a\nb", "", "relative", "http://[broken"],
)  # fmt: skip
def test_sign_in_leads_nowhere_else(client: FlaskClient, world: World, wish: str) -> None:
    """Whatever address is asked for, signing in ends on a page of this server."""
    answer = client.post("/sign-in", data={"login": "operator", "password": PASSWORD, "next": wish})
    assert (answer.status_code, answer.location) == (303, "/")
    assert world.operator


def test_a_code_signs_in_once(client: FlaskClient, rt: Runtime, world: World) -> None:
    """The address that the demo prints works once; the second time it says so."""
    with rt.db.write() as session:
        code = issue_code(session, rt, world.operator)
    first = client.get(f"/sign-in?code={code}")
    assert first.status_code == 200
    assert 'http-equiv="refresh"' in first.text
    assert client.get("/").status_code == 200
    assert client.get(f"/sign-in?code={code}").status_code == 401
    assert "已被使用或已过期" in client.get("/sign-in?code=" + "x" * 200).text


def test_a_code_of_an_account_without_pages(client: FlaskClient, rt: Runtime, world: World) -> None:
    """A code of a role that has no pages signs nobody in."""
    with rt.db.write() as session:
        code = issue_code(session, rt, make_account(session, rt, "central", "central", "42"))
    assert client.get(f"/sign-in?code={code}").status_code == 401


def test_sign_out_ends_the_session(browser: Browser, rt: Runtime, world: World) -> None:
    """Signing out needs the form's token, and takes the cookie away."""
    client = browser(world.operator)
    assert client.post("/sign-out").status_code == 403
    answer = client.post("/sign-out", data={"csrf": csrf_of(rt, client)})
    assert (answer.status_code, answer.location) == (303, "/sign-in")
    assert client.get("/").status_code == 303


def test_pages_keep_to_themselves(browser: Browser, world: World) -> None:
    """Scripts run by nonce only, nothing is loaded from elsewhere, nobody frames the page, and it is not kept."""
    first, second = (browser(world.operator).get("/") for _ in range(2))
    policy = first.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    (nonce,) = re.findall(r"'nonce-([^']+)'", policy)
    assert re.findall(r'<script[^>]*nonce="([^"]+)"', first.text) == [nonce]
    assert nonce not in second.headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy
    assert first.headers["Cache-Control"] == "no-store"
    assert not re.findall(r"""(?:src|href|action)=["'](?:https?:)?//""", first.text)
    assert " style=" not in first.text


def test_live_part_is_sent_only_when_it_changed(browser: Browser, rt: Runtime, world: World) -> None:
    """The same state answers 304 with the present time; a decided conflict changes the answer."""
    client = browser(world.operator)
    first = client.get("/overview/live")
    again = client.get("/overview/live", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.headers["X-As-Of"]) == (304, "09:00:00")
    assert client.post(f"/conflicts/{world.conflict}", data=decision(rt, client, world)).status_code == 303
    assert client.get("/overview/live", headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_language(browser: Browser, world: World) -> None:
    """Chinese is the default; the address switches, and the choice is remembered; an unknown wish changes nothing."""
    client = browser(world.operator)
    assert '<html lang="zh-Hans-CN">' in client.get("/").text
    english = client.get("/conflicts?state=decided&lang=en")
    assert "Decided" in english.text
    assert "/conflicts?state=decided&amp;lang=zh" in english.text
    assert '<html lang="en">' in client.get("/?lang=tlh").text
    assert "监管总览" in client.get("/?lang=zh").text


@pytest.mark.parametrize("path", ["/conflicts/none", "/conflicts?state=weird"])
def test_unknown_pages_are_told_as_pages(browser: Browser, world: World, path: str) -> None:
    """What does not exist is told to a person, in a page."""
    answer = browser(world.operator).get(path)
    assert answer.status_code == 404
    assert "<h1>未找到</h1>" in answer.text


def check_asset(answer: TestResponse, name: str) -> None:
    """An asset arrives whole and may be kept."""
    with closing(answer):
        assert answer.status_code == 200
        assert answer.data == (STATIC / name).read_bytes()
        assert "max-age" in answer.headers["Cache-Control"]


def test_assets_are_open(client: FlaskClient) -> None:
    """The sign-in page's style needs no session; only the listed files are there."""
    page = client.get("/sign-in").text
    for path in re.findall(r'href="(/assets/[^"]+)"', page):
        check_asset(client.get(path), path.removeprefix("/assets/").partition("?")[0])
    assert client.get("/assets/..%2fapi.py").status_code == 404
    assert client.get("/assets/other.css").status_code == 404
