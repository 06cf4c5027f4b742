"""Masking personal values: what stays visible is enough to recognise a value one knows, and too little to learn one."""

from typing import Any

SHORT_CHARS = 4
"""A text of up to so many characters, such as a name, keeps its first one."""
LONG_CHARS = 11
"""One of at least so many, such as a telephone or identity number, keeps three characters in front and two behind."""


def mask(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Return a value as it may be shown and kept in the trail: 张样例 → 张**, 13800001234 → 138******34."""
    if value is None or value == "":
        return value
    text = str(value)
    if len(text) == 1:
        return "*"
    front, behind = (1, 0) if len(text) <= SHORT_CHARS else (3, 2) if len(text) >= LONG_CHARS else (2, 0)
    return text[:front] + "*" * max(len(text) - front - behind, 1) + (text[-behind:] if behind else "")
