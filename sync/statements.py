"""What a device signs beside its segments: to enrol, sign in, change its key, be shared, and say that it was wiped.

Each statement begins with a line that no other kind of statement has, so a signature serves for one purpose only.
"""

from collections.abc import Iterable
from dataclasses import dataclass

SIGN_IN_DOMAIN = "fieldproof-sign-in-v1"
ENROL_DOMAIN = "fieldproof-enrol-v1"
KEY_DOMAIN = "fieldproof-key-v1"
SHARE_DOMAIN = "fieldproof-share-v1"
WIPED_DOMAIN = "fieldproof-wiped-v1"


@dataclass(frozen=True, order=True)
class JournalHead:
    """The last act of a journal."""

    journal: str
    seq: int
    hash: str


def sign_in_statement(device: str, at_ms: int, nonce: str) -> bytes:
    """Return the bytes a device signs to get a token."""
    return _lines(SIGN_IN_DOMAIN, device, at_ms, nonce)


def enrol_statement(public_key: str, officer: str) -> bytes:
    """Return the bytes a device signs to prove that it holds the key it enrols (`public_key` in base64url)."""
    return _lines(ENROL_DOMAIN, public_key, officer)


def key_statement(device: str, old_key: str, new_key: str, heads: Iterable[JournalHead]) -> bytes:
    """Return the bytes that both keys sign when a device changes its key (keys in base64url).

    `heads` are the last acts, of all journals with acts to be pushed, that the old key may still vouch for.
    """
    return _lines(KEY_DOMAIN, device, old_key, new_key, *(f"{h.journal}:{h.seq}:{h.hash}" for h in sorted(heads)))


def share_statement(device: str, officer: str) -> bytes:
    """Return the bytes a device signs when another officer begins to work on it."""
    return _lines(SHARE_DOMAIN, device, officer)


def wiped_statement(device: str, ordered_at_ms: int, acts_lost: int, files_lost: int) -> bytes:
    """Return the bytes a device signs before it erases itself: by which order, and what could not be handed in."""
    return _lines(WIPED_DOMAIN, device, ordered_at_ms, acts_lost, files_lost)


def _lines(*values: object) -> bytes:
    return "\n".join(map(str, values)).encode()
