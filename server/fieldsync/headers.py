"""Headers of acts as handhelds spell them, recognised by one pattern: a certain answer, or none.

The pattern takes the members in their usual order and each value in its one usual spelling, so what it recognises the
strict parser and :func:`sync.acts.parse_header` would read alike (a test compares them on generated headers). Anything
else is no fault: it is read the general way, which alone says what is wrong.
"""

import re

from sync.acts import DELETE, HASH, MAX_SEEN, PUT, WIRE_VERSION, Header
from sync.dots import Dot, parse_dot
from sync.ids import ID_PATTERN

_ID, _HASH = f'"({ID_PATTERN.pattern})"', f'"({HASH.pattern})"'
_COUNT, _CLOCK = "([1-9][0-9]{0,14})", "(0|[1-9][0-9]{0,14})"
"""One digit less than the largest number has; what is longer is not usual."""
_MEMBERS = {
    "v": str(WIRE_VERSION), "journal": _ID, "seq": _COUNT, "prev": f'"({HASH.pattern}|)"', "kind": '"([a-z_]{1,64})"',
    "record": _ID, "op": f'"({PUT}|{DELETE})"', "seen": r"\[([^\]]*)\]", "schema": _COUNT, "wall_ms": _CLOCK,
    "mono_ms": _CLOCK, "boot": _ID, "officer": _ID, "body": _HASH, "personal": f"(?:{_HASH}|null)",
}  # fmt: skip
_USUAL = re.compile(r"\{" + ",".join(f'"{name}":{value}' for name, value in _MEMBERS.items()) + r"\}").fullmatch


def usual_header(part: bytes) -> Header | None:
    """Return the header that these bytes say, or None: ask the general parser."""
    try:
        found = _USUAL(part.decode("ascii"))
        if found is None:
            return None
        journal, seq, prev, kind, record, op, seen, schema, wall_ms, mono_ms, boot, officer, body, personal = (
            found.groups()
        )
        number, dots = int(seq), _dots(seen) if seen else frozenset()
    except ValueError:  # not ASCII, or not a list of dots
        return None
    if (number == 1) != (prev == "") or any(dot.journal == journal and dot.seq >= number for dot in dots):
        return None
    return Header(
        journal, number, prev, kind, record, op, dots, int(schema), int(wall_ms), int(mono_ms), boot, officer, body,
        personal,
    )  # fmt: skip


def _dots(listed: str) -> frozenset[Dot]:
    """Read `"dot","dot"`.

    Raises:
        ValueError: it is something else, or too long.
    """
    texts = listed[1:-1].split('","')
    if listed[0] != '"' or listed[-1] != '"' or len(texts) > MAX_SEEN:
        raise ValueError("not the usual spelling of a list of dots")
    return frozenset(map(parse_dot, texts))
