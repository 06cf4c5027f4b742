"""Ranks: there is always room between two, and lists of them come out in the order they were put in."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.dots import Dot
from sync.policies import Policy, Rule, read
from sync.ranks import MAX_RANK_CHARS, between, is_rank, spread
from sync.registers import Live
from tests.unit.sync.histories import dot

RANKS = st.from_regex(r"[0-9A-Za-z]{0,11}[1-9A-Za-z]", fullmatch=True)


@given(RANKS, RANKS)
def test_there_is_room_between_any_two(one: str, other: str) -> None:
    """A rank between two differs from both, stands between them, and is a rank."""
    left, right = sorted((one, other))
    if left == right:
        with pytest.raises(ValueError, match="in order"):
            between(left, right)
        return
    middle = between(left, right)
    assert left < middle < right
    assert is_rank(middle)


@given(RANKS)
def test_there_is_room_at_the_ends(rank: str) -> None:
    """Before the first and behind the last there is room as well."""
    assert between("", rank) < rank < between(rank, "")


@given(st.lists(st.integers(0, 1 << 16), max_size=40))
def test_a_list_keeps_the_order_in_which_it_was_edited(places: list[int]) -> None:
    """Inserting anywhere, again and again, gives ranks whose order is the list's."""
    ranks: list[str] = []
    for place in places:
        index = place % (len(ranks) + 1)
        left = ranks[index - 1] if index else ""
        right = ranks[index] if index < len(ranks) else ""
        ranks.insert(index, between(left, right))
    assert ranks == sorted(set(ranks))


@given(st.integers(0, 500))
def test_spread_ranks_have_room_between_them(count: int) -> None:
    """A new list's ranks are in order, and short."""
    ranks = spread(count)
    assert len(ranks) == count
    assert all(one < other and one < between(one, other) < other for one, other in pairwise(ranks))
    assert all(is_rank(rank) and len(rank) <= 2 for rank in ranks)


@pytest.mark.parametrize("text", ["", "0", "a0", "a-b", "é", "a" * (MAX_RANK_CHARS + 1), None, 5])
def test_what_is_no_rank(text: object) -> None:
    """Ranks have 1 to 64 digits of base 62, the last one above the lowest."""
    assert not is_rank(text)


def test_room_ends_at_the_limit() -> None:
    """A pair of longest neighbours has nothing between it, and says so."""
    with pytest.raises(ValueError, match="no room"):
        between("y" * (MAX_RANK_CHARS - 1) + "y", "y" * (MAX_RANK_CHARS - 1) + "z")


@given(st.permutations([("b", dot(1)), ("b", dot(2)), ("a", dot(3)), ("c", dot(1, 2))]))
def test_an_ordered_list_reads_the_same_in_any_order_of_arrival(arrived: list[tuple[str, Dot]]) -> None:
    """By rank, then dot: what two wrote at one place stands in the order of their dots."""
    values = [Live(name, [{"rank": rank, "value": f"{rank}{name}"}], 0) for rank, name in arrived]
    wanted = [f"a{dot(3)}", f"b{dot(1)}", f"b{dot(2)}", f"c{dot(1, 2)}"]
    assert read(Policy(Rule.LIST), values).value == wanted


def test_one_act_may_add_several_and_move_one() -> None:
    """Elements of one act at one rank stand in its order; a change kept whole by an older version counts."""
    several = Live(dot(1), [{"rank": "b", "value": 1}, {"rank": "b", "value": 2}, {"rank": "a", "value": 0}], 0)
    whole = Live(dot(2), {"add": [{"rank": "c", "value": 3}], "remove": []}, 0)
    assert read(Policy(Rule.LIST), [whole, several]).value == [0, 1, 2, 3]
    assert read(Policy(Rule.LIST), [Live(dot(1), ["bare", 7], 0)]).value == ["bare", 7]


@pytest.mark.parametrize(
    ("left", "right", "middle"),
    [("", "", "V"), ("", "1", "0V"), ("1", "2", "1V"), ("a", "a1", "a0V"), ("az", "b", "azV"), ("a", "c", "b")],
)
def test_examples_of_ranks_between_two(left: str, right: str, middle: str) -> None:
    """Half-way where the digits differ by more than one, and below that digit where they do not."""
    assert between(left, right) == middle
    assert left < middle
    assert not right or middle < right


@pytest.mark.parametrize(("left", "right"), [("b", "a"), ("a", "a"), ("a0", ""), ("", "-")])
def test_what_has_nothing_between(left: str, right: str) -> None:
    """Ranks out of order, and texts that are none."""
    with pytest.raises(ValueError, match="in order"):
        between(left, right)


def test_examples_of_spread_ranks() -> None:
    """One digit is enough for a short list, and no rank ends in the lowest digit."""
    assert spread(3) == ["F", "U", "j"]
    assert len(spread(61)) == 61
    assert spread(62)[0] == "0z"
    assert all(is_rank(rank) for rank in spread(62))
