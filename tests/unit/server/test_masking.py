"""Masking of personal values."""

import pytest

from server.audit.masking import mask


@pytest.mark.parametrize(
    ("value", "shown"),
    [("张样例", "张**"), ("李", "*"), ("13800001234", "138******34"), ("01087654", "01******"), ("", ""), (None, None)],
)
def test_masking(value: str | None, shown: str | None) -> None:
    """A name keeps its first character, a number its beginning and end; nothing stays nothing."""
    assert mask(value) == shown
