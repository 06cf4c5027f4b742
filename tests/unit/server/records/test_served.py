"""The lane for acts without concurrency gives exactly what the general merge gives, down to the served bytes."""

from __future__ import annotations

import random
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from server.records import lines
from server.records.lines import Placement, decode_state, encode_line, encode_served, values_of
from server.records.served import Served
from sync.merge import Verdict, merge
from sync.policies import conflicts, is_deleted, read
from sync.registers import Change, RecordState
from tests.unit.sync.histories import POLICIES, causal_order, dot, histories

PLACE = Placement("420106", "市场监管")


def line_of(state: RecordState) -> bytes:
    """The served line of a state, by way of the registers."""
    return encode_line("inspection", "r", 1, PLACE, state, conflicts(state, POLICIES))


@settings(deadline=None)
@given(histories(), st.randoms(use_true_random=False))
def test_the_lane_agrees_with_the_merge(acts: list[Change], randomness: random.Random) -> None:
    """Wherever the lane takes an act, verdict, state, conflicts and bytes are those of the general merge."""
    served = Served({})
    for change in causal_order(acts, randomness):
        outcome = merge(served.state, change, POLICIES)
        before = conflicts(served.state, POLICIES)
        advanced = None if before else served.advanced(change, POLICIES)
        if advanced is not None:
            assert outcome.verdict is Verdict.APPLIED
            assert not outcome.unseen
            assert conflicts(outcome.state, POLICIES) == ()
            assert not is_deleted(outcome.state)
            assert advanced.state == outcome.state
            assert encode_served("inspection", "r", 1, PLACE, advanced, (), deleted=False) == line_of(outcome.state)
        served = advanced or Served.of(outcome.state)
        assert all(served.live(name) == outcome.state.live(name) for name in (*POLICIES, "_deleted"))
        assert frozenset(served.acts) == outcome.state.live_dots()


@given(histories())
def test_fields_read_alike_in_both_forms(acts: list[Change]) -> None:
    """What a field says is what its policy reads from the registers, however few acts a record has."""
    state = RecordState()
    with patch.dict(lines._POLICIES, {"sample": POLICIES}):
        for change in acts:
            state = merge(state, change, POLICIES).state
            expected = {name: read(policy, state.live(name)).value for name, policy in POLICIES.items()}
            assert values_of("sample", Served.of(state), tuple(POLICIES)) == expected


@given(histories())
def test_a_line_holds_the_whole_state(acts: list[Change]) -> None:
    """What was served reads back as the same state, and is served again as the same bytes."""
    state = RecordState()
    for change in acts:
        state = merge(state, change, POLICIES).state
    line = line_of(state)
    assert decode_state(line) == state
    assert line_of(decode_state(line)) == line


def test_the_lane_takes_what_is_simple() -> None:
    """A new record, and an edit by somebody who had seen all of it."""
    first = Change(dot(1), frozenset(), 1, {"caption": "a", "photos": {"add": ["x"]}, "notes": "n"})
    served = Served({}).advanced(first, POLICIES)
    assert served is not None
    removal = {"caption": "b", "photos": {"remove": [str(dot(1))]}, "notes": "m"}
    second = served.advanced(Change(dot(2), frozenset({dot(1)}), 2, removal), POLICIES)
    assert second is not None
    assert {str(name): list(act.fields) for name, act in second.acts.items()} == {
        str(dot(1)): ["notes"],
        str(dot(2)): ["caption", "notes", "photos"],
    }


def test_the_lane_leaves_the_rest_to_the_merge() -> None:
    """Deletions, acts that had not seen everything, and acts that had seen what is not there."""
    served = Served({}).advanced(Change(dot(1), frozenset(), 1, {"caption": "a"}), POLICIES)
    assert served is not None
    assert served.advanced(Change(dot(2), frozenset(), 2, {"caption": "b"}), POLICIES) is None
    assert served.advanced(Change(dot(2), frozenset({dot(1)}), 2, {}, delete=True), POLICIES) is None
    assert served.advanced(Change(dot(2), frozenset({dot(1), dot(3)}), 2, {"caption": "b"}), POLICIES) is None
    deleted = merge(served.state, Change(dot(2), frozenset({dot(1)}), 2, {}, delete=True), POLICIES).state
    revived = Change(dot(3), frozenset({dot(1), dot(2)}), 3, {"caption": "c"})
    assert Served.of(deleted).advanced(revived, POLICIES) is None
