"""Checkpoints: the published example of the note form verifies, ours make the round trip, and nothing else opens."""

from __future__ import annotations

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from sync.checkpoints import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Checkpoint,
    CheckpointError,
    Signature,
    VerifierKey,
    open_checkpoint,
    parse_checkpoint,
    parse_verifier_key,
    sign_checkpoint,
)
from sync.merkle import EMPTY_ROOT

PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = VerifierKey("fieldproof/log", PRIVATE.public_key().public_bytes_raw())
HEAD = Checkpoint("fieldproof/log", 7, EMPTY_ROOT, 1_767_225_600_000)
NOTE = sign_checkpoint(HEAD, KEY, PRIVATE.sign)


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Ed25519 as the callers pass it."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def test_the_published_example_of_a_signed_note_verifies() -> None:
    """The example in the documentation of Go's note package: key id, key and signature fit together."""
    key = parse_verifier_key("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
    text = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    line = base64.b64decode(
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    )
    assert line[:4] == key.key_id()
    assert verify(key.public_key, line[4:], text)
    assert key.encode() == "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"


@given(
    st.integers(min_value=0, max_value=1 << 63),
    st.binary(min_size=32, max_size=32),
    st.integers(min_value=0, max_value=10**15),
)
def test_round_trip(size: int, root: bytes, at_ms: int) -> None:
    """What is signed opens to itself."""
    head = Checkpoint("fieldproof/log", size, root, at_ms)
    assert open_checkpoint(sign_checkpoint(head, KEY, PRIVATE.sign), [KEY], verify) == head


def test_the_text_is_the_published_form() -> None:
    """Origin, size, root and time stand on their own lines, then the signature line."""
    lines = NOTE.decode().split("\n")
    assert lines[:5] == ["fieldproof/log", "7", base64.b64encode(EMPTY_ROOT).decode(), "at 1767225600000", ""]
    assert lines[5].startswith("— fieldproof/log ")
    assert lines[6:] == [""]


def test_signatures_of_witnesses_are_kept_and_ignored() -> None:
    """Another's line neither helps nor hurts."""
    witness = Ed25519PrivateKey.from_private_bytes(bytes(32))
    witness_key = VerifierKey("witness.example/w1", witness.public_key().public_bytes_raw())
    note = NOTE + Signature(witness_key.name, witness_key.key_id(), witness.sign(HEAD.body())).line()
    assert len(parse_checkpoint(note)[1]) == 2
    assert open_checkpoint(note, [KEY], verify) == HEAD
    assert open_checkpoint(note, [witness_key], verify) == HEAD


def test_an_untrusted_key_is_not_enough() -> None:
    """A note signed by nobody we trust is refused, also when the name is the same."""
    other = Ed25519PrivateKey.from_private_bytes(bytes(32))
    other_key = VerifierKey(KEY.name, other.public_key().public_bytes_raw())
    with pytest.raises(CheckpointError, match="no trusted key"):
        open_checkpoint(NOTE, [other_key], verify)
    with pytest.raises(CheckpointError, match="no trusted key"):
        open_checkpoint(NOTE, [], verify)


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    """Flip any byte of the note: it does not open."""
    place = data.draw(st.integers(min_value=0, max_value=len(NOTE) - 1))
    flip = data.draw(st.integers(min_value=1, max_value=255))
    changed = NOTE[:place] + bytes([NOTE[place] ^ flip]) + NOTE[place + 1 :]
    with pytest.raises(CheckpointError):
        open_checkpoint(changed, [KEY], verify)


@given(st.binary(max_size=300))
def test_nonsense_is_refused(note: bytes) -> None:
    """Bytes from outside give a CheckpointError and nothing else."""
    with pytest.raises(CheckpointError):
        parse_checkpoint(note)


BODY = HEAD.body()
LINE = NOTE[len(BODY) + 1 :]


@pytest.mark.parametrize(
    "note",
    [
        BODY,
        BODY + b"\n",
        BODY + b"\n" + LINE[:-1],
        b"extra line\n" + NOTE,
        NOTE.replace(b"fieldproof/log\n7", b"field proof\n7"),
        NOTE.replace(b"\n7\n", b"\n07\n"),
        NOTE.replace(b"\n7\n", b"\n9999999999999999999\n"),
        NOTE.replace(b"at ", b"on "),
        NOTE.replace(base64.b64encode(EMPTY_ROOT), base64.b64encode(EMPTY_ROOT[:31])),
        NOTE.replace(base64.b64encode(EMPTY_ROOT), b"****"),
        BODY + b"\n" + "— fieldproof/log AAAA\n".encode(),
        BODY + b"\n" + "— fieldproof/log AAAAAB==\n".encode(),
        BODY + b"\n" + b"- fieldproof/log AAAAAAAA\n",
        BODY + b"\n" + LINE * (MAX_SIGNATURES + 1),
        b"x" * (MAX_NOTE_BYTES + 1),
    ],
    ids=range(15),
)
def test_a_malformed_note_is_refused(note: bytes) -> None:
    """Every part has its form, spelling and limit."""
    with pytest.raises(CheckpointError):
        open_checkpoint(note, [KEY], verify)


@pytest.mark.parametrize(
    "text", ["", "a+b", "a b+00000000+AQ==", f"x{KEY.encode()}", "a+00000000+AQ==", "a+00000000+A", "a+00000000+é"]
)
def test_a_malformed_key_is_refused(text: str) -> None:
    """A key whose id does not belong to it, or of another kind, is refused."""
    with pytest.raises(CheckpointError):
        parse_verifier_key(text)


def test_a_name_that_breaks_the_form_is_not_signed() -> None:
    """Spaces, line breaks and plus signs in a name would make an ambiguous note."""
    for name in ("a b", "a\nb", "a+b", ""):
        with pytest.raises(CheckpointError):
            sign_checkpoint(Checkpoint(name, 0, EMPTY_ROOT, 0), KEY, PRIVATE.sign)


def test_a_note_that_is_no_text_is_refused() -> None:
    """A checkpoint is UTF-8."""
    with pytest.raises(CheckpointError, match="UTF-8"):
        parse_checkpoint(b"\xff" + NOTE)


def test_a_trusted_key_whose_signature_is_another_ones_is_refused() -> None:
    """The line names the trusted key, but signs other text."""
    other = sign_checkpoint(Checkpoint(HEAD.origin, 8, HEAD.root, HEAD.at_ms), KEY, PRIVATE.sign)
    mixed = NOTE.partition(b"\n\n")[0] + b"\n\n" + other.partition(b"\n\n")[2]
    with pytest.raises(CheckpointError, match="does not verify"):
        open_checkpoint(mixed, [KEY], verify)
