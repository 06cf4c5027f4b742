"""The pages in a real browser, against a server that was really started: looked at, switched, polled, and used."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from flask import Flask
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect
from sqlalchemy import update
from werkzeug.serving import make_server

from server.accounts.service import issue_code
from server.leads.models import Lead
from server.pages import api
from server.records.models import Conflict
from server.runtime import Runtime
from server.web.auth import COOKIE, issue_token
from tests.e2e.chromium import PROGRAM, has_chinese_font, started_chromium
from tests.e2e.pages_world import PASSWORD, World, build_world
from tests.e2e.screenshots import WIDTH_PX, take_all

PATIENCE_MS = 15_000
"""How long the browser may take before a test gives up; nothing is measured by it."""
QUICK_POLL_MS = 200
WIDTHS = (390, 820, 1024, 1440)
NARROW_OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="chromium is missing: apt-get install chromium"),
    pytest.mark.skipif(not has_chinese_font(), reason="no Chinese font: apt-get install fonts-noto-cjk"),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def world(rt: Runtime) -> World:
    """The sample province."""
    return build_world(rt)


@pytest.fixture
def address(app: Flask, world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server started on a free port; pages ask for news more often than usual."""
    monkeypatch.setattr(api, "POLL_MS", QUICK_POLL_MS)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert world.operator
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Watched:
    """A page and everything it did that it should not have done."""

    page: Page
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def check(self) -> None:
        """No request left this machine, and nothing was complained about."""
        assert {urlsplit(url).hostname for url in self.requests} == {"127.0.0.1"}
        assert self.complaints == []


Open = Callable[..., Watched]


@pytest.fixture
def open_page(chromium: Browser, rt: Runtime, world: World, address: str) -> Iterator[Open]:
    """Open a watched page, signed in as the operator unless told otherwise."""
    contexts: list[BrowserContext] = []

    def start(
        path: str = "/", *, account: str | None = world.operator, width: int = 1440, script: bool = True
    ) -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, java_script_enabled=script, base_url=address
        )
        contexts.append(context)
        context.set_default_timeout(PATIENCE_MS)
        if account is not None:
            token = issue_token(rt, "account", account, 3600).text
            context.add_cookies([{"name": COOKIE, "value": token, "url": address, "httpOnly": True}])
        watched = Watched(context.new_page())
        watched.page.on("request", lambda request: watched.requests.append(request.url))
        watched.page.on("console", lambda message: watched.complaints.append(f"{message.type}: {message.text}"))
        watched.page.on("pageerror", lambda error: watched.complaints.append(str(error)))
        watched.page.goto(path)
        return watched

    yield start
    for context in contexts:
        context.close()


def test_overview_opens_clean(open_page: Open) -> None:
    """The overview shows map, figures and lists; no request leaves this machine, and the console stays empty."""
    watched = open_page()
    page = watched.page
    expect(page.get_by_role("heading", level=1)).to_have_text("监管总览")
    expect(page.locator(".map-land path")).to_have_count(17)
    expect(page.locator(".lead-point")).to_have_count(2)
    expect(page.locator("[data-key=readings]")).to_have_text("1,032")
    expect(page.locator(".lead-rule")).to_have_text(["二氧化硫持续超过小时限值"] * 2)
    expect(page.locator(".live")).to_have_attribute("data-state", "running")
    assert any(url.endswith(".css") or ".css?" in url for url in watched.requests)
    watched.check()


def test_language_switch(open_page: Open) -> None:
    """One click makes the page English, and the next page stays so."""
    watched = open_page()
    watched.page.get_by_role("link", name="English").click()
    expect(watched.page.get_by_role("heading", level=1)).to_have_text("Supervision overview")
    assert watched.page.locator("html").get_attribute("lang") == "en"
    watched.page.get_by_role("link", name="Conflicts", exact=True).click()
    expect(watched.page.get_by_role("heading", level=1)).to_have_text("Conflicts")
    watched.page.get_by_role("link", name="中文").click()
    expect(watched.page.get_by_role("heading", level=1)).to_have_text("冲突裁定")
    watched.check()


def test_figures_change_without_a_reload(open_page: Open, rt: Runtime) -> None:
    """A lead that is settled elsewhere leaves the open page's map and figures by itself; the focus stays."""
    watched = open_page()
    page = watched.page
    page.evaluate("window.sameDocument = true")
    page.locator(".conflict-row").focus()
    expect(page.locator("[data-key=leads]")).to_have_text("2")
    with rt.db.write() as session:
        session.execute(update(Lead).values(status="refuted"))
        session.execute(update(Conflict).values(reason="changes the list"))
    expect(page.locator("[data-key=leads]")).to_have_text("0")
    expect(page.locator(".lead-point")).to_have_count(0)
    assert page.evaluate("window.sameDocument")
    assert page.evaluate("document.activeElement.className") == "conflict-row"
    watched.check()


def test_updates_can_be_paused(open_page: Open) -> None:
    """Whoever is disturbed by changing figures can stop them."""
    watched = open_page()
    button = watched.page.get_by_role("button", name="暂停更新")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(watched.page.get_by_role("status")).to_have_text("更新已暂停")
    asked = len(watched.requests)
    button.click()
    watched.page.wait_for_event("request")
    assert len(watched.requests) > asked
    watched.check()


def test_a_lost_server_is_told(open_page: Open) -> None:
    """While the server is away the page says so, and it recovers by itself."""
    watched = open_page()
    page = watched.page
    page.route("**/overview/live", lambda route: route.abort())
    expect(page.get_by_role("status")).to_have_text("连接中断，正在重试")
    page.unroute("**/overview/live")
    expect(page.get_by_role("status")).to_have_text("更新于")


