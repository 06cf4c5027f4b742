"""A closed proof log and its successor, as the central system checks them: what it knew must be what was closed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_sim.central.proving import NotTrusted
from sync.checkpoints import CheckpointError, VerifierKey, open_checkpoint
from sync.merkle import leaf_hash, verify_inclusion

CLOSED_LOG = "closed-log"


def check_successor(
    known: tuple[int, str], key: VerifierKey, head: Mapping[str, Any], leaf: Mapping[str, Any], path: list[str]
) -> None:
    """Require that a log begins with the last head of the one that was trusted so far.

    Args:
        known: size and root of the largest head of the closed log that was checked here.
        key: the key that signed it.
        head: the successor's head, its signature checked with the key that was handed over for it.
        leaf: the successor's first leaf, as the server shows it.
        path: proof that it is leaf 0 under `head`.

    Raises:
        NotTrusted: it does not; or what was closed is less than, or something else than, what is known here.
    """
    text, root = str(leaf.get("leaf", "")).encode(), bytes.fromhex(head["root"])
    if leaf.get("kind") != CLOSED_LOG:
        raise NotTrusted(f"{head['origin']} does not begin with the head of the log before it")
    if not verify_inclusion(leaf_hash(text), 0, head["size"], [bytes.fromhex(step) for step in path], root):
        raise NotTrusted(f"{head['origin']}: the head of the log before it is not proved to be its first leaf")
    try:
        closed = open_checkpoint(text, [key], _verify)
    except CheckpointError as error:
        raise NotTrusted(f"{head['origin']}: its first leaf is no head of {key.name}: {error}") from error
    if closed.origin != key.name or closed.size < known[0]:
        raise NotTrusted(f"{key.name} was closed at {closed.size} leaves, and had {known[0]} already")
    if closed.size == known[0] and closed.root.hex() != known[1]:
        raise NotTrusted(f"{key.name} was closed with another head of {closed.size} leaves")


def _verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
