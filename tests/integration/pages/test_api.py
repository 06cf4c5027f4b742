"""The pages over HTTP: who gets in, what guards them, what a form may do."""

import re
from collections.abc import Callable
from contextlib import closing

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from server.accounts.service import issue_code
from server.pages import conflicts
from server.pages.display import STATIC
from server.records.lines import Placement, decode_state
from server.records.models import Conflict, SyncedRecord
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from server.web.auth import COOKIE, csrf_token, issue_token, read_token
from sync.dots import Dot
from sync.registers import DELETED
from tests.e2e.pages_world import DEPARTMENT, PASSWORD, World, build_world, device_act, make_account

Browser = Callable[[str], FlaskClient]
PRIVATE = ["/", "/overview/live", "/conflicts", "/conflicts/0192f3c1-7a11-7c00-8a00-3fd1c2aa91be"]


@pytest.fixture
def world(rt: Runtime) -> World:
    """The sample province."""
    return build_world(rt)


@pytest.fixture
def browser(app: Flask, rt: Runtime) -> Browser:
    """A browser that carries the session cookie of an account."""

    def start(account: str) -> FlaskClient:
        client = app.test_client()
        client.set_cookie(COOKIE, issue_token(rt, "account", account, 3600).text)
        return client

    return start


def csrf_of(rt: Runtime, client: FlaskClient) -> str:
    """The form token of a browser's session."""
    cookie = client.get_cookie(COOKIE)
    assert cookie is not None
    return csrf_token(rt, read_token(rt, cookie.value)["jti"])


def decision(rt: Runtime, client: FlaskClient, world: World, **changes: object) -> dict[str, object]:
    """A complete decision form for the sample's conflict."""
    sides = [f"{journal}:1" for journal in world.journals]
    form: dict[str, object] = {"csrf": csrf_of(rt, client), "sides": sides, "choice": sides[1], "reason": "照片为证"}
    return {name: value for name, value in (form | changes).items() if value is not None}


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


def test_conflict_page_shows_base_and_sides(browser: Browser, world: World) -> None:
    """The page names the entity, both values, who wrote them on which handheld, and when in Beijing time."""
    text = browser(world.operator).get(f"/conflicts/{world.conflict}").text
    for words in (
        "示例食品厂0",
        "未发现问题",
        "发现问题已责令改正",
        "张样例",
        "李样例",
        "手持终端-01",
        "手持终端-09",
        "鄂-样例-1",
    ):
        assert words in text
    assert "尚未填写" in text
    assert "2026-03-02 09:00" in text
    assert text.count('name="choice"') == 3


def test_deciding_a_conflict(browser: Browser, rt: Runtime, world: World) -> None:
    """A decision with a reason is kept and shown with its chooser; the conflict leaves the list of open ones."""
    client = browser(world.operator)
    answer = client.post(f"/conflicts/{world.conflict}", data=decision(rt, client, world))
    assert (answer.status_code, answer.location) == (303, f"/conflicts/{world.conflict}")
    text = client.get(answer.location).text
    for words in ("已裁定", "照片为证", "样例operator", "采用"):
        assert words in text
    assert 'name="choice"' not in text
    assert world.conflict not in client.get("/conflicts").text
    assert world.conflict in client.get("/conflicts?state=decided").text
    with rt.db.read() as session:
        row = session.get_one(Conflict, world.conflict)
        assert (row.status, row.decided_by, row.reason) == ("decided", world.operator, "照片为证")
        assert row.decision is not None
        assert row.decision["value"] == "03"


def test_deciding_for_another_value(browser: Browser, rt: Runtime, world: World) -> None:
    """A person may find that neither side is right."""
    client = browser(world.operator)
    form = decision(rt, client, world, choice=conflicts.OTHER, value="02")
    assert client.post(f"/conflicts/{world.conflict}", data=form).status_code == 303
    text = client.get(f"/conflicts/{world.conflict}").text
    assert "发现问题已当场改正" in text
    assert "采用</span>" not in text


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"reason": ""}, 422, "请填写理由"),
        ({"reason": "  "}, 422, "请填写理由"),
        ({"choice": None}, 422, "请选择以哪一方为准"),
        ({"choice": "nobody:1"}, 422, "请选择以哪一方为准"),
        ({"choice": conflicts.OTHER}, 422, "请给出另定的值"),
        ({"choice": conflicts.OTHER, "value": "x" * 5000}, 422, "请给出另定的值"),
        ({"sides": []}, 409, "已有变化"),
        ({"choice": conflicts.OTHER, "value": "x" * 21}, 422, "字段无效"),
    ],
)
def test_bad_decisions_come_back_with_the_form(
    browser: Browser, rt: Runtime, world: World, changes: dict[str, object], status: int, words: str
) -> None:
    """A faulty form changes nothing, says what is wrong, and keeps what was written."""
    client = browser(world.operator)
    form = decision(rt, client, world, **changes)
    answer = client.post(f"/conflicts/{world.conflict}", data=form)
    assert answer.status_code == status
    assert words in answer.text
    assert str(form["reason"]).strip() in answer.text
    with rt.db.read() as session:
        assert session.get_one(Conflict, world.conflict).status == "open"


