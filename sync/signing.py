"""What an officer's signature covers, and when later changes make it stale.

A signature names dots and a digest over the pairs of field and dot that it covers. Values need not be in the digest:
each dot's act commits to them, so that lawful erasure of personal bytes leaves signatures intact. Edits by others that
only add beside the signed values leave a signature fresh; superseding any signed value makes it stale.
"""

import hashlib
from collections.abc import Iterable

from sync.dots import Dot
from sync.registers import DELETED, RecordState

SIGNATURE_DOMAIN = b"fieldproof-signature-v1\n"


def covered(state: RecordState, unsigned_fields: Iterable[str]) -> list[tuple[str, Dot]]:
    """Return the (field, dot) pairs of all live values a signature may cover.

    Args:
        state: the record as the signer sees it.
        unsigned_fields: fields that signatures leave out (the signatures themselves, the state of the work).
    """
    left_out = {*unsigned_fields, DELETED}
    return sorted(
        (name, entry.dot) for name, values in state.live_fields().items() if name not in left_out for entry in values
    )


def signed_digest(pairs: Iterable[tuple[str, Dot]]) -> str:
    """Return the digest of covered pairs: SHA-256 over their sorted lines `field dot`."""
    lines = sorted(f"{name} {dot}" for name, dot in pairs)
    return hashlib.sha256(SIGNATURE_DOMAIN + "\n".join(lines).encode()).hexdigest()


def is_stale(state: RecordState, dots: Iterable[Dot], digest: str, unsigned_fields: Iterable[str]) -> bool:
    """Tell whether something that was signed has been superseded since."""
    named = frozenset(dots)
    return signed_digest(pair for pair in covered(state, unsigned_fields) if pair[1] in named) != digest
