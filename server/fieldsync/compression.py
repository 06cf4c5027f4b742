"""Compressing a stream piece by piece, as the reader accepts it: zstd, else gzip, else not at all. Bounded memory."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

import zstandard
from werkzeug.datastructures import Accept

ZSTD_LEVEL = 1
GZIP_LEVEL = 1
"""Records repeat themselves so much that higher levels save little and cost several times as much."""
GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""A deflate window of 32 KiB in gzip's frame."""
PREFERRED = ("zstd", "gzip")


class Compressor(Protocol):
    """What zlib's and zstandard's compressors have in common."""

    def compress(self, data: bytes, /) -> bytes: ...  # noqa: D102 - of the standard library
    def flush(self, mode: int = ..., /) -> bytes: ...  # noqa: D102 - of the standard library


def negotiated(accepted: Accept) -> str:
    """Return the content coding for what a request's `Accept-Encoding` accepts; `identity` when it names none."""
    usable = [coding for coding in PREFERRED if accepted.quality(coding) > 0]
    return max(usable, key=accepted.quality) if usable else "identity"


def compressed(pieces: Iterable[bytes], coding: str) -> Iterator[bytes]:
    """Yield the pieces in a content coding; each piece can be read as soon as it has arrived."""
    if coding == "identity":
        yield from pieces
        return
    compressor: Compressor
    if coding == "zstd":
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
        between, end = zstandard.COMPRESSOBJ_FLUSH_BLOCK, zstandard.COMPRESSOBJ_FLUSH_FINISH
    else:
        compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
        between, end = zlib.Z_SYNC_FLUSH, zlib.Z_FINISH
    for piece in pieces:
        yield compressor.compress(piece) + compressor.flush(between)
    yield compressor.flush(end)
