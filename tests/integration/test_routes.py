"""Every route: guarded, in the OpenAPI document, and answering strangers and bad input with problem details."""

import json

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from tests.conftest import SignIn
from tests.field_device import body

PUBLIC = {"/api/v1/sign-in", "/api/v1/sign-in/device", "/health", "/ready", "/sign-in"}
PUBLIC |= {"/api/v1/public/behaviors", "/api/v1/public/behaviors/<number>", "/public"}
PUBLIC |= {f"/api/v1/public/draws{rest}" for rest in ("", "/<batch_id>", "/<batch_id>/results", "/<batch_id>/file")}
PUBLIC |= {"/api/v1/public/ratings", "/public/draws", "/public/draws/<batch_id>", "/public/ratings", "/rate"}
"""Health, readiness, sign-in, and what the law wants published: nothing else answers a stranger."""
SIGN_IN_STYLE = "/assets/<name>"
"""The style of the sign-in page itself."""


def _rules(app: Flask) -> list[Rule]:
    return list(app.url_map.iter_rules())


def _roles(app: Flask, rule: Rule) -> tuple[str, ...]:
    """The roles a view names; empty when it is not guarded at all."""
    return tuple(getattr(app.view_functions[rule.endpoint], "fieldproof_roles", ()))


def _path(rule: Rule) -> str:
    path = rule.rule
    for name in rule.arguments:
        for form in (f"<{name}>", f"<int:{name}>", f"<path:{name}>"):
            path = path.replace(form, "1")
    return path


def test_every_route_has_roles(app: Flask) -> None:
    """A view without `@require` or `@public` cannot exist, and only the known few are public."""
    open_paths = set()
    for rule in _rules(app):
        roles = _roles(app, rule)
        assert roles, f"{rule.rule} is not guarded"
        if "public" in roles:
            open_paths.add(rule.rule)
    assert open_paths - {SIGN_IN_STYLE} == PUBLIC


def test_strangers_are_turned_away(app: Flask, client: FlaskClient) -> None:
    """Without a token every guarded route answers 401 with a problem, or leads a browser to sign in."""
    for rule in _rules(app):
        roles = _roles(app, rule)
        if "public" in roles:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            reply = client.open(_path(rule), method=method)
            turned_away = reply.status_code == 401 or (reply.status_code in (302, 303) and "/sign-in" in reply.location)
            assert turned_away, f"{method} {rule.rule}: {reply.status_code}"


def test_wrong_roles_are_refused(app: Flask, client: FlaskClient, sign_in: SignIn) -> None:
    """The central system's account reaches no route that does not name its role."""
    headers = sign_in("central")
    for rule in _rules(app):
        roles = _roles(app, rule)
        if "public" in roles or "central" in roles:
            continue
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            reply = client.open(_path(rule), method=method, headers=headers)
            assert reply.status_code in (403, 303), f"{method} {rule.rule}: {reply.status_code}"


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "x" * 5_000, "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "é"])
def test_wrong_tokens(client: FlaskClient, token: str) -> None:
    """Broken, unsigned and overlong tokens answer 401."""
    reply = client.get("/api/v1/devices", headers={"Authorization": f"Bearer {token}"})
    assert (reply.status_code, body(reply)["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b'{"login": NaN}', b'{"login": 1e999}', b'{"login":"a","login":"b"}', b'{"login":"\\ud800"}',
        b"[" * 100_000, b'"text"', b"\xff", b'{"login":"a","password":"b","more":1}', b'{"login":1,"password":"b"}',
    ],
)  # fmt: skip
def test_bad_json_is_a_problem(client: FlaskClient, data: bytes) -> None:
    """Malformed, ambiguous, too deep and unknown JSON is refused with a problem that names the reason."""
    reply = client.post("/api/v1/sign-in", data=data, content_type="application/json")
    assert reply.status_code in (400, 422), reply.text
    assert reply.content_type == "application/problem+json"
    assert body(reply)["detail"]


def test_oversize_body(client: FlaskClient) -> None:
    """A body past the limit answers 413."""
    reply = client.post("/api/v1/sign-in", data=b"x" * (1024 * 1024 + 1), content_type="application/json")
    assert (reply.status_code, body(reply)["code"]) == (413, "too-large")


def test_unknown_path_and_method(client: FlaskClient) -> None:
    """What does not exist answers with problem details as well."""
    assert body(client.get("/api/v1/nothing"))["code"] == "not-found"
    assert body(client.delete("/api/v1/sign-in"))["code"] == "method-not-allowed"


def test_openapi_document(app: Flask, client: FlaskClient, sign_in: SignIn) -> None:
    """The document is OpenAPI 3.1, holds every API route, and the documentation names no other host."""
    headers = sign_in("operator")
    reply = client.get("/api/docs/openapi.json", headers=headers)
    document = json.loads(reply.data)
    assert document["openapi"].startswith("3.1")
    documented = set(document["paths"])
    for rule in _rules(app):
        if rule.rule.startswith("/api/v1"):
            path = rule.rule.replace("<int:", "{").replace("<", "{").replace(">", "}")
            assert path in documented, path
    page = client.get("/api/docs/", headers=headers)
    assert page.status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")


def test_health_and_readiness(client: FlaskClient) -> None:
    """Both answer strangers."""
    assert body(client.get("/health")) == {"status": "ok"}
    assert body(client.get("/ready")) == {"status": "ready"}
