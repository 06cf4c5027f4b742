"""The header grammar of tus 1.0 (https://tus.io/protocols/resumable-upload): metadata, offsets, checksums. Pure."""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from server.errors import Problem

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,checksum,concatenation,expiration,termination"
CHECKSUM_ALGORITHMS = ("sha1", "sha256", "md5")
"""`sha1` is what the protocol asks every server to offer; none of them is evidence, they only guard one request."""
MAX_METADATA_BYTES = 4096
MAX_FILE_NAME_CHARS = 255
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHA256_HEX = re.compile(r"[0-9a-f]{64}")
MAX_PARTS = 64
"""Partial uploads that one file may be put together from."""
PARTIAL = "partial"
FINAL = "final;"
MAX_DIGITS = 18
"""Digits of a length or offset; more is no file."""


@dataclass(frozen=True)
class Metadata:
    """What `Upload-Metadata` says. Names are only shown, never used as paths."""

    evidence: str
    file_name: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Checksum:
    """The checksum one request promises for its body."""

    algorithm: str
    digest: bytes

    def hasher(self) -> Any:  # noqa: ANN401 - hashlib's objects have no public type
        """Return an empty hash of the algorithm."""
        return hashlib.new(self.algorithm, usedforsecurity=False)


def parse_count(text: str | None, name: str) -> int:
    """Return a header's non-negative integer.

    Raises:
        Problem: `bad-request` naming the header.
    """
    if text is None:
        raise Problem("bad-request", detail="the header is missing", field=name)
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS:
        raise Problem("bad-request", detail="must be a non-negative integer", field=name)
    return int(text)


def parse_metadata(header: str | None, *, record_needed: bool = True) -> Metadata:
    """Return the metadata of a creation request; keys this server does not know are left aside.

    Args:
        header: the header's value.
        record_needed: whether the id of the evidence record must be there; a partial upload may do without.

    Raises:
        Problem: `bad-request` naming the member; `too-large` with the limit.
    """
    if header is not None and len(header) > MAX_METADATA_BYTES:
        raise Problem("too-large", detail="metadata is too long", field="Upload-Metadata", limit=MAX_METADATA_BYTES)
    members: dict[str, str] = {}
    for part in (header or "").split(",") if header else ():
        key, _, value = part.strip().partition(" ")
        if not key or key in members:
            raise Problem("bad-request", detail="empty or repeated metadata key", field="Upload-Metadata")
        members[key] = _decode(key, value)
    evidence = members.get("evidence", "").lower()
    if not UUID.fullmatch(evidence) and (evidence or record_needed):
        raise Problem("bad-request", detail="must be the id of the evidence record", field="Upload-Metadata.evidence")
    sha256 = members.get("sha256")
    if sha256 is not None and not SHA256_HEX.fullmatch(sha256.lower()):
        raise Problem("bad-request", detail="must be 64 hex digits", field="Upload-Metadata.sha256")
    name = members.get("filename")
    if name is not None and len(name) > MAX_FILE_NAME_CHARS:
        raise Problem(
            "too-large", detail="the name is too long", field="Upload-Metadata.filename", limit=MAX_FILE_NAME_CHARS
        )
    return Metadata(evidence, name, sha256.lower() if sha256 else None)


def parse_concat(header: str | None) -> str | tuple[str, ...] | None:
    """Return :data:`PARTIAL`, or the ids of the uploads to be put together in their order, or None without the header.

    Raises:
        Problem: `bad-request`; `limit-exceeded` past :data:`MAX_PARTS`.
    """
    if header is None:
        return None
    if header == PARTIAL:
        return PARTIAL
    if not header.startswith(FINAL):
        raise Problem("bad-request", detail="must be partial, or final with the parts", field="Upload-Concat")
    addresses = header.removeprefix(FINAL).split(maxsplit=MAX_PARTS)
    if len(addresses) > MAX_PARTS:
        raise Problem("limit-exceeded", detail="too many parts", field="Upload-Concat", limit=MAX_PARTS)
    ids = tuple(urlsplit(address).path.rpartition("/")[2] for address in addresses)
    if not ids or len(set(ids)) < len(ids) or not all(UUID.fullmatch(each) for each in ids):
        raise Problem("bad-request", detail="must name each part once, by its address", field="Upload-Concat")
    return ids


def parse_checksum(header: str | None) -> Checksum | None:
    """Return the promised checksum, or None without the header.

    Raises:
        Problem: `bad-request`: unknown algorithm, or no base64 of the right length.
    """
    if header is None:
        return None
    algorithm, _, encoded = header.partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise Problem("bad-request", detail=f"one of {', '.join(CHECKSUM_ALGORITHMS)}", field="Upload-Checksum")
    try:
        digest = base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise Problem("bad-request", detail="not base64", field="Upload-Checksum") from error
    checksum = Checksum(algorithm, digest)
    if len(digest) != checksum.hasher().digest_size:
        raise Problem("bad-request", detail="wrong length", field="Upload-Checksum")
    return checksum


def _decode(key: str, value: str) -> str:
    try:
        text = base64.b64decode(value, validate=True).decode("utf-8")
    except ValueError as error:
        raise Problem("bad-request", detail="not base64 of UTF-8", field=f"Upload-Metadata.{key[:40]}") from error
    if "\x00" in text:
        raise Problem("bad-request", detail="contains NUL", field=f"Upload-Metadata.{key[:40]}")
    return text
