"""Making accounts and signing them in."""

import base64
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from sqlalchemy import bindparam, delete, select
from sqlalchemy.orm import Session
from werkzeug.security import check_password_hash, generate_password_hash

from server.accounts.models import Account, RevokedToken, SignInCode
from server.audit.service import record_event
from server.db.prepared import Prepared
from server.errors import Problem
from server.runtime import Runtime
from server.web.principal import Principal, region_prefix

ROLES = ("admin", "operator", "auditor", "officer", "central")
MIN_PASSWORD_CHARS = 12
MAX_PASSWORD_CHARS = 256
HASH_METHOD = "scrypt:32768:8:3"
"""How new passwords are kept, as `werkzeug.security` writes it: slow by design, each guess takes 32 MB and its time.
Three rounds at this size are what the OWASP Password Storage Cheat Sheet asks for."""
MAX_FAILURES = 10
"""Wrong passwords in a row after which an account is locked."""
LOCK_S = 900
CODE_S = 900
"""Lifetime of a one-time sign-in code."""

_SIGNED_OUT = Prepared(select(RevokedToken.jti).where(RevokedToken.jti == bindparam("token")))
"""It is asked at each request."""


@dataclass(frozen=True)
class NewAccount:
    """An account to be made."""

    login: str
    password: str
    role: str
    name: str
    region: str
    department: str = ""
    officer: str | None = None


def add_account(session: Session, rt: Runtime, new: NewAccount, *, actor: str) -> str:
    """Make an account and return its id.

    Raises:
        Problem: `invalid-field` for an unknown role, a weak password or a taken login.
    """
    if new.role not in ROLES:
        raise Problem("invalid-field", field="role", detail=f"must be one of {', '.join(ROLES)}")
    if not MIN_PASSWORD_CHARS <= len(new.password) <= MAX_PASSWORD_CHARS:
        raise Problem(
            "invalid-field",
            field="password",
            detail=f"must have {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters",
            limit=MIN_PASSWORD_CHARS,
        )
    if session.execute(select(Account.id).where(Account.login == new.login)).first():
        raise Problem("invalid-field", field="login", detail="is taken")
    account = Account(
        id=rt.new_id(),
        login=new.login,
        password_hash=generate_password_hash(new.password, HASH_METHOD),
        role=new.role,
        name=new.name,
        region=region_prefix(new.region),
        department=new.department,
        officer=new.officer,
        disabled=False,
        failures=0,
    )
    session.add(account)
    session.flush()
    record_event(session, rt, actor, "account.add", "account", account.id, {"role": new.role})
    return account.id


def sign_in(session: Session, rt: Runtime, login: str, password: str) -> Account | None:
    """Return the account if the password is right, else None; wrong ones are counted and lock the account.

    The caller must let the transaction commit in both cases, so that failures count.

    Raises:
        Problem: `rate-limited` while the account is locked.
    """
    account = session.execute(select(Account).where(Account.login == login).with_for_update()).scalar_one_or_none()
    if account is None or account.disabled:
        check_password_hash(_hash_of_nobody(), password)
        return None
    now = rt.now()
    if account.locked_until is not None and account.locked_until > now:
        raise Problem("rate-limited", detail="too many wrong passwords", limit=MAX_FAILURES, retry_after_s=LOCK_S)
    if not check_password_hash(account.password_hash, password):
        account.failures += 1
        if account.failures >= MAX_FAILURES:
            account.failures, account.locked_until = 0, now + timedelta(seconds=LOCK_S)
            record_event(session, rt, account.id, "account.lock", "account", account.id)
        return None
    account.failures, account.locked_until = 0, None
    record_event(session, rt, account.id, "account.sign-in", "account", account.id)
    return account


@cache
def _hash_of_nobody() -> str:
    """Return what is checked when a login does not exist, so that the answer takes as long as for one that does.

    Made at the first need: it is slow by design, and every program of the platform would pay for it at its start.
    """
    return generate_password_hash("nobody has this password", HASH_METHOD)


def issue_code(session: Session, rt: Runtime, account_id: str) -> str:
    """Return a fresh one-time sign-in code for an account."""
    code = base64.urlsafe_b64encode(rt.random_bytes(24)).decode()
    expires = rt.now() + timedelta(seconds=CODE_S)
    session.add(SignInCode(hash=_hash(code), account=account_id, expires_at=expires))
    return code


def redeem_code(session: Session, rt: Runtime, code: str) -> Account:
    """Use a one-time code and return its account.

    Raises:
        Problem: `unauthenticated` if it is unknown, used or expired.
    """
    row = session.get(SignInCode, _hash(code), with_for_update=True)
    account = session.get(Account, row.account) if row else None
    if row is None or account is None or account.disabled or row.used_at is not None or row.expires_at <= rt.now():
        raise Problem("unauthenticated", detail="this sign-in code is unknown, used or expired")
    row.used_at = rt.now()
    record_event(session, rt, account.id, "account.sign-in", "account", account.id, {"by": "code"})
    return account


def revoke_token(session: Session, rt: Runtime, jti: str) -> None:
    """End a token before its time; rows of tokens that have ended by themselves are dropped."""
    now = rt.now()
    session.execute(delete(RevokedToken).where(RevokedToken.expires_at < now))
    if session.get(RevokedToken, jti) is None:
        session.add(RevokedToken(jti=jti, expires_at=now + timedelta(seconds=rt.settings.token_s)))


def is_revoked(session: Session, jti: str) -> bool:
    """Tell whether a token was signed out."""
    return _SIGNED_OUT.row(session, {"token": jti}) is not None


def account_by_login(session: Session, login: str) -> Account | None:
    """Return an account by its login."""
    return session.execute(select(Account).where(Account.login == login)).scalar_one_or_none()


def load_principal(session: Session, subject: str) -> Principal:
    """Return the caller that an account is.

    Raises:
        Problem: `unauthenticated` if the account is gone or disabled.
    """
    account = session.get(Account, subject)
    if account is None or account.disabled:
        raise Problem("unauthenticated", detail="this account may not sign in any more")
    officers = (account.officer,) if account.officer else ()
    return Principal(account.id, account.role, account.region, account.department, officers)


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()
