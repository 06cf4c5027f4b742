"""Signed tree heads as text that others can store, print and countersign.

The form is the checkpoint of C2SP `tlog-checkpoint` inside a `signed-note` (the form of Go's checksum database and of
public transparency logs), so that existing witnesses and monitors can read ours:

    fieldproof/01890a5d-ac96-774b-bcce-b302099a8057     origin: the log's own name
    20852163                                            size in leaves
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=        root hash
    at 1767225600000                                    extension: Unix time in milliseconds
                                                        (empty line)
    — fieldproof/01890a5d-… Az3grlgtzPICa5OS8npVm…      signature line; witnesses add their own

The signature covers everything before the empty line. This module reads and writes text; signing and checking
signatures are passed in, so `sync` stays free of cryptographic libraries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from sync.merkle import HASH_BYTES, MAX_SIZE

MAX_NOTE_BYTES = 64 * 1024
"""Longest checkpoint text accepted, signatures of witnesses included."""
MAX_SIGNATURES = 100
"""Most signature lines accepted on one checkpoint."""
MAX_NAME_CHARS = 200
"""Longest name of a log or a key."""
ED25519_KEY_BYTES = 32
ED25519_SIGNATURE_BYTES = 64

_ED25519 = b"\x01"  # algorithm byte of signed-note
_COSIGNER = b"\x04"  # algorithm byte of tlog-cosignature
_TIME_BYTES = 8
_KEY_HASH_BYTES = 4
_NAME = re.compile(r"[^\s+]{1,200}")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_AT = re.compile(r"at (0|[1-9][0-9]{0,15})")

Verify = Callable[[bytes, bytes, bytes], bool]
"""(public key, signature, message) -> whether the Ed25519 signature is right."""


K = TypeVar("K", bound="VerifierKey")


class CheckpointError(ValueError):
    """A text is not a checkpoint, or is not signed by the key that was asked for."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many leaves, their root hash, and when (Unix milliseconds) it was made."""

    origin: str
    size: int
    root: bytes
    at_ms: int

    def body(self) -> bytes:
        """The bytes that signatures cover."""
        root = base64.b64encode(self.root).decode()
        return f"{self.origin}\n{self.size}\n{root}\nat {self.at_ms}\n".encode()


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """An Ed25519 public key with the name it signs under."""

    name: str
    public_key: bytes
    algorithm: ClassVar[bytes] = _ED25519

    def key_id(self) -> bytes:
        """The four bytes that lead a signature to its key."""
        material = self.name.encode() + b"\n" + self.algorithm + self.public_key
        return hashlib.sha256(material).digest()[:_KEY_HASH_BYTES]

    def encode(self) -> str:
        """The key as one line of text, as auditors keep it: name+key id+key."""
        return f"{self.name}+{self.key_id().hex()}+{base64.b64encode(self.algorithm + self.public_key).decode()}"


@dataclass(frozen=True, slots=True)
class WitnessKey(VerifierKey):
    """The key of a witness, whose signatures carry the time they were made (C2SP `tlog-cosignature`)."""

    algorithm: ClassVar[bytes] = _COSIGNER


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: whose, by which key, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> bytes:
        """The line as it stands under the checkpoint, line feed included."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n".encode()


def parse_verifier_key(text: str) -> VerifierKey:
    """Read the key of a log.

    Raises:
        CheckpointError: it is not one, or its key id is not that of its name and key.
    """
    return _parse_key(text, VerifierKey)


def parse_witness_key(text: str) -> WitnessKey:
    """Read the key of a witness.

    Raises:
        CheckpointError: it is not one, or its key id is not that of its name and key.
    """
    return _parse_key(text, WitnessKey)


def _parse_key(text: str, kind: type[K]) -> K:
    parts = text.split("+", 2)
    if len(parts) != 3 or not _NAME.fullmatch(parts[0]):
        raise CheckpointError("a verifier key is name+id+key")
    material = _unbase64(parts[2])
    if material[:1] != kind.algorithm or len(material) != 1 + ED25519_KEY_BYTES:
        raise CheckpointError("only Ed25519 keys are known")
    key = kind(parts[0], material[1:])
    if key.key_id().hex() != parts[1]:
        raise CheckpointError("the key id does not belong to this name and key")
    return key


def cosign_checkpoint(body: bytes, key: WitnessKey, at_s: int, sign: Callable[[bytes], bytes]) -> Signature:
    """Sign a checkpoint's body as a witness who has checked it, at a Unix time in seconds."""
    at = at_s.to_bytes(_TIME_BYTES, "big")
    return Signature(key.name, key.key_id(), at + sign(_cosigned(body, at_s)))


