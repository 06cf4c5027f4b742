"""The sample world of the pages, and browsers that are signed in."""

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from server.runtime import Runtime
from server.web.auth import COOKIE, csrf_token, issue_token, read_token
from tests.e2e.pages_world import World, build_world

Browser = Callable[[str], FlaskClient]


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
