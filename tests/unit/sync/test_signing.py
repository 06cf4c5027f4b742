"""Officers' signatures: what they cover, and that exactly superseding makes them stale."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sync.dots import Dot
from sync.merge import merge
from sync.registers import DELETED, Change, RecordState
from sync.signing import covered, is_stale, signed_digest
from tests.unit.sync.histories import POLICIES, causal_order, dot, histories, joined, merged

A, B, C = dot(1), dot(2), dot(3)
UNSIGNED = ("status", "notes")
STATE = joined(
    [
        Change(A, frozenset(), 1, {"result": "01", "status": "open"}),
        Change(B, frozenset({A}), 2, {"caption": "b"}),
    ]
)


def sign(state: RecordState) -> tuple[list[Dot], str]:
    """What an officer who sees this state signs: dots and digest."""
    pairs = covered(state, UNSIGNED)
    return [name for _, name in pairs], signed_digest(pairs)


def test_a_signature_covers_live_values_but_for_the_fields_left_out() -> None:
    """By field and dot, in one order."""
    assert covered(STATE, UNSIGNED) == [("caption", B), ("result", A)]
    assert covered(RecordState(), UNSIGNED) == []


def test_a_deletion_is_not_signed() -> None:
    """The mark of a deletion is no value of the record."""
    state = joined([Change(A, frozenset(), 1, {"result": "01"}), Change(B, frozenset({A}), 2, {}, delete=True)])
    assert state.live(DELETED)
    assert covered(state, UNSIGNED) == [("result", A)]


@given(st.permutations(covered(STATE, UNSIGNED)))
def test_the_digest_does_not_depend_on_the_order(pairs: list[tuple[str, Dot]]) -> None:
    """Every device computes the same."""
    assert signed_digest(pairs) == signed_digest(covered(STATE, UNSIGNED))


def test_a_fresh_signature_is_not_stale() -> None:
    """Nothing has happened since."""
    assert not is_stale(STATE, *sign(STATE), UNSIGNED)


def test_superseding_a_signed_value_makes_it_stale() -> None:
    """The officer signed something else than what the record now says."""
    dots, digest = sign(STATE)
    changed = joined_with(STATE, Change(C, frozenset({A, B}), 3, {"result": "02"}))
    assert is_stale(changed, dots, digest, UNSIGNED)


def test_adding_beside_a_signed_value_does_not() -> None:
    """Nor does a change of a field that signatures leave out."""
    dots, digest = sign(STATE)
    for added in (
        Change(C, frozenset(), 3, {"result": "02"}),
        Change(C, frozenset({A, B}), 3, {"scene": "x"}),
        Change(C, frozenset({A, B}), 3, {"status": "submitted"}),
    ):
        assert not is_stale(joined_with(STATE, added), dots, digest, UNSIGNED)


def test_a_digest_over_other_values_is_stale() -> None:
    """Also one over values that this copy has not got (yet)."""
    dots, digest = sign(STATE)
    assert is_stale(STATE, dots, "0" * 64, UNSIGNED)
    assert is_stale(STATE, [*dots[:-1]], digest, UNSIGNED)
    assert is_stale(RecordState(), dots, digest, UNSIGNED)


@given(histories(), st.data())
def test_stale_means_that_a_signed_value_was_superseded(acts: list[Change], data: st.DataObject) -> None:
    """For any history: signed at one point, checked at the end, whatever order the rest arrived in."""
    cut = data.draw(st.integers(0, len(acts)))
    seen = merged(acts[:cut])
    dots, digest = sign(seen)
    after = merged(causal_order(acts, data.draw(st.randoms(use_true_random=False))))
    gone = [pair for pair in covered(seen, UNSIGNED) if pair not in covered(after, UNSIGNED)]
    assert is_stale(after, dots, digest, UNSIGNED) == bool(gone)


def joined_with(state: RecordState, change: Change) -> RecordState:
    """The state after one more act."""
    return merge(state, change, POLICIES).state