def test_a_conflict_is_decided(open_page: Open, rt: Runtime, world: World) -> None:
    """From the overview into a conflict: both sides, no decision without a reason, then the outcome."""
    watched = open_page()
    page = watched.page
    page.locator(".conflict-row").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("示例食品厂0")
    expect(page.locator(".side-card")).to_have_count(2)
    expect(page.get_by_role("heading", name="共同起点", exact=True)).to_be_visible()
    page.locator(".side-card", has_text="发现问题已责令改正").get_by_text("以此为准").click()
    page.get_by_role("button", name="记录裁定").click()
    expect(page.locator("#reason:invalid")).to_be_visible()
    with rt.db.read() as session:
        assert session.get_one(Conflict, world.conflict).status == "open"
    page.get_by_label("理由").fill("现场照片显示记录缺失")
    page.get_by_role("button", name="记录裁定").click()
    expect(page.locator(".verdict")).to_have_text("已裁定")
    expect(page.locator(".decided-value")).to_have_text("发现问题已责令改正")
    expect(page.locator(".side-card.chosen")).to_contain_text("发现问题已责令改正")
    expect(page.get_by_text("现场照片显示记录缺失")).to_be_visible()
    with rt.db.read() as session:
        row = session.get_one(Conflict, world.conflict)
        assert (row.status, row.decided_by, row.reason) == ("decided", world.operator, "现场照片显示记录缺失")
    page.get_by_role("link", name="总览").first.click()
    expect(page.get_by_text("没有等待裁定的冲突")).to_be_visible()
    watched.check()


def test_sign_in_and_out(open_page: Open) -> None:
    """A stranger lands on sign-in, a wrong password is told, the right one leads on; signing out ends it."""
    watched = open_page("/conflicts", account=None)
    page = watched.page
    page.get_by_label("账号").fill("operator")
    page.get_by_label("密码").fill(PASSWORD)
    page.get_by_role("button", name="登录").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("冲突裁定")
    page.get_by_role("button", name="退出").click()
    expect(page.get_by_role("heading", level=2)).to_have_text("登录")
    page.goto("/")
    expect(page.get_by_role("heading", level=2)).to_have_text("登录")
    watched.check()


def test_a_printed_address_signs_in_once(open_page: Open, rt: Runtime, world: World) -> None:
    """The one-time address leads to the overview; used again, it says that it is used up."""
    with rt.db.write() as session:
        path = f"/sign-in?code={issue_code(session, rt, world.operator)}"
    watched = open_page(path, account=None)
    expect(watched.page.get_by_role("heading", level=1)).to_have_text("监管总览")
    watched.check()
    again = open_page(path, account=None)
    expect(again.page.get_by_role("alert")).to_contain_text("已被使用或已过期")


def test_works_without_scripts(open_page: Open) -> None:
    """With scripts off everything is there, and a link refreshes instead."""
    page = open_page(script=False).page
    expect(page.locator(".map-land path")).to_have_count(17)
    expect(page.get_by_role("link", name="刷新")).to_be_visible()
    expect(page.locator(".live-toggle")).to_be_hidden()


@pytest.mark.parametrize("language", ["zh", "en"])
def test_no_page_is_wider_than_the_screen(open_page: Open, world: World, language: str) -> None:
    """On every width and in both languages nothing sticks out to the side."""
    watched = open_page(f"/?lang={language}")
    sections = [link.get_attribute("href") or "/" for link in watched.page.locator(".nav a[href^='/']").all()]
    pages = [path for path in sections if not path.startswith("/api/")]
    assert len(pages) >= 5
    for path in (*pages, f"/conflicts/{world.conflict}", "/sign-in"):
        watched.page.goto(path)
        for width in WIDTHS:
            watched.page.set_viewport_size({"width": width, "height": 900})
            assert watched.page.evaluate(NARROW_OVERFLOW) == 0, (path, width)
    watched.check()


@pytest.mark.parametrize("path", ["/", "/conflicts", "/conflicts/{conflict}", "/sign-in"])
def test_pages_can_be_used_by_everyone(open_page: Open, world: World, path: str) -> None:
    """One main heading, one main landmark, every control named, no id twice, and the first Tab skips to the content."""
    watched = open_page(path.format(conflict=world.conflict))
    page = watched.page
    assert page.get_by_role("heading", level=1).count() == 1
    assert page.get_by_role("main").count() == 1
    assert page.get_by_role("banner").count() == 1
    unnamed = page.eval_on_selector_all(
        "input:not([type=hidden]), select, textarea",
        "nodes => nodes.filter(n => !n.labels.length && !n.getAttribute('aria-label')).length",
    )
    assert unnamed == 0
    ids = page.eval_on_selector_all("[id]", "nodes => nodes.map(n => n.id)")
    assert len(ids) == len(set(ids))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    watched.check()


def test_pictures_for_the_documentation(
    chromium: Browser, rt: Runtime, world: World, address: str, tmp_path: Path
) -> None:
    """The pictures of the documentation are taken from a one-time sign-in address alone."""
    with rt.db.write() as session:
        code = issue_code(session, rt, world.operator)
    pictures = take_all(chromium, f"{address}/sign-in?code={code}", tmp_path / "images")
    assert [picture.name for picture in pictures] == ["overview-en.png", "overview-zh.png", "conflict-zh.png"]
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width == WIDTH_PX
            assert len(image.convert("L").getcolors() or []) > 50
