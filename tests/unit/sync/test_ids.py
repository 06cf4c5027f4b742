"""Ids: UUIDv7 from a given time and randomness, in one accepted spelling."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.ids import is_id, uuid7

TIMES = st.integers(0, (1 << 48) - 1)
RANDOMNESS = st.binary(min_size=10, max_size=10)


@given(TIMES, RANDOMNESS)
def test_it_is_a_uuid_of_version_7(unix_ms: int, random: bytes) -> None:
    """Version, variant and time stand where RFC 9562 wants them."""
    text = uuid7(unix_ms, random)
    parsed = uuid.UUID(text)
    assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
    assert parsed.int >> 80 == unix_ms
    assert is_id(text)


def test_the_example_of_the_standard() -> None:
    """RFC 9562, appendix A.6: the time and random bits given there make the id given there."""
    random = bytes.fromhex("0cc318c4dc0c0c07398f")
    assert uuid7(0x017F22E279B0, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(TIMES, TIMES, RANDOMNESS, RANDOMNESS)
def test_ids_sort_by_time(earlier: int, later: int, one: bytes, two: bytes) -> None:
    """Text order is time order, whatever the random bytes."""
    if earlier > later:
        earlier, later = later, earlier
    if earlier != later:
        assert uuid7(earlier, one) < uuid7(later, two)


@pytest.mark.parametrize("unix_ms", [-1, 1 << 48])
def test_a_time_that_does_not_fit_is_refused(unix_ms: int) -> None:
    """48 bits of milliseconds, no more."""
    with pytest.raises(ValueError, match="48 bits"):
        uuid7(unix_ms, bytes(10))


@pytest.mark.parametrize("length", [0, 9, 11])
def test_a_wrong_amount_of_randomness_is_refused(length: int) -> None:
    """Too few random bytes would make ids that meet."""
    with pytest.raises(ValueError, match="10 random bytes"):
        uuid7(0, bytes(length))


@pytest.mark.parametrize(
    "value",
    [
        "018F22E2-79B0-7CC3-98C4-DC0C0C07398F",
        "{018f22e2-79b0-7cc3-98c4-dc0c0c07398f}",
        "018f22e279b07cc398c4dc0c0c07398f",
        "018f22e2-79b0-4cc3-98c4-dc0c0c07398f",
        "018f22e2-79b0-7cc3-c8c4-dc0c0c07398f",
        "018f22e2-79b0-7cc3-98c4-dc0c0c07398f\n",
        "०18f22e2-79b0-7cc3-98c4-dc0c0c07398",
        "",
        None,
        7,
        ["018f22e2-79b0-7cc3-98c4-dc0c0c07398f"],
    ],
)
def test_other_spellings_and_values_are_no_ids(value: object) -> None:
    """One spelling only: comparing ids is comparing text."""
    assert not is_id(value)
