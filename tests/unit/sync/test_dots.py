"""Dots: one accepted spelling, and nothing else gets through."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.dots import MAX_SEQUENCE, Dot, parse_dot
from tests.unit.sync.histories import IDS, JSON, journal

J = journal(1)


@given(IDS, st.integers(1, MAX_SEQUENCE))
def test_round_trip(identifier: str, seq: int) -> None:
    """A dot reads back from its own spelling."""
    assert parse_dot(str(Dot(identifier, seq))) == Dot(identifier, seq)


@pytest.mark.parametrize(
    "text",
    [
        J,
        f"{J}:",
        f"{J}:0",
        f"{J}:01",
        f"{J}:+1",
        f"{J}:-1",
        f"{J}: 1",
        f"{J}:1 ",
        f"{J}:1.0",
        f"{J}:1_0",
        f"{J}:１",
        f"{J}:²",
        f"{J}:{MAX_SEQUENCE + 1}",
        f"{J}:{'1' * 5000}",
        f"{J.upper()}:1",
        "x:1",
        ":1",
        "",
    ],
)
def test_other_spellings_are_refused(text: str) -> None:
    """What could be read in two ways is not read at all."""
    with pytest.raises(ValueError, match="not a dot"):
        parse_dot(text)


@given(JSON)
def test_any_json_value_is_a_dot_or_refused(value: object) -> None:
    """Nothing but ValueError leaves the parser."""
    with suppress(ValueError):
        assert str(parse_dot(value)) == value


def test_what_is_no_text_is_refused() -> None:
    """A number is no dot."""
    with pytest.raises(ValueError, match="a dot is text"):
        parse_dot(1)


def test_dots_sort_by_journal_then_number() -> None:
    """Numbers are compared as numbers: 9 before 10."""
    assert sorted([Dot(J, 10), Dot(J, 9)]) == [Dot(J, 9), Dot(J, 10)]
