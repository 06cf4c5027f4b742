"""Both hashes against their published vectors, over streams and files."""

import hashlib
import io
from pathlib import Path

import pytest

from server.evidence.hashing import READ_BYTES, LibrarySm3, digest_file, digest_stream, new_sm3

SM3_ABC = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"
"""GB/T 32905-2016, appendix A.1."""
SM3_64 = "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732"
"""GB/T 32905-2016, appendix A.2: `abcd` sixteen times."""
SHA256_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
"""FIPS 180-4 example."""


@pytest.mark.parametrize(("data", "expected"), [(b"abc", SM3_ABC), (b"abcd" * 16, SM3_64)], ids=["abc", "64 bytes"])
def test_sm3_matches_the_standard(data: bytes, expected: str) -> None:
    """Either source of SM3 gives the published digest."""
    for hasher in (new_sm3(), LibrarySm3()):
        hasher.update(data)
        assert hasher.hexdigest() == expected


def test_sm3_falls_back_to_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenSSL without SM3 does not matter."""

    def missing(name: str) -> None:
        raise ValueError(f"unsupported hash type {name}")

    monkeypatch.setattr(hashlib, "new", missing)
    hasher = new_sm3()
    assert isinstance(hasher, LibrarySm3)
    hasher.update(b"a")
    hasher.update(b"bc")
    assert hasher.hexdigest() == hasher.hexdigest() == SM3_ABC


def test_stream_digest_has_both_hashes_and_the_length() -> None:
    """A small stream has the published digests."""
    digest = digest_stream(io.BytesIO(b"abc"))
    assert (digest.sha256, digest.sm3, digest.size_bytes) == (SHA256_ABC, SM3_ABC, 3)


def test_file_digest_reads_in_pieces(tmp_path: Path) -> None:
    """A file longer than one piece is hashed whole."""
    data = bytes(range(256)) * (READ_BYTES // 256) + b"tail"
    path = tmp_path / "file"
    path.write_bytes(data)
    digest = digest_file(path)
    assert (digest.sha256, digest.size_bytes) == (hashlib.sha256(data).hexdigest(), len(data))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    """There is no digest of nothing."""
    with pytest.raises(FileNotFoundError):
        digest_file(tmp_path / "none")
