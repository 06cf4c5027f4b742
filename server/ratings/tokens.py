"""Rating tokens: good for one rating, signed, and without any trace of the visit but department and month."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import date

from server.config import load_secret
from server.errors import Problem
from server.runtime import Runtime

KEY_FILE = "rating"
NONCE_BYTES = 16
MAC_BYTES = 16
MAX_TOKEN_CHARS = 300
VALID_MONTHS = 4
"""A token is good in the month of its visit and the three after it."""


@dataclass(frozen=True)
class RatingToken:
    """What a token says."""

    department: str
    month: str
    digest: str
    """SHA-256 of the token: all that is kept once it is used."""


def issue_token(rt: Runtime, department: str, day: date) -> str:
    """Return a fresh token for a visit of a department in the month of a day. It is kept nowhere."""
    nonce = _text(rt.random_bytes(NONCE_BYTES))
    said = _text(json.dumps([nonce, department, f"{day:%Y-%m}"], ensure_ascii=False).encode())
    return f"{said}.{_mac(rt, said)}"


def read_token(rt: Runtime, text: str) -> RatingToken:
    """Read a token.

    Raises:
        Problem: `invalid-field` for one that was not issued here, or is too old.
    """
    said, _, mac = text.partition(".")
    if not text.isascii() or len(text) > MAX_TOKEN_CHARS or not hmac.compare_digest(mac, _mac(rt, said)):
        raise Problem("invalid-field", field="token", detail="评价码无效 / not a token of this platform")
    _, department, month = json.loads(base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)))
    now = rt.now()
    age = (now.year - int(month[:4])) * 12 + now.month - int(month[5:])
    if not 0 <= age < VALID_MONTHS:
        raise Problem("invalid-field", field="token", detail="评价码已过期 / the token has expired")
    return RatingToken(department, month, hashlib.sha256(text.encode()).hexdigest())


def _mac(rt: Runtime, said: str) -> str:
    return _text(hmac.digest(load_secret(rt.settings, KEY_FILE), said.encode(), "sha256")[:MAC_BYTES])


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
