"""Strict JSON: what Python's parser accepts beyond the standard is refused here, before anything looks at it.

Most bytes that arrive are what a compact encoder writes. Such bytes are recognised by encoding again what a fast
decoder has read: if that gives the same bytes, nothing was dropped, rounded or spelled in two ways, and the strict
parser would read the same value from them. Everything else is left to that parser, which alone says what is wrong.
"""

import json
import math
import re
from typing import Any, NoReturn

import msgspec

from server.errors import Problem

MAX_DEPTH = 32
"""Deepest accepted nesting of arrays and objects."""
LONG_NUMBER = re.compile(rb"[0-9]{309}")
"""Only whole numbers of at least this many digits can lie beyond the range of a double."""
LONG_DIGITS = 309
ZERO, NINE = b"09"
_decode, _encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


def parse_json(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON strictly (RFC 8259, and the I-JSON rules of RFC 7493 that protect readers).

    Refused: bytes that are not UTF-8, NaN and infinities, numbers beyond the range of a double, duplicate member
    names, lone surrogates, and nesting deeper than `max_depth`.

    Raises:
        Problem: `malformed-json`, with the reason.
    """
    if data.count(b"{") + data.count(b"[") <= max_depth and not _maybe_long_number(data):
        try:
            value = _decode(data)
            if _encode(value) == data:
                return value
        except (msgspec.MsgspecError, ValueError, RecursionError):  # what is wrong is for the strict parser to say
            pass
    return parse_any_json(data, max_depth=max_depth)


def parse_any_json(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:  # noqa: ANN401 - any JSON value
    """Parse JSON of any spelling as :func:`parse_json` does, without its short cut.

    Raises:
        Problem: `malformed-json`, with the reason.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", detail=f"not UTF-8 at byte {error.start}") from error
    check_depth(data, max_depth)
    try:
        whole = _whole if LONG_NUMBER.search(data) else None
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite, parse_int=whole
        )
    except ValueError as error:  # JSONDecodeError, or an integer with too many digits
        raise Problem("malformed-json", detail=str(error)) from error
    if "\\u" in text:
        _refuse_surrogates(value)
    return value


def _maybe_long_number(data: bytes) -> bool:
    """Tell whether there may be a run of LONG_DIGITS digits: it would cover one of the places looked at, and half of it
    would lie on one side.
    """
    half = LONG_DIGITS // 2
    for place in range(LONG_DIGITS - 1, len(data), LONG_DIGITS):
        if ZERO <= data[place] <= NINE and (
            data[place - half : place].isdigit() or data[place : place + half + 1].isdigit()
        ):
            return True
    return False


def check_depth(data: bytes, max_depth: int = MAX_DEPTH) -> None:
    """Refuse JSON text nested deeper than `max_depth`, in one pass that never recurses.

    Raises:
        Problem: `malformed-json` with the limit.
    """
    if data.count(b"[") + data.count(b"{") <= max_depth:
        return
    depth, in_string, escaped = 0, False, False
    for byte in data:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            if depth > max_depth:
                raise Problem("malformed-json", detail="nested too deep", limit=max_depth)
        elif byte in (0x5D, 0x7D):
            depth -= 1


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Problem("malformed-json", detail="a member name occurs twice", field=_printable(twice))
    return result


def _constant(name: str) -> NoReturn:
    raise Problem("malformed-json", detail=f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Problem("malformed-json", detail=f"the number {text[:40]} is beyond the range of a double")
    return value


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def _refuse_surrogates(value: Any) -> None:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise Problem("malformed-json", detail="a lone surrogate is not text") from error
    elif isinstance(value, dict):
        for name, member in value.items():
            _refuse_surrogates(name)
            _refuse_surrogates(member)
    elif isinstance(value, list):
        for member in value:
            _refuse_surrogates(member)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")[:200]
