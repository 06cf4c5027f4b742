"""The join of record states: a union, so order, grouping and repetition do not matter, and nothing is lost."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sync.dots import Dot
from sync.policies import NAMED_REMOVAL, Rule, conflicts, is_deleted, state_of
from sync.registers import DELETED, Change, Live, RecordState, from_live, join
from tests.unit.sync.histories import POLICIES, causal_order, dot, histories, joined, merged

A, B, C = dot(1), dot(2), dot(3)


@st.composite
def states(draw: st.DrawFn) -> RecordState:
    """Any state over a small universe, also such that no history makes; a dot holds the same value everywhere."""
    dots = [dot(number, seq) for number in range(2) for seq in (1, 2)]
    names = ["caption", "result", DELETED]
    some = st.lists(st.sampled_from(dots), unique=True)
    entries = {name: {one: Live(one, f"{name} {one.seq}", one.seq) for one in draw(some)} for name in names}
    return RecordState(entries, {name: frozenset(draw(some)) for name in names})


def same(left: RecordState, right: RecordState) -> bool:
    """Whether two states hold the same entries and the same superseded dots (an empty field counts as none)."""

    def plain(state: RecordState) -> tuple[dict[str, dict[Dot, Live]], dict[str, frozenset[Dot]]]:
        entries = {name: dict(found) for name, found in state.entries.items() if found}
        return entries, {name: dots for name, dots in state.superseded.items() if dots}

    return plain(left) == plain(right)


@given(states(), states())
def test_join_is_commutative(left: RecordState, right: RecordState) -> None:
    """Who is merged into whom does not matter."""
    assert same(join(left, right), join(right, left))


@given(states(), states(), states())
def test_join_is_associative(one: RecordState, two: RecordState, three: RecordState) -> None:
    """How merges are grouped does not matter."""
    assert same(join(join(one, two), three), join(one, join(two, three)))


@given(states())
def test_join_is_idempotent(state: RecordState) -> None:
    """A state merged with itself, or with nothing, is itself."""
    assert same(join(state, state), state)
    assert same(join(state, RecordState()), state)


@given(states(), states())
def test_join_changes_neither_side(left: RecordState, right: RecordState) -> None:
    """States are values: joining leaves both as they were."""
    before = [dict(entries) for entries in left.entries.values()], dict(left.superseded)
    join(left, right)
    assert ([dict(entries) for entries in left.entries.values()], dict(left.superseded)) == before


@given(histories(), st.randoms(use_true_random=False))
def test_any_order_of_the_same_acts_gives_the_same_state(acts: list[Change], randomness: random.Random) -> None:
    """Unpruned joins accept every order, also effects before causes, and repetitions."""
    shuffled = [*acts, *acts]
    randomness.shuffle(shuffled)
    assert same(joined(shuffled), joined(acts))


@given(histories(), st.randoms(use_true_random=False))
def test_pruning_in_between_changes_nothing_that_is_alive(acts: list[Change], randomness: random.Random) -> None:
    """Two causal orders, pruned after each act, and the plain join: the same live values, conflicts and deletion."""
    one, two = merged(causal_order(acts, randomness)), merged(causal_order(acts, randomness))
    whole = joined(acts)
    assert one.live_fields() == two.live_fields() == whole.live_fields()
    assert conflicts(one, POLICIES) == conflicts(two, POLICIES) == conflicts(whole, POLICIES)
    assert is_deleted(one) == is_deleted(two) == is_deleted(whole)


@given(histories(), st.data())
def test_replicas_that_exchange_whole_states_agree(acts: list[Change], data: st.DataObject) -> None:
    """Two parts of a history, overlapping or not, join to the whole."""
    end, start = data.draw(st.integers(0, len(acts))), data.draw(st.integers(0, len(acts)))
    assert same(join(joined(acts[: max(start, end)]), joined(acts[start:])), joined(acts))


@given(histories())
def test_no_value_is_lost_unless_superseded_by_an_act_that_had_seen_it(acts: list[Change]) -> None:
    """Every value ever written is alive, or a later act that had seen it changed the same field."""
    state = merged(acts)
    for act in acts:
        for name in act.fields:
            if act.dot in {entry.dot for entry in state.live(name)}:
                continue
            assert any(replaces(later, name, act.dot) for later in acts), f"{name} of {act.dot} vanished"


def replaces(later: Change, name: str, value: Dot) -> bool:
    """Whether an act replaces a value on purpose: it had seen it and set the field (in a set: named it)."""
    if name not in later.fields or value not in later.seen:
        return False
    rule = POLICIES[name].rule if name in POLICIES else Rule.LATEST
    if rule in NAMED_REMOVAL:
        return str(value) in later.fields[name].get("remove", [])
    return rule is not Rule.APPEND


def test_live_values_are_ordered_by_dot() -> None:
    """The stored line of a record has one order of values, whatever order they came in."""
    state = from_live({"result": [Live(C, "3", 0), Live(A, "1", 2), Live(B, "2", 1)]})
    assert [entry.dot for entry in state.live("result")] == [A, B, C]


def test_fields_without_live_values_are_left_out() -> None:
    """A superseded value is in the state until it is pruned, and never among the live ones."""
    state = RecordState({"result": {A: Live(A, "01", 0)}}, {"result": frozenset({A})})
    assert state.live_fields() == {}
    assert state.live_dots() == frozenset()
    assert state.pruned() == RecordState()


def test_superseding_in_one_field_leaves_the_others() -> None:
    """An act that set two fields lives on in the one that nobody changed."""
    first = Change(A, frozenset(), 0, {"caption": "a", "result": "01"})
    second = Change(B, frozenset({A}), 1, {"result": "02"})
    state = joined([first, second])
    assert [entry.dot for entry in state.live("caption")] == [A]
    assert [entry.dot for entry in state.live("result")] == [B]
    assert state.live_dots() == {A, B}


def test_a_deletion_covers_what_it_had_seen_and_keeps_it() -> None:
    """Covered values stay in the state: a person may decide to keep the record."""
    state = joined([Change(A, frozenset(), 0, {"caption": "a"}), Change(B, frozenset({A}), 1, {}, delete=True)])
    assert state.covered_dots() == {str(A)}
    assert state.spared_dots() == frozenset()
    assert [entry.value for entry in state.live("caption")] == ["a"]


def test_what_a_deletion_had_not_seen_is_spared() -> None:
    """A value written beside a deletion keeps the record."""
    acts = [
        Change(A, frozenset(), 0, {"caption": "a"}),
        Change(B, frozenset({A}), 1, {}, delete=True),
        Change(C, frozenset({A}), 1, {"result": "01"}),
    ]
    assert joined(acts).spared_dots() == {C}


def test_a_deletion_mark_of_another_shape_covers_nothing() -> None:
    """Whatever stands in the mark, reading it does not fail, and at worst people are asked."""
    marks = [Live(A, True, 0), Live(B, [1, None, ["x"]], 0)]
    state = from_live({DELETED: marks, "caption": [Live(C, "a", 0)]})
    assert state.covered_dots() == frozenset()
    assert state.spared_dots() == {C}


def test_state_of_an_act_alone() -> None:
    """Joining the parts is all there is to merging: an act is a small state."""
    change = Change(B, frozenset({A}), 7, {"caption": "b"})
    assert same(
        state_of(change, POLICIES),
        RecordState({"caption": {B: Live(B, "b", 7)}}, {"caption": frozenset({A}), DELETED: frozenset({A})}),
    )
