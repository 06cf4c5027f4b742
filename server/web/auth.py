"""Who is asking: signed tokens (JWT, HS256), and roles on every view.

A token only names its subject. Role, region, department and bindings are read from the database at each request, so
that a revocation works at once. Browsers carry the same token in a cookie and prove each change with a CSRF token.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache, wraps
from typing import Any, cast

import jwt
from flask import current_app, g, request
from sqlalchemy.orm import Session

from server.config import load_previous_secret, load_secret
from server.errors import Problem
from server.runtime import Runtime
from server.web.principal import Principal

COOKIE = "fieldproof_session"
CSRF_HEADER = "X-CSRF-Token"
ISSUER = "fieldproof"
ALGORITHM = "HS256"
REQUIRED_CLAIMS = ["exp", "iat", "sub", "jti", "iss", "aud"]
MAX_TOKEN_CHARS = 4096
TOKENS_KEPT = 4_096
"""Verified tokens remembered by a process. Expiry and revocation are looked at each time all the same."""
PUBLIC = "public"
HAND_IN = "hand-in"
"""Role, and audience of tokens, of devices that may hand in what they have and nothing else."""
AUDIENCES = ("account", "device", HAND_IN)

View = Callable[..., Any]


PrincipalLoader = Callable[[Session, str], Principal]
"""Loads a subject by id; raises `Problem('unauthenticated')` if it may not act any more."""


@dataclass(frozen=True)
class Token:
    """An issued token."""

    text: str
    jti: str
    expires_at_ms: int


def issue_token(rt: Runtime, audience: str, subject: str, lifetime_s: int) -> Token:
    """Return a signed token for a subject (`audience` is one of :data:`AUDIENCES`)."""
    now = rt.now()
    expires = now + timedelta(seconds=lifetime_s)
    jti = rt.new_id()
    claims = {"iss": ISSUER, "aud": audience, "sub": subject, "jti": jti, "iat": now, "exp": expires}
    text = jwt.encode(claims, _secret(rt), algorithm=ALGORITHM)
    return Token(text=text, jti=jti, expires_at_ms=int(expires.timestamp()) * 1000)


def read_token(rt: Runtime, text: str) -> Mapping[str, Any]:
    """Verify a token and return its claims.

    Raises:
        Problem: `unauthenticated` with the reason.
    """
    if len(text) > MAX_TOKEN_CHARS:
        raise Problem("unauthenticated", detail="token too long", limit=MAX_TOKEN_CHARS)
    try:
        try:
            claims = _claims(text, _secret(rt))
        except jwt.InvalidSignatureError:
            previous = load_previous_secret(rt.settings, "jwt")
            if previous is None:
                raise
            claims = _claims(text, previous)
    except jwt.PyJWTError as error:
        raise Problem("unauthenticated", detail=f"token refused: {error}") from error
    if not isinstance(claims["exp"], int) or claims["exp"] <= rt.now().timestamp():
        raise Problem("unauthenticated", detail="token expired")
    return claims


@lru_cache(maxsize=TOKENS_KEPT)
def _claims(text: str, secret: bytes) -> Mapping[str, Any]:
    claims: Mapping[str, Any] = jwt.decode(
        text,
        secret,
        algorithms=[ALGORITHM],
        issuer=ISSUER,
        audience=AUDIENCES,
        # expiry is checked by the caller, against the injected clock
        options={"require": REQUIRED_CLAIMS, "verify_exp": False, "verify_iat": False},
    )
    return claims


def csrf_token(rt: Runtime, jti: str) -> str:
    """Return the CSRF token that belongs to a browser session."""
    return hmac.new(_secret(rt), f"csrf\n{jti}".encode(), hashlib.sha256).hexdigest()


def require(*roles: str) -> Callable[[View], View]:
    """Let only callers with one of `roles` reach a view; stands directly below the route."""

    def wrap(view: View) -> View:
        @wraps(view)
        def wrapper(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any view
            caller = authenticate()
            if caller.role not in roles:
                if caller.restriction:
                    raise Problem(caller.restriction, detail="this device may only hand in what it has")
                raise Problem("forbidden", detail=f"needs one of the roles {', '.join(roles)}")
            return view(*args, **kwargs)

        wrapper.fieldproof_roles = roles  # type: ignore[attr-defined]  # read by the test that every route is guarded
        return wrapper

    return wrap


def public(view: View) -> View:
    """Mark a view as open to everyone: health, readiness, sign-in, and what the law has published."""
    view.fieldproof_roles = (PUBLIC,)  # type: ignore[attr-defined]  # read by the test that every route is guarded
    return view


def principal() -> Principal:
    """Return the caller of the running request; only inside `@require`."""
    return cast(Principal, g.principal)


def token_id() -> str:
    """Return the `jti` of the running request's token; only inside `@require`."""
    return cast(str, g.token_id)


def authenticate() -> Principal:
    """Identify the caller by bearer token, or by cookie plus CSRF token for changes.

    Raises:
        Problem: `unauthenticated`, or `forbidden` when the CSRF token is missing or wrong.
    """
    rt = cast(Runtime, current_app.extensions["fieldproof"])
    kind, _, bearer = request.headers.get("Authorization", "").partition(" ")
    by_cookie = not bearer and COOKIE in request.cookies
    if bearer and kind.lower() != "bearer":
        raise Problem("unauthenticated", detail="only bearer tokens are accepted")
    text = request.cookies[COOKIE] if by_cookie else bearer
    if not text:
        raise Problem("unauthenticated", detail="no token")
    claims = read_token(rt, text)
    jti = str(claims["jti"])
    if by_cookie and request.method not in ("GET", "HEAD", "OPTIONS"):
        given = request.headers.get(CSRF_HEADER) or request.form.get("csrf", "")
        if not hmac.compare_digest(given.encode(), csrf_token(rt, jti).encode()):
            raise Problem("forbidden", detail="CSRF token missing or wrong")
    loaders = cast(Mapping[str, PrincipalLoader], current_app.extensions["fieldproof.principals"])
    is_revoked = cast(Callable[[Session, str], bool], current_app.extensions["fieldproof.revoked"])
    with rt.db.read() as session:
        if is_revoked(session, jti):
            raise Problem("unauthenticated", detail="signed out")
        caller = loaders[claims["aud"]](session, str(claims["sub"]))
    if caller.device is not None:
        rt.rates.take(caller.device, rt.now_ms(), rt.settings.device_requests_per_s)
    g.principal, g.token_id = caller, jti
    return caller


def _secret(rt: Runtime) -> bytes:
    return load_secret(rt.settings, "jwt")
