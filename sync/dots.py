"""Dots: the names of single acts, and so of every value that anyone ever wrote.

A dot is (journal id, sequence). Devices number their journals densely; office dots carry the server's epoch as journal
id and may have gaps. Source: dotted version vectors, Preguiça et al., 2010.
"""

from typing import NamedTuple

from sync.ids import is_id

MAX_SEQUENCE = (1 << 53) - 1
"""Largest sequence number: integers up to here survive every JSON reader (RFC 7493)."""


class Dot(NamedTuple):
    """One act of one journal; the order is only a tie-break and says nothing about time."""

    journal: str
    seq: int

    def __str__(self) -> str:
        """Return the wire spelling `journal:seq`."""
        return f"{self.journal}:{self.seq}"


def parse_dot(text: object) -> Dot:
    """Read the wire spelling of a dot.

    Raises:
        ValueError: it is not one, or not in its one accepted spelling.
    """
    if not isinstance(text, str):
        raise ValueError("a dot is text")
    journal, separator, digits = text.partition(":")
    if not separator or not is_id(journal) or not digits.isascii() or not digits.isdigit() or len(digits) > 16:
        raise ValueError(f"not a dot: {text[:80]!r}")
    seq = int(digits)
    if str(seq) != digits or not 1 <= seq <= MAX_SEQUENCE:
        raise ValueError(f"not a dot: {text[:80]!r}")
    return Dot(journal, seq)
