"""The tus headers: what is accepted, and how each kind of nonsense is refused."""

import base64
import hashlib

import pytest

from server.errors import Problem
from server.evidence.tus import MAX_METADATA_BYTES, Metadata, parse_checksum, parse_count, parse_metadata

NOT_UTF8 = b"\xff\xfe"
WITH_NUL = "a\0b"
EVIDENCE = "0190a0b0-0000-7000-8000-000000000001"


def b64(text: str | bytes) -> str:
    """Base64 of text."""
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def test_metadata_is_read() -> None:
    """Known keys are taken, unknown ones and key-only ones left aside."""
    header = f"evidence {b64(EVIDENCE)}, filename {b64('现场 1.jpg')},is_confidential,sha256 {b64('AB' * 32)}"
    assert parse_metadata(header) == Metadata(EVIDENCE, "现场 1.jpg", "ab" * 32)


def test_path_tricks_stay_plain_names() -> None:
    """A name is metadata; it is kept as it came and used for nothing."""
    header = f"evidence {b64(EVIDENCE)},filename {b64('../../etc/passwd')}"
    assert parse_metadata(header).file_name == "../../etc/passwd"


@pytest.mark.parametrize(
    ("header", "code", "field"),
    [
        (None, "bad-request", "Upload-Metadata.evidence"),
        ("", "bad-request", "Upload-Metadata.evidence"),
        (f"evidence {EVIDENCE}", "bad-request", "Upload-Metadata.evidence"),
        ("evidence !!!", "bad-request", "Upload-Metadata.evidence"),
        ("evidence 证据", "bad-request", "Upload-Metadata.evidence"),
        (f"evidence {b64('../x')}", "bad-request", "Upload-Metadata.evidence"),
        (f"evidence {b64(EVIDENCE)},evidence {b64(EVIDENCE)}", "bad-request", "Upload-Metadata"),
        (f"evidence {b64(EVIDENCE)},,", "bad-request", "Upload-Metadata"),
        (f"evidence {b64(EVIDENCE)},filename {b64(NOT_UTF8)}", "bad-request", "Upload-Metadata.filename"),
        (f"evidence {b64(EVIDENCE)},filename {b64(WITH_NUL)}", "bad-request", "Upload-Metadata.filename"),
        (f"evidence {b64(EVIDENCE)},filename {b64('x' * 256)}", "too-large", "Upload-Metadata.filename"),
        (f"evidence {b64(EVIDENCE)},sha256 {b64('zz')}", "bad-request", "Upload-Metadata.sha256"),
        ("x" * (MAX_METADATA_BYTES + 1), "too-large", "Upload-Metadata"),
    ],
    ids=[
        "none",
        "empty",
        "plain",
        "bang",
        "wide",
        "path",
        "twice",
        "empty-key",
        "bytes",
        "nul",
        "long",
        "hash",
        "huge",
    ],
)
def test_bad_metadata_names_the_member(header: str | None, code: str, field: str) -> None:
    """Every fault is a problem that names where."""
    with pytest.raises(Problem) as caught:
        parse_metadata(header)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_counts_are_plain_digits() -> None:
    """Nothing but ASCII digits of a sensible number is a count."""
    assert parse_count("0", "Upload-Length") == 0
    assert parse_count("209715200", "Upload-Length") == 209_715_200
    for text in (None, "", "-1", "+1", "1.5", "1e3", "0x10", " 1", "٣", "9" * 19, "NaN"):
        with pytest.raises(Problem) as caught:
            parse_count(text, "Upload-Length")
        assert (caught.value.code, caught.value.field) == ("bad-request", "Upload-Length")


def test_checksum_is_read() -> None:
    """A promised digest of a known algorithm is accepted; without the header there is none."""
    digest = hashlib.sha256(b"x").digest()
    checksum = parse_checksum(f"sha256 {b64(digest)}")
    assert checksum is not None
    assert (checksum.algorithm, checksum.digest) == ("sha256", digest)
    assert parse_checksum(None) is None


@pytest.mark.parametrize("header", ["", "crc32 AAAA", "sha1", "sha1 ***", "sha1 AAAA", "SHA1 AAAA", "sha1 值"])
def test_bad_checksum_is_refused(header: str) -> None:
    """Unknown algorithms, wrong lengths and no base64 are the client's fault."""
    with pytest.raises(Problem) as caught:
        parse_checksum(header)
    assert (caught.value.code, caught.value.field) == ("bad-request", "Upload-Checksum")
