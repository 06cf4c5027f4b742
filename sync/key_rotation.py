"""Replacing the key of a log: the old key names the new one, which proves that it is there.

A rotation is a signed note:

    fieldproof-log-key-v1
    NAME+ID+KEY                     the verifier key so far
    NAME+ID+KEY                     the one that follows it
                                    (empty line)
    — NAME …                        signature of the key so far
    — NAME …                        signature of the key that follows

Whoever trusts the key so far can follow such notes to the present one. After a theft that is not enough: then the new
key has to be handed over as the first one was.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable

from sync.checkpoints import CheckpointError, Signature, VerifierKey, Verify, parse_verifier_key

HEADER = "fieldproof-log-key-v1"
MAX_ROTATIONS = 1_000
"""Most notes that are followed."""

Sign = Callable[[bytes], bytes]


def rotation_note(old: VerifierKey, new: VerifierKey, sign_old: Sign, sign_new: Sign) -> str:
    """Return the note by which `new` follows `old`."""
    body = f"{HEADER}\n{old.encode()}\n{new.encode()}\n"
    lines = (
        Signature(key.name, key.key_id(), sign(body.encode())).line().decode()
        for key, sign in ((old, sign_old), (new, sign_new))
    )
    return f"{body}\n{''.join(lines)}"


def read_rotation(note: str, verify: Verify) -> tuple[VerifierKey, VerifierKey]:
    """Return the key so far and the one that follows, both signatures verified.

    Raises:
        CheckpointError: it is no such note, or one of the two has not signed it.
    """
    body, _, tail = note.partition("\n\n")
    header, *keys = body.split("\n")
    if header != HEADER or len(keys) != 2:
        raise CheckpointError("not a rotation of a key")
    old, new = (parse_verifier_key(text) for text in keys)
    lines = tail.splitlines(keepends=True)
    if len(lines) != 2:
        raise CheckpointError("a rotation has two signatures")
    for key, line in zip((old, new), lines, strict=True):
        try:
            material = base64.b64decode(line.rstrip("\n").rpartition(" ")[2], validate=True)
        except binascii.Error as error:
            raise CheckpointError("a signature is not base64") from error
        if Signature(key.name, key.key_id(), material[4:]).line() != line.encode():
            raise CheckpointError("a signature is not of the key it should be of")
        if not verify(key.public_key, material[4:], f"{body}\n".encode()):
            raise CheckpointError("a signature does not verify")
    return old, new


def follow(trusted: VerifierKey, notes: Iterable[str], verify: Verify) -> list[VerifierKey]:
    """Return the keys that follow a trusted one, oldest first; none if no note begins with it.

    Raises:
        CheckpointError: a note on the way is not what it should be.
    """
    found: list[VerifierKey] = []
    for number, note in enumerate(notes):
        if number == MAX_ROTATIONS:
            raise CheckpointError(f"a key is followed over {MAX_ROTATIONS} rotations at most")
        old, new = read_rotation(note, verify)
        if old.public_key == (found[-1] if found else trusted).public_key:
            found.append(new)
    return found
