"""What the central system checks offline: signatures of heads, proofs, and content against leaves. No I/O."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from sync.checkpoints import Checkpoint, VerifierKey
from sync.merkle import leaf_hash, verify_consistency, verify_inclusion


class NotTrusted(Exception):
    """The log cannot be believed any more; pulling from it stops."""


def check_head(head: Mapping[str, Any], key: VerifierKey) -> None:
    """Require that a head (`schemas.proof_log.HeadSchema`) is signed by the trusted key, for the log of that name.

    Raises:
        NotTrusted: it is not.
    """
    name = f"head of {head['size']} leaves"
    if head["origin"] != key.name or head["key_id"] != key.key_id().hex():
        raise NotTrusted(f"{name}: not of the trusted log or key")
    body = Checkpoint(head["origin"], head["size"], bytes.fromhex(head["root"]), head["at_ms"]).body()
    try:
        signature = base64.urlsafe_b64decode(head["signature"] + "==")
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, body)
    except (InvalidSignature, ValueError) as error:
        raise NotTrusted(f"{name}: the signature does not verify") from error


def check_growth(size: int, root: str, head: Mapping[str, Any], path: Sequence[str]) -> None:
    """Require that the log of (`size`, `root`) is a prefix of the one under `head`; `path` is the consistency proof.

    Raises:
        NotTrusted: the log shrank, or its past was rewritten.
    """
    if head["size"] < size:
        raise NotTrusted(f"the log shrank from {size} to {head['size']} leaves")
    proof = [bytes.fromhex(step) for step in path]
    if not verify_consistency(size, head["size"], bytes.fromhex(root), bytes.fromhex(head["root"]), proof):
        raise NotTrusted(f"the log of {size} leaves is no prefix of the one of {head['size']} leaves")


def faults_of(line: Mapping[str, Any], head: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with one line of the feed (`schemas.exchange.FeedLineSchema`) under a head; [] if all holds.

    The inclusion proof is for the leaf's bytes as sent, and the leaf names the content's bytes as sent.
    """
    faults = []
    index, path = line["leaf_index"], [bytes.fromhex(step) for step in line.get("proof", [])]
    if line["position"] != index + 1:
        faults.append("its position is not that of its leaf")
    if not verify_inclusion(leaf_hash(line["leaf"].encode()), index, head["size"], path, bytes.fromhex(head["root"])):
        faults.append("its inclusion proof does not verify")
    commitment = commitment_of(line["leaf"])
    if (commitment.get("behavior"), commitment.get("version")) != (line["id"], line["version"]):
        faults.append("its leaf is of another behavior or version")
    if commitment.get("content") != hashlib.sha256(line["content"].encode()).hexdigest():
        faults.append("its content is not what its leaf commits to")
    personal = line.get("personal")
    if personal is not None and commitment.get("personal") != hashlib.sha256(personal.encode()).hexdigest():
        faults.append("its personal part is not what its leaf commits to")
    return faults


def commitment_of(leaf: str) -> dict[str, Any]:
    """Return the members of a leaf; nothing when it is no JSON object."""
    try:
        members = json.loads(leaf)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}