def cosigned_message(signature: Signature, body: bytes) -> tuple[int, bytes, bytes]:
    """Take a witness's signature apart: its Unix time in seconds, the message signed, and the bare Ed25519 signature.

    Raises:
        CheckpointError: it has not the length of one.
    """
    if len(signature.signature) != _TIME_BYTES + ED25519_SIGNATURE_BYTES:
        raise CheckpointError("a witness's signature is a time and an Ed25519 signature")
    at_s = int.from_bytes(signature.signature[:_TIME_BYTES], "big")
    return at_s, _cosigned(body, at_s), signature.signature[_TIME_BYTES:]


def _cosigned(body: bytes, at_s: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % at_s + body


def sign_checkpoint(checkpoint: Checkpoint, key: VerifierKey, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the checkpoint as a signed note.

    Raises:
        CheckpointError: the origin or the key's name cannot stand in a note.
    """
    if not _NAME.fullmatch(checkpoint.origin) or not _NAME.fullmatch(key.name):
        raise CheckpointError(f"a name has 1 to {MAX_NAME_CHARS} characters without spaces and plus signs")
    body = checkpoint.body()
    return body + b"\n" + Signature(key.name, key.key_id(), sign(body)).line()


def parse_checkpoint(note: bytes) -> tuple[Checkpoint, list[Signature]]:
    """Read a note and its signature lines, verifying nothing.

    Raises:
        CheckpointError: it is not a checkpoint in the form above, spelled exactly as it would be written.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise CheckpointError(f"a checkpoint has at most {MAX_NOTE_BYTES} bytes")
    try:
        body, separator, tail = note.decode("utf-8").partition("\n\n")
    except UnicodeDecodeError as error:
        raise CheckpointError("a checkpoint is UTF-8 text") from error
    lines = body.split("\n")
    if not separator or len(lines) != 4 or not tail.endswith("\n"):
        raise CheckpointError("a checkpoint has four lines, an empty line, and signature lines")
    checkpoint = _parse_body(lines)
    signature_lines = tail[:-1].split("\n")
    if len(signature_lines) > MAX_SIGNATURES:
        raise CheckpointError(f"a checkpoint has at most {MAX_SIGNATURES} signatures")
    return checkpoint, [_parse_signature(line) for line in signature_lines]


def open_checkpoint(note: bytes, keys: Sequence[VerifierKey], verify: Verify) -> Checkpoint:
    """Read a checkpoint and require a good signature by one of the trusted `keys`.

    Lines of keys that are not in `keys` are ignored; a line that names a trusted key and does not verify is refused.

    Raises:
        CheckpointError: malformed, unsigned by any of the keys, or wrongly signed.
    """
    checkpoint, signatures = parse_checkpoint(note)
    trusted = {(key.name, key.key_id()): key for key in keys}
    good = 0
    for signature in signatures:
        key = trusted.get((signature.name, signature.key_id))
        if key is None:
            continue
        if not verify(key.public_key, signature.signature, checkpoint.body()):
            raise CheckpointError(f"the signature of {signature.name} does not verify")
        good += 1
    if not good:
        raise CheckpointError("no trusted key has signed this checkpoint")
    return checkpoint


def _parse_body(lines: Sequence[str]) -> Checkpoint:
    origin, size, root, at = lines
    if not _NAME.fullmatch(origin):
        raise CheckpointError("the origin is not a name")
    if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
        raise CheckpointError("the size is not a number of leaves")
    moment = _AT.fullmatch(at)
    if moment is None:
        raise CheckpointError("the fourth line is not a time")
    root_hash = _unbase64(root)
    if len(root_hash) != HASH_BYTES:
        raise CheckpointError("the root is not a SHA-256")
    return Checkpoint(origin, int(size), root_hash, int(moment[1]))


def _parse_signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "—" or not _NAME.fullmatch(parts[1]):
        raise CheckpointError("a signature line is a dash, a name and a signature")
    material = _unbase64(parts[2])
    if len(material) <= _KEY_HASH_BYTES:
        raise CheckpointError("a signature is too short")
    return Signature(parts[1], material[:_KEY_HASH_BYTES], material[_KEY_HASH_BYTES:])


def _unbase64(text: str) -> bytes:
    """Decode standard base64 in its one spelling."""
    try:
        found = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CheckpointError("not base64") from error
    if base64.b64encode(found).decode() != text:
        raise CheckpointError("not base64 in its one spelling")
    return found
