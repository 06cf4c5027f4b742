"""Policies: what each read rule says of several live values, and that none of them fails on any value."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.policies import (
    DEFAULT,
    Policy,
    Reading,
    Rule,
    canonical,
    conflicts,
    is_deleted,
    read,
    read_record,
    set_change,
    state_of,
)
from sync.registers import DELETED, Change, Live, from_live
from tests.unit.sync.histories import JSON, POLICIES, STATES, dot, joined

A, B, C = dot(1), dot(2), dot(3)
ORDERED = Policy(Rule.MONOTONE, STATES)


def live(*values: Any, at_ms: int = 0) -> list[Live]:  # noqa: ANN401 - any JSON value
    """Values written by different replicas, all at the same time."""
    return [Live(dot(number), value, at_ms) for number, value in enumerate(values)]


@st.composite
def any_values(draw: st.DrawFn) -> list[Live]:
    """Live values of any JSON shape."""
    values = draw(st.lists(st.tuples(JSON, st.integers(0, 3)), max_size=5))
    return [Live(dot(number), value, at_ms) for number, (value, at_ms) in enumerate(values)]


@given(st.sampled_from(Rule), any_values(), st.randoms(use_true_random=False))
def test_reading_never_fails_and_does_not_depend_on_the_order(rule: Rule, values: list[Live], randomness: Any) -> None:  # noqa: ANN401 - Random or Hypothesis' own
    """Any JSON value may stand in any field: reading it is defined, and the same for every reader."""
    policy = Policy(rule, STATES)
    shuffled = list(values)
    randomness.shuffle(shuffled)
    one, two = read(policy, values), read(policy, shuffled)
    assert one.conflict == two.conflict
    assert json.dumps(one.value) == json.dumps(two.value)


@pytest.mark.parametrize("rule", [Rule.LATEST, Rule.FIRST, Rule.MONOTONE, Rule.MANUAL])
def test_a_field_without_values_reads_as_none(rule: Rule) -> None:
    """Nothing written, nothing read."""
    assert read(Policy(rule, STATES), []) == Reading(None)


@pytest.mark.parametrize("rule", [Rule.SET, Rule.APPEND])
def test_a_set_or_list_without_values_reads_as_empty(rule: Rule) -> None:
    """Callers can walk a set or list without asking whether there is one."""
    assert read(Policy(rule), []) == Reading([])


def test_latest_is_the_newest_by_corrected_time_then_dot() -> None:
    """Equal times fall back to the dot, so that everybody reads the same."""
    values = [Live(A, "a", 5), Live(B, "b", 9), Live(C, "c", 1)]
    assert read(Policy(Rule.LATEST), values).value == "b"
    assert read(Policy(Rule.LATEST), live("a", "b", "c")).value == "c"
    same_journal = [Live(dot(1, 9), "nine", 0), Live(dot(1, 10), "ten", 0)]
    assert read(Policy(Rule.LATEST), same_journal).value == "ten"


def test_first_is_the_oldest_by_corrected_time_then_dot() -> None:
    """The first writer stays, however late its act arrives."""
    values = [Live(A, "a", 5), Live(B, "b", 9), Live(C, "c", 1)]
    assert read(Policy(Rule.FIRST), values).value == "c"
    assert read(Policy(Rule.FIRST), live("a", "b")).value == "a"


def test_monotone_is_the_furthest_along_its_order() -> None:
    """Concurrent steps never conflict; time does not matter."""
    values = [Live(A, "closed", 1), Live(B, "open", 9), Live(C, "submitted", 5)]
    assert read(ORDERED, values) == Reading("closed")


def test_monotone_sets_unknown_states_before_all_known_ones() -> None:
    """A state of a newer version is shown when there is nothing else, and never outranks what we know."""
    assert read(ORDERED, [Live(A, "archived", 9), Live(B, "open", 1)]).value == "open"
    assert read(ORDERED, [Live(A, "archived", 9), Live(B, "shredded", 1)]).value == "archived"


def test_a_deliberate_step_back_is_read() -> None:
    """Who has seen a state and writes an earlier one reopens; who has not seen it, does not."""
    submitted = Change(A, frozenset(), 1, {"status": "submitted"})
    reopened = Change(B, frozenset({A}), 2, {"status": "open"})
    unaware = Change(C, frozenset(), 3, {"status": "open"})
    assert read(ORDERED, joined([submitted, reopened]).live("status")).value == "open"
    assert read(ORDERED, joined([submitted, unaware]).live("status")).value == "submitted"


def test_a_set_is_the_union_of_its_additions() -> None:
    """Equal elements appear once, in one order."""
    assert read(Policy(Rule.SET), live(["q", "p"], ["p"], [])).value == ["p", "q"]
    assert read(Policy(Rule.SET), live([{"b": 1, "a": 2}], [{"a": 2, "b": 1.0}])).value == [{"b": 1, "a": 2}]


def test_a_set_change_kept_whole_by_an_older_version_still_counts() -> None:
    """A server that learned only later that the field is a set reads what it stored before."""
    assert read(Policy(Rule.SET), live({"add": ["p"], "remove": []}, {}, "q")).value == ["p", "q"]


def test_adding_wins_over_a_removal_that_had_not_seen_it() -> None:
    """A removal takes away the additions it names and had seen, and nothing else."""
    added = Change(A, frozenset(), 1, {"photos": {"add": ["p"]}})
    removed = Change(B, frozenset({A}), 2, {"photos": {"remove": [str(A)]}})
    added_again = Change(C, frozenset({A}), 2, {"photos": {"add": ["p"]}})
    photos = POLICIES["photos"]
    assert read(photos, joined([added, removed]).live("photos")).value == []
    assert read(photos, joined([added, removed, added_again]).live("photos")).value == ["p"]


def test_a_removal_of_an_addition_it_had_not_seen_is_void() -> None:
    """Naming a dot is not enough: only what was seen can be taken away."""
    added = Change(A, frozenset(), 1, {"photos": {"add": ["p"]}})
    guessed = Change(B, frozenset(), 2, {"photos": {"remove": [str(A)]}})
    assert read(POLICIES["photos"], joined([added, guessed]).live("photos")).value == ["p"]


def test_adding_replaces_nothing() -> None:
    """A later addition that had seen the earlier ones leaves them."""
    first = Change(A, frozenset(), 1, {"photos": {"add": ["p"]}})
    second = Change(B, frozenset({A}), 2, {"photos": {"add": ["q"]}})
    assert read(POLICIES["photos"], joined([first, second]).live("photos")).value == ["p", "q"]


def test_a_list_keeps_everything_in_order_of_time() -> None:
    """Appending supersedes nothing, equal texts included."""
    first = Change(A, frozenset(), 5, {"notes": "same"})
    second = Change(B, frozenset({A}), 3, {"notes": "same"})
    third = Change(C, frozenset({A, B}), 4, {"notes": "third"})
    assert read(POLICIES["notes"], joined([first, second, third]).live("notes")).value == ["same", "third", "same"]


def test_manual_never_decides() -> None:
    """Two different values are a conflict, whatever their times."""
    assert read(Policy(Rule.MANUAL), [Live(A, "01", 1), Live(B, "02", 9_999)]) == Reading(None, conflict=True)


@pytest.mark.parametrize(
    ("values", "conflict"),
    [
        (["01", "01"], False),
        ([1, 1.0], False),
        ([0, -0.0], False),
        ([{"a": 1, "b": [2.0]}, {"b": [2], "a": 1}], False),
        ([1, True], True),
        ([0, False], True),
        (["", None], True),
        ([1, "1"], True),
        ([[1, 2], [2, 1]], True),
        ([9007199254740993, 9007199254740992], True),
    ],
)
def test_manual_values_are_equal_as_json_values(values: list[object], *, conflict: bool) -> None:
    """The order of members and 1.0 for 1 are no contradiction; true for 1 is."""
    assert read(Policy(Rule.MANUAL), live(*values)).conflict is conflict


@given(JSON)
def test_canonical_is_the_same_after_a_round_trip(value: object) -> None:
    """Equal values have one spelling, and the spelling is JSON."""
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(st.dictionaries(st.text(max_size=3), JSON, min_size=2))
def test_canonical_does_not_depend_on_the_order_of_members(value: dict[str, object]) -> None:
    """An object is the same whichever member comes first."""
    assert canonical(dict(reversed(value.items()))) == canonical(value)


@pytest.mark.parametrize(
    "value",
    [None, [], "p", 1, {"add": ["p"], "drop": []}, {"add": "p"}, {"remove": {}}, {"remove": ["p"]}, {"remove": [1]}],
)
def test_other_shapes_are_no_set_change(value: object) -> None:
    """What is not `{"add", "remove"}` is refused before it is merged."""
    with pytest.raises(ValueError, match=r"dot|add|remove"):
        set_change(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [({}, ([], [])), ({"add": [1]}, ([1], [])), ({"remove": [str(A)]}, ([], [A]))],
)
def test_set_change_splits_additions_and_removals(value: object, expected: object) -> None:
    """Both members are optional."""
    assert set_change(value) == expected


def test_a_field_of_a_newer_version_is_read_as_the_newest() -> None:
    """It is kept, superseded and passed on like any other."""
    first = Change(A, frozenset(), 1, {"extra": [1]})
    second = Change(B, frozenset(), 2, {"extra": {"x": 2}})
    assert read_record(joined([first, second]), POLICIES) == {"extra": Reading({"x": 2})}
    assert DEFAULT.rule is Rule.LATEST


def test_a_record_reads_field_by_field_without_the_deletion_mark() -> None:
    """The mark of a deletion is no field of the record."""
    state = joined(
        [
            Change(A, frozenset(), 1, {"caption": "a", "result": "01"}),
            Change(B, frozenset(), 2, {"result": "02"}),
            Change(C, frozenset({A}), 2, {}, delete=True),
        ]
    )
    assert read_record(state, POLICIES) == {"caption": Reading("a"), "result": Reading(None, conflict=True)}
    assert conflicts(state, POLICIES) == (DELETED, "result")


def test_a_deletion_and_a_concurrent_edit_are_a_conflict() -> None:
    """Neither wins: the record stays, whole, and people decide."""
    written = Change(A, frozenset(), 1, {"caption": "a", "origin": "lead"})
    deleted = Change(B, frozenset({A}), 2, {}, delete=True)
    edited = Change(C, frozenset({A}), 3, {"caption": "c"})
    state = joined([written, deleted, edited])
    assert conflicts(state, POLICIES) == (DELETED,)
    assert not is_deleted(state)
    kept = joined([written, deleted, edited, Change(dot(4), state.live_dots(), 4, {"caption": "c"})])
    assert conflicts(kept, POLICIES) == ()
    assert {name: reading.value for name, reading in read_record(kept, POLICIES).items()} == {
        "caption": "c",
        "origin": "lead",
    }
    gone = joined([written, deleted, edited, Change(dot(4), state.live_dots(), 4, {}, delete=True)])
    assert is_deleted(gone)


def test_a_deletion_that_had_seen_all_has_no_conflict() -> None:
    """Also where one of the covered fields was in conflict: there is nothing left to decide."""
    left = Change(A, frozenset(), 1, {"result": "01"})
    right = Change(B, frozenset(), 1, {"result": "02"})
    state = joined([left, right, Change(C, frozenset({A, B}), 2, {}, delete=True)])
    assert is_deleted(state)
    assert conflicts(state, POLICIES) == ()


def test_two_concurrent_deletions_agree() -> None:
    """Together they cover everything; one of them had seen the edit that the other had not."""
    written = Change(A, frozenset(), 1, {"caption": "a"})
    edited = Change(B, frozenset({A}), 2, {"caption": "b"})
    unaware = Change(C, frozenset({A}), 3, {}, delete=True)
    aware = Change(dot(4), frozenset({B}), 3, {}, delete=True)
    assert conflicts(joined([written, edited, unaware]), POLICIES) == (DELETED,)
    assert is_deleted(joined([written, edited, unaware, aware]))


def test_an_edit_that_had_seen_the_deletion_revives_the_record_whole() -> None:
    """Undoing a deletion is an ordinary edit and brings every field back."""
    written = Change(A, frozenset(), 1, {"caption": "a", "origin": "lead"})
    deleted = Change(B, frozenset({A}), 2, {}, delete=True)
    revived = Change(C, frozenset({A, B}), 3, {"caption": "c"})
    state = joined([written, deleted, revived])
    assert not is_deleted(state)
    assert read_record(state, POLICIES)["origin"].value == "lead"
    assert state.live(DELETED) == ()


def test_a_record_never_deleted_is_not_deleted() -> None:
    """Also not when nothing is alive in it."""
    assert not is_deleted(from_live({}))


def test_a_malformed_set_change_is_refused_when_merged() -> None:
    """Schemas keep such acts out; merging one by mistake is loud."""
    with pytest.raises(ValueError, match="set change"):
        state_of(Change(A, frozenset(), 1, {"photos": ["p"]}), POLICIES)
