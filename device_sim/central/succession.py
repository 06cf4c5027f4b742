"""A log's later keys, and a closed log with its successor, as the central system checks them.

What was trusted so far must lead there: the old key signs for the new one, and what was known is what was closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_sim.central.proving import NotTrusted
from sync.checkpoints import CheckpointError, VerifierKey, open_checkpoint
from sync.key_rotation import follow
from sync.merkle import leaf_hash, verify_inclusion

CLOSED_LOG = "closed-log"


def key_chain(trusted: VerifierKey, notes: Sequence[str]) -> list[VerifierKey]:
    """Return a trusted key and those that notes of rotations lead to from it, all under its name.

    Raises:
        NotTrusted: a note is not signed by both keys.
    """
    try:
        return [trusted, *(VerifierKey(trusted.name, key.public_key) for key in follow(trusted, notes, _verify))]
    except (CheckpointError, ValueError) as error:
        raise NotTrusted(f"the key of {trusted.name} cannot be followed: {error}") from error


def key_of(head: Mapping[str, Any], keys: Sequence[VerifierKey]) -> VerifierKey | None:
    """Return which of some keys signs a head, under the name of the head's log; None if none does."""
    named = (VerifierKey(head["origin"], key.public_key) for key in keys)
    return next((key for key in named if key.key_id().hex() == head["key_id"]), None)


def check_successor(
    known: tuple[int, str],
    keys: Sequence[VerifierKey],
    head: Mapping[str, Any],
    leaf: Mapping[str, Any],
    path: list[str],
) -> None:
    """Require that a log begins with the last head of the one that was trusted so far.

    Args:
        known: size and root of the largest head of the closed log that was checked here.
        keys: the key that signed it, and those that followed it before the log was closed.
        head: the successor's head, its signature checked with the key that was handed over for it.
        leaf: the successor's first leaf, as the server shows it.
        path: proof that it is leaf 0 under `head`.

    Raises:
        NotTrusted: it does not; or what was closed is less than, or something else than, what is known here.
    """
    name = keys[0].name
    text, root = str(leaf.get("leaf", "")).encode(), bytes.fromhex(head["root"])
    if leaf.get("kind") != CLOSED_LOG:
        raise NotTrusted(f"{head['origin']} does not begin with the head of the log before it")
    if not verify_inclusion(leaf_hash(text), 0, head["size"], [bytes.fromhex(step) for step in path], root):
        raise NotTrusted(f"{head['origin']}: the head of the log before it is not proved to be its first leaf")
    try:
        closed = open_checkpoint(text, keys, _verify)
    except CheckpointError as error:
        raise NotTrusted(f"{head['origin']}: its first leaf is no head of {name}: {error}") from error
    if closed.origin != name or closed.size < known[0]:
        raise NotTrusted(f"{name} was closed at {closed.size} leaves, and had {known[0]} already")
    if closed.size == known[0] and closed.root.hex() != known[1]:
        raise NotTrusted(f"{name} was closed with another head of {closed.size} leaves")


def _verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
