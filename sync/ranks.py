"""Ranks: texts between which there is always room for another one, so that a list can be put in order without numbers.

Each element of an ordered list carries a rank; the list is read in the order of ranks, then of dots. Inserting between
two elements makes a rank between theirs and moves nobody; what two people insert at one place stands side by side in
the order of their dots, the same on every device. Ranks compare as texts, by code point, and never end in the lowest
digit: below such a text there would be no room. Source: fractional indexing, as in LSEQ (Nédelec et al., 2013).
"""

import re

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""In the order of their code points."""
MAX_RANK_CHARS = 64
RANK = re.compile(rf"[0-9A-Za-z]{{0,{MAX_RANK_CHARS - 1}}}[1-9A-Za-z]")


def is_rank(text: object) -> bool:
    """Tell whether a value is a rank."""
    return isinstance(text, str) and RANK.fullmatch(text) is not None


def between(left: str, right: str) -> str:
    """Return a short rank between two others; "" on either side means the end of the list.

    Raises:
        ValueError: the arguments are no ranks in order, or there is no room left within :data:`MAX_RANK_CHARS`; then
            the list's elements must be given new ranks.
    """
    if any(text and not is_rank(text) for text in (left, right)) or (right and left >= right):
        raise ValueError(f"no ranks in order: {left[:MAX_RANK_CHARS]!r}, {right[:MAX_RANK_CHARS]!r}")
    found, bounded = "", bool(right)
    for place in range(MAX_RANK_CHARS):
        low = DIGITS.index(left[place]) if place < len(left) else 0
        high = DIGITS.index(right[place]) if bounded and place < len(right) else len(DIGITS)
        if high - low > 1:
            return found + DIGITS[(low + high) // 2]
        found += DIGITS[low]
        bounded = bounded and high == low  # one digit below the right rank: from here on only the left one bounds
    raise ValueError("there is no room between these ranks")


def spread(count: int) -> list[str]:
    """Return `count` ranks in order with room between them, for a list that is written for the first time."""
    width = 1
    while len(DIGITS) ** width <= count:
        width += 1
    step = len(DIGITS) ** width // (count + 1)
    return [_digits(step * number, width) for number in range(1, count + 1)]


def _digits(number: int, width: int) -> str:
    text = ""
    for _ in range(width):
        number, digit = divmod(number, len(DIGITS))
        text = DIGITS[digit] + text
    return text.rstrip(DIGITS[0])
