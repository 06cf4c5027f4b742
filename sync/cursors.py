"""Cursors of the feeds: where a reader stands, sealed so that only a cursor this server issued is ever accepted.

A cursor names its feed, the server's epoch, the position up to which everything was delivered, and the version of the
reader's scope. It is opaque to the reader. The HMAC covers the feed's name, so a cursor of one feed is refused by
another; epoch and scope are compared by the caller, who answers with a fresh start.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass

MAX_CURSOR_CHARS = 4_096
"""Longest cursor text accepted."""

MAX_PAYLOAD_BYTES = 3_000
"""Longest kind, epoch, position and scope together; sealed and in base64 they stay below MAX_CURSOR_CHARS."""

MAX_POSITION = (1 << 63) - 1
"""Positions fit a signed 64-bit database column."""

_VERSION = "1"
_SEPARATOR = "\n"
_TAG_BYTES = 16  # 128 bits: forging is infeasible, and the text stays short enough for a URL


class CursorError(ValueError):
    """the cursor cannot be used; start again without one"""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)  # the docstring is the message


class MalformedCursorError(CursorError):
    """the text is not a cursor"""


class ForeignCursorError(CursorError):
    """the cursor was not issued by this server for this feed, or was changed"""


class StaleCursorError(CursorError):
    """the cursor belongs to an earlier epoch or scope of this feed"""


@dataclass(frozen=True, slots=True)
class Cursor:
    """A reader's place in one feed.

    `kind` names the feed, `epoch` the life of the server's data (a restore starts a new one), `position` the last
    position delivered in full (0 before the first), `scope` the version of what the reader may see ("" if fixed).
    """

    kind: str
    epoch: str
    position: int
    scope: str = ""


def encode_cursor(key: bytes, cursor: Cursor) -> str:
    """Seal a cursor with the server's HMAC `key` into URL-safe text.

    Raises ValueError for a position out of range, a line break in a part, or parts that are too long together.
    """
    if not 0 <= cursor.position <= MAX_POSITION:
        raise ValueError("position is out of range")
    parts = (_VERSION, cursor.kind, cursor.epoch, str(cursor.position), cursor.scope)
    payload = _SEPARATOR.join(parts).encode()
    if any(_SEPARATOR in part for part in parts) or len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError("the cursor's parts are too long or have a line break")
    return base64.urlsafe_b64encode(_tag(key, payload) + payload).rstrip(b"=").decode()


def decode_cursor(key: bytes, text: str) -> Cursor:
    """Open a cursor text. Raises MalformedCursorError or ForeignCursorError (both ValueErrors)."""
    sealed = _unwrap(text)
    tag, payload = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
    if not hmac.compare_digest(tag, _tag(key, payload)):
        raise ForeignCursorError
    version, kind, epoch, position, scope = payload.decode().split(_SEPARATOR)
    if version != _VERSION:
        raise ForeignCursorError("the cursor has a version that this server does not read")
    return Cursor(kind, epoch, int(position), scope)


def open_cursor(key: bytes, text: str, *, kind: str, epoch: str, scope: str = "") -> Cursor:
    """Open a cursor and require that it continues this feed, epoch and scope.

    Raises ForeignCursorError for another feed's cursor, StaleCursorError for another epoch's or scope's, and
    MalformedCursorError for any other text.
    """
    cursor = decode_cursor(key, text)
    if cursor.kind != kind:
        raise ForeignCursorError
    if (cursor.epoch, cursor.scope) != (epoch, scope):
        raise StaleCursorError
    return cursor


def _unwrap(text: str) -> bytes:
    """Bytes behind the text; only the one spelling that `encode_cursor` writes is accepted."""
    if len(text) > MAX_CURSOR_CHARS or not text.isascii():
        raise MalformedCursorError
    try:
        sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise MalformedCursorError from error
    if base64.urlsafe_b64encode(sealed).rstrip(b"=").decode() != text or len(sealed) <= _TAG_BYTES:
        raise MalformedCursorError
    return sealed


def _tag(key: bytes, payload: bytes) -> bytes:
    """Authentication tag over the payload, separated from other uses of the same key."""
    return hmac.new(key, b"fieldproof-cursor-v1\n" + payload, hashlib.sha256).digest()[:_TAG_BYTES]
