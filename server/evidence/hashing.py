"""SHA-256 and SM3 (GB/T 32905-2016) side by side over a stream, with bounded memory.

`hashlib.new("sm3")` depends on how OpenSSL was built; where it is missing, `cryptography`'s bundled OpenSSL does it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from cryptography.hazmat.primitives import hashes

READ_BYTES = 1024 * 1024
"""Bytes read at a time; both hashes release the interpreter lock on pieces of this size."""


class Hasher(Protocol):
    """The part of `hashlib`'s objects that is used here."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""

    def hexdigest(self) -> str:
        """Return the digest as lower-case hex."""


class LibrarySm3:
    """SM3 from `cryptography`, in the shape of a `hashlib` object."""

    def __init__(self) -> None:
        """Start an empty hash."""
        self._hash = hashes.Hash(hashes.SM3())

    def update(self, data: bytes, /) -> None:
        """Add bytes."""
        self._hash.update(data)

    def hexdigest(self) -> str:
        """Return the digest of what was added so far."""
        return self._hash.copy().finalize().hex()


@dataclass(frozen=True)
class Digest:
    """What identifies the content of a file: both hashes (lower-case hex) and its length."""

    sha256: str
    sm3: str
    size_bytes: int


def new_sm3() -> Hasher:
    """Return an empty SM3 hash, from OpenSSL if it has one, else from `cryptography`."""
    try:
        return hashlib.new("sm3")
    except ValueError:
        return LibrarySm3()


def digest_stream(stream: BinaryIO) -> Digest:
    """Return the digest of everything from the stream's position to its end.

    Raises:
        OSError: the stream cannot be read.
    """
    sha256, sm3, size = hashlib.sha256(), new_sm3(), 0
    while piece := stream.read(READ_BYTES):
        sha256.update(piece)
        sm3.update(piece)
        size += len(piece)
    return Digest(sha256.hexdigest(), sm3.hexdigest(), size)


def digest_file(path: Path) -> Digest:
    """Return the digest of a whole file.

    Raises:
        OSError: the file is missing or cannot be read.
    """
    with path.open("rb", buffering=0) as stream:
        return digest_stream(stream)
