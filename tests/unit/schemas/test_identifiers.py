"""Identifiers: published and synthetic codes pass, any single wrong character does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.identifiers import (
    USCC_ALPHABET,
    USCC_DEPARTMENTS,
    check_checklist_code,
    check_item_code,
    check_organisation_code,
    check_region,
    check_resident_number,
    check_township,
    check_uscc,
    make_uscc,
    organisation_check_character,
    uscc_check_character,
)

# Published codes of large listed companies: real check characters, made by the registering offices.
PUBLISHED = ["9144030071526726XG", "91330100799655058B", "91110000802100433B", "914403001922038216"]

SERIALS = st.text(alphabet=USCC_ALPHABET, min_size=8, max_size=8)
USCCS = st.builds(
    make_uscc,
    st.builds(lambda first, second: first + second, st.sampled_from(USCC_DEPARTMENTS), st.sampled_from("12359")),
    st.integers(min_value=420_000, max_value=429_999).map(str),
    SERIALS,
)


@pytest.mark.parametrize("code", PUBLISHED)
def test_published_usccs_pass(code: str) -> None:
    """Codes that registering offices really issued are accepted."""
    assert check_uscc(code) is None


@pytest.mark.parametrize("department", ["A1", "N2", "Y1"])
def test_usccs_of_the_later_departments_pass(department: str) -> None:
    """Codes that begin with A, N or Y are good codes."""
    assert check_uscc(make_uscc(department, "420106", "MF000012")) is None


@given(USCCS, st.integers(min_value=0, max_value=17), st.sampled_from(USCC_ALPHABET))
def test_a_wrong_character_is_found(code: str, place: int, letter: str) -> None:
    """Changing any one character of a good code makes it a bad one."""
    assume(code[place] != letter)
    assert check_uscc(code[:place] + letter + code[place + 1 :]) is not None


def test_the_inner_check_is_verified() -> None:
    """A code whose outer check is right but whose organisation code fails its own is refused, and says so."""
    serial = "MA000010"
    right = organisation_check_character(serial)
    wrong = "5" if right != "5" else "6"
    first_17 = "91420106" + serial + wrong
    reason = check_uscc(first_17 + uscc_check_character(first_17))
    assert reason is not None
    assert "organisation" in reason


@given(st.text(max_size=20))
def test_no_text_makes_a_check_raise(text: str) -> None:
    """Any text gets a reason or None."""
    checks: list[Callable[[str], str | None]] = [
        check_uscc,
        check_organisation_code,
        check_item_code,
        check_checklist_code,
        check_region,
        check_township,
        check_resident_number,
    ]
    for check in checks:
        assert check(text) is None or check(text)


@pytest.mark.parametrize(
    "code", ["", "9144030071526726xg", "91440300715267260I", "8" * 18, "00000000000000000", "914403007152672\uff16XG"]
)
def test_what_is_no_uscc_is_refused(code: str) -> None:
    """Lower case, letters outside the alphabet, wrong lengths and full-width digits are refused."""
    assert check_uscc(code) is not None


def test_parts_that_make_no_uscc_are_refused() -> None:
    """The maker checks what it made."""
    with pytest.raises(ValueError, match="USCC"):
        make_uscc("01", "420106", "MA000010")


@pytest.mark.parametrize(
    ("serial", "check"), [("D2143569", "X"), ("71526726", "X"), ("00000000", "0"), ("80210043", "3"), ("79965505", "8")]
)
def test_organisation_check_characters(serial: str, check: str) -> None:
    """The standard's own example, X for ten and 0 for eleven."""
    assert organisation_check_character(serial) == check
    assert check_organisation_code(serial + check) is None
    assert check_organisation_code(serial + ("1" if check != "1" else "2")) is not None
    assert check_organisation_code(serial) is not None


@pytest.mark.parametrize(("code", "good"), [("0" * 14, True), ("0" * 13, False), ("0" * 15, False), ("٠" * 14, False)])
def test_item_codes(code: str, good: bool) -> None:
    """Exactly fourteen ASCII digits."""
    assert (check_item_code(code) is None) == good


@pytest.mark.parametrize(
    ("suffix", "good"),
    [("1001", True), ("5A", True), ("6001", False), ("1", False), ("", False), ("1" + "0" * 46, False)],
)
def test_checklist_codes(suffix: str, good: bool) -> None:
    """A good USCC, a digit from one to five, a suffix of limited length."""
    assert (check_checklist_code(PUBLISHED[0] + suffix) is None) == good


def test_a_checklist_code_of_a_bad_uscc_is_refused() -> None:
    """The implementing body's code is checked too."""
    assert check_checklist_code(PUBLISHED[0][:-1] + "H1001") is not None


@pytest.mark.parametrize(("code", "good"), [("420106", True), ("990000", False), ("42010", False), ("4201066", False)])
def test_region_codes(code: str, good: bool) -> None:
    """Six digits below a real province; nine for a township."""
    assert (check_region(code) is None) == good
    assert (check_township(code + "001") is None) == good


@pytest.mark.parametrize(
    ("number", "good"),
    [
        ("11010519491231002X", True),
        ("110105194912310021", False),
        ("11010519491231002x", False),
        ("00010519491231002X", False),
    ],
)
def test_resident_numbers(number: str, good: bool) -> None:
    """The standard's example passes (it belongs to nobody); a wrong check character does not."""
    assert (check_resident_number(number) is None) == good