def test_a_second_decision_is_refused(browser: Browser, rt: Runtime, world: World) -> None:
    """Whoever decides late learns that it is settled."""
    client = browser(world.operator)
    form = decision(rt, client, world)
    client.post(f"/conflicts/{world.conflict}", data=form)
    late = client.post(f"/conflicts/{world.conflict}", data=form)
    assert late.status_code == 409
    assert "已经了结" in late.text


def test_forms_need_their_token(browser: Browser, rt: Runtime, world: World) -> None:
    """A decision without the session's form token is refused."""
    client = browser(world.operator)
    answer = client.post(f"/conflicts/{world.conflict}", data=decision(rt, client, world, csrf=None))
    assert answer.status_code == 403


def test_an_auditor_reads_and_does_not_decide(browser: Browser, rt: Runtime, world: World) -> None:
    """An auditor sees everything and has no form; a form sent all the same is refused."""
    client = browser(world.auditor)
    page = client.get(f"/conflicts/{world.conflict}")
    assert 'name="choice"' not in page.text
    assert "您可以查阅" in page.text
    assert client.post(f"/conflicts/{world.conflict}", data=decision(rt, client, world)).status_code == 403


def test_a_dissolved_conflict_says_so(browser: Browser, rt: Runtime, world: World) -> None:
    """Where the sides came to agree by themselves, nothing is left to decide."""
    with rt.db.write() as session:
        session.execute(update(Conflict).values(status="dissolved", ended_at=rt.now()))
    client = browser(world.operator)
    assert "无需裁定" in client.get(f"/conflicts/{world.conflict}").text
    assert world.conflict in client.get("/conflicts?state=dissolved").text


def delete_unseen(rt: Runtime, world: World) -> str:
    """Delete an inspection on one handheld while the other edits it; return the conflict that this makes."""
    inspection, first, second = world.inspections[1], Dot(world.journals[0], 2), Dot(world.journals[1], 2)
    (writer, deleter), (first_device, second_device) = world.officers, world.devices
    with rt.db.write() as session:
        device_act(session, rt, inspection, {"scene": "现场照常营业"}, dot=first, officer=writer, device=first_device)
        record = session.get_one(SyncedRecord, ("inspection", inspection))
        seen = decode_state(record.line).live_dots() - {first}
        device_act(
            session, rt, inspection, {}, dot=second, officer=deleter, device=second_device, seen=seen, delete=True
        )
        return session.query(Conflict.id).filter_by(record=inspection, field=DELETED).scalar() or ""


@pytest.mark.parametrize("keep", [True, False])
def test_a_deletion_stands_or_falls(browser: Browser, rt: Runtime, world: World, *, keep: bool) -> None:
    """Where one side deleted what the other still wrote, a person says whether the record stays; no value is asked."""
    conflict = delete_unseen(rt, world)
    client = browser(world.operator)
    assert conflict in client.get("/conflicts").text
    text = client.get(f"/conflicts/{conflict}").text
    for words in ("记录被删除", "记录保留", "手持终端-09"):
        assert words in text
    assert 'value="other"' not in text
    sides = re.findall(r'name="sides" value="([^"]+)"', text)
    deletion = f"{world.journals[1]}:2"
    choice = next(dot for dot in sides if dot != deletion) if keep else deletion
    form = decision(rt, client, world, sides=sides, choice=choice)
    assert client.post(f"/conflicts/{conflict}", data=form).status_code == 303
    assert "已裁定" in client.get(f"/conflicts/{conflict}").text
    with rt.db.read() as session:
        assert session.get_one(SyncedRecord, ("inspection", world.inspections[1])).deleted is not keep


def test_a_conflict_in_an_answer_names_the_entity(browser: Browser, rt: Runtime, world: World) -> None:
    """A checklist answer belongs to an inspection, and is told under its entity's name; office acts name the office."""
    answer, inspection = rt.new_id(), world.inspections[2]
    place = Placement("420602", DEPARTMENT, parent=inspection)
    fields = {"inspection": inspection, "number": "1", "outcome": "pass"}
    with rt.db.write() as session:
        office_write_many(session, rt, [OfficeChange("answer", answer, fields, world.operator, place)])
        unseen = OfficeChange("answer", answer, {"outcome": "fail"}, world.operator, seen=frozenset())
        office_write_many(session, rt, [unseen])
        conflict = session.query(Conflict.id).filter_by(record=answer).scalar()
    client = browser(world.operator)
    text = client.get(f"/conflicts/{conflict}").text
    for words in ("示例食品厂2", "检查项结果", "合格", "不合格", "后台", "样例operator"):
        assert words in text
    assert "示例食品厂2" in client.get("/conflicts").text


def test_a_decision_of_what_is_not_there(browser: Browser, rt: Runtime, world: World) -> None:
    """A conflict outside one's scope cannot be decided either: it does not exist for one."""
    client = browser(world.operator)
    assert client.post(f"/conflicts/{rt.new_id()}", data=decision(rt, client, world)).status_code == 404


def test_long_lists_are_cut(browser: Browser, rt: Runtime, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list says so when it does not show everything, and says nothing when it does."""
    monkeypatch.setattr(conflicts, "LIST_LIMIT", 1)
    client = browser(world.operator)
    assert "仅显示前" not in client.get("/conflicts").text
    assert delete_unseen(rt, world)
    assert "仅显示前 1 条" in client.get("/conflicts").text


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
