"""Cursors: what was sealed comes back, and anything else is refused as what it is."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.cursors import (
    MAX_POSITION,
    Cursor,
    ForeignCursorError,
    MalformedCursorError,
    StaleCursorError,
    _tag,
    decode_cursor,
    encode_cursor,
    open_cursor,
)

KEY = b"k" * 32
PART = st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=28)
CURSORS = st.builds(Cursor, PART, PART, st.integers(min_value=0, max_value=MAX_POSITION), PART)


@given(CURSORS)
def test_round_trip(cursor: Cursor) -> None:
    """A sealed cursor opens to itself and is safe in a URL."""
    text = encode_cursor(KEY, cursor)
    assert decode_cursor(KEY, text) == cursor
    assert text.replace("-", "").replace("_", "").isalnum()


@given(CURSORS, st.data())
def test_a_changed_cursor_is_refused(cursor: Cursor, data: st.DataObject) -> None:
    """Any changed, missing or added character is found."""
    text = encode_cursor(KEY, cursor)
    place = data.draw(st.integers(min_value=0, max_value=len(text) - 1))
    other = data.draw(st.sampled_from([letter for letter in "AZaz09-_" if letter != text[place]]))
    for changed in (text[:place] + other + text[place + 1 :], text[:place] + text[place + 1 :], text + "=", text + "A"):
        with pytest.raises((MalformedCursorError, ForeignCursorError)):
            decode_cursor(KEY, changed)


@given(st.text(max_size=600))
def test_any_text_is_refused_as_no_cursor(text: str) -> None:
    """Text from outside gives a ValueError subclass and nothing else."""
    with pytest.raises((MalformedCursorError, ForeignCursorError)):
        decode_cursor(KEY, text)


def test_another_servers_cursor_is_foreign() -> None:
    """A cursor sealed with another key is foreign, not malformed."""
    with pytest.raises(ForeignCursorError):
        decode_cursor(b"x" * 32, encode_cursor(KEY, Cursor("central", "e1", 5)))


def test_an_unknown_version_is_foreign() -> None:
    """A well-sealed cursor of a later format is refused, not misread."""
    payload = b"2\ncentral\ne1\n5\n"
    text = base64.urlsafe_b64encode(_tag(KEY, payload) + payload).rstrip(b"=").decode()
    with pytest.raises(ForeignCursorError):
        decode_cursor(KEY, text)


def test_open_compares_feed_epoch_and_scope() -> None:
    """Another feed's cursor is foreign; another epoch's or scope's is stale."""
    text = encode_cursor(KEY, Cursor("central", "e1", 5, "s1"))
    assert open_cursor(KEY, text, kind="central", epoch="e1", scope="s1").position == 5
    with pytest.raises(ForeignCursorError):
        open_cursor(KEY, text, kind="device", epoch="e1", scope="s1")
    with pytest.raises(StaleCursorError):
        open_cursor(KEY, text, kind="central", epoch="e2", scope="s1")
    with pytest.raises(StaleCursorError):
        open_cursor(KEY, text, kind="central", epoch="e1", scope="s2")


@pytest.mark.parametrize(
    "cursor",
    [
        Cursor("a\nb", "e", 1),
        Cursor("a", "e" * 3_000, 1),
        Cursor("a", "e", -1),
        Cursor("a", "e", MAX_POSITION + 1),
        Cursor("a", "e", 1, "s\n"),
    ],
)
def test_a_cursor_out_of_its_limits_is_not_issued(cursor: Cursor) -> None:
    """The server cannot issue what it would not read."""
    with pytest.raises(ValueError, match=r"cursor|position"):
        encode_cursor(KEY, cursor)
