"""The wire form of an act: one line of three parts, hashed as the bytes that were sent.

    HEADER <TAB> BODY <TAB> PERSONAL <LF>

Each part is compact JSON, so that no tab or line feed can occur inside it; PERSONAL may be empty. The header commits to
the other two by their SHA-256; each of them starts with a random salt, so a commitment says nothing about a value once
bytes and salt are destroyed. The act's hash covers the header alone: erasing personal bytes breaks nothing.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from sync.dots import MAX_SEQUENCE, Dot, parse_dot
from sync.ids import is_id

ACT_DOMAIN = b"fieldproof-act-v1\n"
WIRE_VERSION = 1
SALT_CHARS = 22
"""A salt is 16 random bytes in base64url without padding."""
SALT = re.compile(rf"[A-Za-z0-9_-]{{{SALT_CHARS}}}")
HASH = re.compile(r"[0-9a-f]{64}")
MAX_PART_BYTES = 64 * 1024
"""Largest header, body or personal part of an act."""
MAX_SEEN = 512
"""Most dots an act may have seen."""
MAX_FIELDS = 64
"""Most fields one act may change."""
MAX_NAME_CHARS = 64
PUT, DELETE = "put", "delete"
ERASED_START = b'{"erased":'


class ActError(ValueError):
    """A part of an act is not as the protocol says."""

    def __init__(self, field: str, reason: str, limit: int | None = None) -> None:
        """Name the offending member, the reason, and the limit if one was passed."""
        super().__init__(f"{field}: {reason}")
        self.field, self.reason, self.limit = field, reason, limit


@dataclass(frozen=True)
class ActParts:
    """The three parts of an act line, as bytes."""

    header: bytes
    body: bytes
    personal: bytes = b""

    def line(self) -> bytes:
        """Return the line as it is sent, line feed included."""
        return b"\t".join((self.header, self.body, self.personal)) + b"\n"

    def hash(self) -> str:
        """Return the act's hash, 64 hexadecimal digits."""
        return hashlib.sha256(ACT_DOMAIN + self.header).hexdigest()


@dataclass(frozen=True)
class Header:
    """The decoded header of an act."""

    journal: str
    seq: int
    prev: str
    kind: str
    record: str
    op: str
    seen: frozenset[Dot]
    schema: int
    wall_ms: int
    mono_ms: int
    boot: str
    officer: str
    body: str
    personal: str | None

    @property
    def dot(self) -> Dot:
        """The act's own name."""
        return Dot(self.journal, self.seq)


def is_hash(value: object) -> bool:
    """Tell whether a value is a SHA-256 in its one accepted spelling."""
    return isinstance(value, str) and HASH.fullmatch(value) is not None


def commitment(part: bytes) -> str:
    """Return the commitment to a part: SHA-256 of its bytes, which hold their own salt."""
    return hashlib.sha256(part).hexdigest()


def erased_part(names: Iterable[str]) -> bytes:
    """Return what stands in place of a lawfully destroyed part: the names of its fields, without values and salt."""
    return encode({"erased": sorted(names)})


def is_erased(part: bytes) -> bool:
    """Tell whether a personal part is not there: empty, or destroyed with only the names of its fields left."""
    return not part or part.startswith(ERASED_START)


def erased_names(part: bytes) -> list[str]:
    """Return the names that stand in place of a destroyed part; none for one that says nothing readable.

    Raises:
        ActError: there are too many of them, or one is no name of a field.
    """
    if not part:
        return []
    try:
        members = json.loads(part)
    except ValueError:
        members = None
    names = members.get("erased") if isinstance(members, dict) and len(members) == 1 else None
    if not isinstance(names, list) or len(names) > MAX_FIELDS:
        _refuse("personal", "does not name the erased fields", MAX_FIELDS)
    for name in names:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_CHARS or name.startswith("_"):
            _refuse("personal", "does not name the erased fields", MAX_NAME_CHARS)
    return sorted(set(names))


def encode_fields(salt: str, fields: Mapping[str, Any]) -> bytes:
    """Return the bytes of a BODY or PERSONAL part."""
    return encode({"salt": salt, "fields": dict(fields)})


