"""Record and journal ids: UUID version 7 (RFC 9562, section 5.7), from a given time and given randomness."""

import re
import uuid

ID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
"""The one accepted spelling of an id: lower case, hyphenated, version 7, RFC variant."""

RANDOM_BYTES = 10


def uuid7(unix_ms: int, random: bytes) -> str:
    """Return the UUIDv7 of a Unix time in milliseconds and 10 random bytes.

    Raises:
        ValueError: `random` is not 10 bytes or the time does not fit into 48 bits.
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"uuid7 takes {RANDOM_BYTES} random bytes, not {len(random)}")
    if not 0 <= unix_ms < 1 << 48:
        raise ValueError("uuid7 takes a time that fits into 48 bits")
    raw = bytearray(unix_ms.to_bytes(6, "big") + random)
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return str(uuid.UUID(bytes=bytes(raw)))


def is_id(text: object) -> bool:
    """Tell whether a value is an id in its one accepted spelling."""
    return isinstance(text, str) and ID_PATTERN.fullmatch(text) is not None