def encode(value: object) -> bytes:
    """Return compact UTF-8 JSON, without the numbers that JSON does not have."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def encode_act(header: Header, body: bytes, personal: bytes = b"") -> ActParts:
    """Return the act of a header whose commitments are taken from the given parts.

    Without a personal part, or where it was erased, the header's own commitment stays.
    """
    members = {
        "v": WIRE_VERSION,
        "journal": header.journal,
        "seq": header.seq,
        "prev": header.prev,
        "kind": header.kind,
        "record": header.record,
        "op": header.op,
        "seen": [str(dot) for dot in sorted(header.seen)],
        "schema": header.schema,
        "wall_ms": header.wall_ms,
        "mono_ms": header.mono_ms,
        "boot": header.boot,
        "officer": header.officer,
        "body": commitment(body),
        "personal": header.personal if is_erased(personal) else commitment(personal),
    }
    return ActParts(encode(members), body, personal)


def split_line(line: bytes) -> ActParts:
    """Cut an act line (with or without its line feed) into its parts.

    Raises:
        ActError: there are not three parts, or one is too long.
    """
    parts = line.removesuffix(b"\n").split(b"\t")
    if len(parts) != 3:
        raise ActError("line", "an act has three parts separated by tabs")
    for name, part in zip(("header", "body", "personal"), parts, strict=True):
        if len(part) > MAX_PART_BYTES:
            raise ActError(name, "too long", MAX_PART_BYTES)
    return ActParts(*parts)


def parse_header(members: object) -> Header:
    """Check a decoded header.

    Raises:
        ActError: a member is missing, unknown, of the wrong type or past its limit.
    """
    if not isinstance(members, dict):
        _refuse("header", "is not an object")
    wanted = {"v", "prev", "op", "seen", *Header.__dataclass_fields__}
    for name in sorted(wanted ^ members.keys()):
        _refuse(name[:MAX_NAME_CHARS], "is missing" if name in wanted else "is not known")
    check_version(members["v"], WIRE_VERSION)
    for name in ("journal", "record", "boot", "officer"):
        if not is_id(members[name]):
            _refuse(name, "is not an id")
    for name in ("seq", "schema", "wall_ms", "mono_ms"):
        _check_number(name, members[name], 1 if name in ("seq", "schema") else 0)
    if members["op"] not in (PUT, DELETE):
        _refuse("op", "must be put or delete")
    if not isinstance(members["kind"], str) or not 0 < len(members["kind"]) <= MAX_NAME_CHARS:
        _refuse("kind", "is not a name", MAX_NAME_CHARS)
    if members["seq"] > 1:
        _check_hash("prev", members["prev"])
    elif members["prev"] != "":
        _refuse("prev", "is empty in the first act")
    _check_hash("body", members["body"])
    if members["personal"] is not None:
        _check_hash("personal", members["personal"])
    seen = _seen(members["seen"])
    if any(dot.journal == members["journal"] and dot.seq >= members["seq"] for dot in seen):
        _refuse("seen", "names the act itself or a later one of its journal")
    return Header(**{name: members[name] for name in Header.__dataclass_fields__} | {"seen": seen})


def check_version(value: object, wanted: int) -> None:
    """Require a wire version: the number itself, neither true nor 1.0.

    Raises:
        ActError: it is another one.
    """
    if type(value) is not int or value != wanted:
        _refuse("v", f"must be {wanted}")


def check_commitments(header: Header, parts: ActParts, *, erasable: bool = False) -> None:
    """Compare the parts with what the header commits to.

    Args:
        header: the decoded header.
        parts: the act.
        erasable: accept that a committed personal part is gone: stored acts may have been erased, sent ones may not.

    Raises:
        ActError: a part differs.
    """
    if commitment(parts.body) != header.body:
        _refuse("body", "does not match its commitment")
    if erasable and is_erased(parts.personal) and header.personal is not None:
        return
    if (commitment(parts.personal) if parts.personal else None) != header.personal:
        _refuse("personal", "does not match its commitment")


def parse_fields(name: str, members: object) -> dict[str, Any]:
    """Check a decoded BODY or PERSONAL part (`name` is used in errors) and return its fields.

    Raises:
        ActError: the shape is wrong or there are too many fields.
    """
    if not isinstance(members, dict) or members.keys() != {"salt", "fields"}:
        _refuse(name, 'must be {"salt", "fields"}')
    salt, fields = members["salt"], members["fields"]
    if not isinstance(salt, str) or not SALT.fullmatch(salt):
        _refuse(f"{name}.salt", "is not 16 bytes in base64url without padding", SALT_CHARS)
    if not isinstance(fields, dict):
        _refuse(f"{name}.fields", "is not an object")
    if len(fields) > MAX_FIELDS:
        _refuse(f"{name}.fields", "too many", MAX_FIELDS)
    if fields and not _sure_names(fields):
        for field in fields:
            if not 0 < len(field) <= MAX_NAME_CHARS or field.startswith("_"):
                _refuse(f"{name}.fields", f"{field[:MAX_NAME_CHARS]!r} is not a field name", MAX_NAME_CHARS)
    return fields


def _sure_names(fields: Mapping[str, Any]) -> bool:
    """Tell whether all of them are names of fields, at one glance; otherwise each is to be looked at."""
    lengths = set(map(len, fields))
    return min(lengths) > 0 and max(lengths) <= MAX_NAME_CHARS and "\n_" not in "\n".join(("", *fields))


def all_fields(op: str, body: Mapping[str, Any], personal: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of both parts of an act together.

    A put that sets nothing would leave no live value and so could never be seen; a deletion sets nothing.

    Raises:
        ActError: a field stands in both parts, there are too many, or their number does not suit the operation.
    """
    twice = body.keys() & personal.keys()
    if twice:
        _refuse("personal.fields", f"{min(twice)!r} also stands in the body")
    if len(body) + len(personal) > MAX_FIELDS:
        _refuse("personal.fields", "too many", MAX_FIELDS)
    if (op == DELETE) == bool(body or personal):
        _refuse("body.fields", "a put sets at least one field, a deletion none")
    return {**body, **personal}


def _seen(dots: object) -> frozenset[Dot]:
    if not isinstance(dots, list):
        _refuse("seen", "is not a list")
    if len(dots) > MAX_SEEN:
        _refuse("seen", "too many dots", MAX_SEEN)
    try:
        return frozenset(parse_dot(dot) for dot in dots)
    except ValueError as error:
        raise ActError("seen", str(error)) from error


def _check_number(name: str, value: object, floor: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not floor <= value <= MAX_SEQUENCE:
        _refuse(name, f"must be a whole number from {floor}", MAX_SEQUENCE)


def _check_hash(name: str, value: object) -> None:
    if not is_hash(value):
        _refuse(name, "is not a SHA-256 in lower-case hexadecimal")


def _refuse(field: str, reason: str, limit: int | None = None) -> NoReturn:
    raise ActError(field, reason, limit)
