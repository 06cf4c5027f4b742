"""Merging acts one by one: verdicts, rivals, and statuses that do not depend on the order of arrival."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.dots import Dot
from sync.merge import RANK, Verdict, concurrent, contradict, merge, past, raised, status_of
from sync.policies import Policies, Policy, Rule, conflicts, read_record
from sync.registers import DELETED, Change, RecordState
from tests.unit.sync.histories import POLICIES, causal_order, dot, histories, merged

A, B, C, D = dot(1), dot(2), dot(3), dot(4)
SEEN_BY = {A: frozenset[Dot](), B: frozenset({A}), C: frozenset({A}), D: frozenset({B})}


def write(name: Dot, *seen: Dot, delete: bool = False, **fields: object) -> Change:
    """An act that had seen some dots."""
    return Change(name, frozenset(seen), 0, fields, delete)


def seen_by(acts: list[Change]) -> dict[Dot, frozenset[Dot]]:
    """What each act had seen."""
    return {act.dot: act.seen for act in acts}


def test_the_first_act_is_applied() -> None:
    """Nothing was there that it could not have seen."""
    outcome = merge(RecordState(), write(A, caption="a"), POLICIES)
    assert (outcome.verdict, outcome.unseen, outcome.conflict_fields, outcome.rivals) == (
        Verdict.APPLIED,
        frozenset(),
        (),
        frozenset(),
    )


def test_an_act_that_had_seen_everything_is_applied() -> None:
    """Also when it changes what somebody else wrote."""
    state = merged([write(A, result="01")])
    assert merge(state, write(B, A, result="02"), POLICIES).verdict is Verdict.APPLIED


def test_edits_of_different_fields_merge() -> None:
    """The second had not seen the first, and both stay."""
    outcome = merge(merged([write(A, caption="a")]), write(B, result="01"), POLICIES)
    assert (outcome.verdict, outcome.unseen, outcome.rivals) == (Verdict.MERGED, frozenset({A}), frozenset[Dot]())
    assert outcome.state.live_dots() == {A, B}


def test_differing_legal_content_is_a_conflict_of_both_sides() -> None:
    """The verdict names the field and the act on the other side."""
    outcome = merge(merged([write(A, result="01")]), write(B, result="02"), POLICIES)
    assert (outcome.verdict, outcome.conflict_fields, outcome.rivals) == (Verdict.CONFLICT, ("result",), frozenset({A}))


def test_equal_legal_content_merges() -> None:
    """Two officers who write the same do not contradict each other."""
    assert merge(merged([write(A, result="01")]), write(B, result="01"), POLICIES).verdict is Verdict.MERGED


def test_an_act_is_not_blamed_for_a_conflict_in_a_field_it_did_not_set() -> None:
    """A bystander merges, whatever others disagree on."""
    state = merged([write(A, result="01"), write(B, result="02")])
    outcome = merge(state, write(C, A, caption="c"), POLICIES)
    assert (outcome.verdict, outcome.conflict_fields) == (Verdict.MERGED, ())
    assert merge(state, write(C, A, B, caption="c"), POLICIES).verdict is Verdict.APPLIED


def test_a_decision_that_had_seen_both_sides_ends_the_conflict() -> None:
    """A person's resolution is an ordinary act."""
    outcome = merge(merged([write(A, result="01"), write(B, result="02")]), write(C, A, B, result="02"), POLICIES)
    assert (outcome.verdict, conflicts(outcome.state, POLICIES)) == (Verdict.APPLIED, ())


def test_a_decision_does_not_bind_who_had_not_seen_it() -> None:
    """A late act beside a decision opens the conflict again."""
    state = merged([write(A, result="01"), write(B, result="02"), write(C, A, B, result="02")])
    outcome = merge(state, write(D, A, result="03"), POLICIES)
    assert (outcome.verdict, outcome.rivals) == (Verdict.CONFLICT, frozenset({C}))


@pytest.mark.parametrize("edit_first", [True, False])
def test_a_deletion_beside_an_edit_is_a_conflict_either_way(*, edit_first: bool) -> None:
    """Whichever arrives second meets the conflict, and the first is its rival."""
    written, edited, deleted = write(A, caption="a"), write(B, A, caption="b"), write(C, A, delete=True)
    first, second = (edited, deleted) if edit_first else (deleted, edited)
    outcome = merge(merged([written, first]), second, POLICIES)
    assert (outcome.verdict, outcome.conflict_fields, outcome.rivals) == (
        Verdict.CONFLICT,
        (DELETED,),
        frozenset({first.dot}),
    )


def test_an_edit_under_a_conflict_of_deletion_has_only_the_deletions_as_rivals() -> None:
    """What a deletion covers is on nobody's side."""
    state = merged([write(A, caption="a"), write(B, A, delete=True)])
    assert merge(state, write(C, A, result="01"), POLICIES).rivals == {B}


def test_an_act_that_had_seen_a_dot_nobody_has_supersedes_nothing() -> None:
    """Dots of other records or of nobody do no harm."""
    outcome = merge(merged([write(A, result="01")]), write(B, D, result="02"), POLICIES)
    assert outcome.verdict is Verdict.CONFLICT


@given(histories(), st.randoms(use_true_random=False))
def test_the_open_conflicts_do_not_depend_on_the_order(acts: list[Change], randomness: random.Random) -> None:
    """Every causal order ends with the same fields to decide."""
    one, two = merged(causal_order(acts, randomness)), merged(causal_order(acts, randomness))
    assert conflicts(one, POLICIES) == conflicts(two, POLICIES)


@given(histories())
def test_seen_and_its_causes_are_all_that_was_there(acts: list[Change]) -> None:
    """The live dots stand for everything beneath them: the past of an act is what its replica had taken in."""
    history = seen_by(acts)
    for act in acts:
        before = past(act.seen, history)
        state = merged([other for other in acts if other.dot in before])
        assert state.live_dots() == act.seen


@given(histories())
def test_concurrency_is_symmetric_and_irreflexive(acts: list[Change]) -> None:
    """Either side of a concurrent pair names the other, and two acts of one journal are never concurrent."""
    history = seen_by(acts)
    beside = {name: concurrent(name, history) for name in history}
    for name, others in beside.items():
        assert name not in others
        assert all(name in beside[other] for other in others)
        assert all(other.journal != name.journal for other in others)


@given(histories(), st.randoms(use_true_random=False))
def test_statuses_raised_as_acts_arrive_equal_the_definition(acts: list[Change], randomness: random.Random) -> None:
    """Comparing each arriving act with those beside it gives, in any order, the status that the whole history gives."""
    arrived: dict[Dot, Change] = {}
    statuses: dict[Dot, Verdict] = {}
    for act in causal_order(acts, randomness):
        arrived[act.dot], statuses[act.dot] = act, Verdict.APPLIED
        for other in concurrent(act.dot, {name: each.seen for name, each in arrived.items()}):
            to = Verdict.CONFLICT if contradict(act, arrived[other], POLICIES) else Verdict.MERGED
            statuses[act.dot], statuses[other] = raised(statuses[act.dot], to), raised(statuses[other], to)
    whole = {act.dot: act for act in acts}
    assert statuses == {name: status_of(name, whole, POLICIES) for name in whole}


@given(histories(), st.randoms(use_true_random=False))
def test_verdicts_and_rivals_never_claim_more_than_the_status(acts: list[Change], randomness: random.Random) -> None:
    """An act met with a conflict on arrival has the status conflict, and so have its rivals."""
    whole = {act.dot: act for act in acts}
    state, arrived = RecordState(), set[Dot]()
    for act in causal_order(acts, randomness):
        outcome = merge(state, act, POLICIES)
        state = outcome.state
        assert bool(outcome.unseen) == bool(concurrent(act.dot, seen_by(acts)) & arrived)
        arrived.add(act.dot)
        assert RANK[outcome.verdict] <= RANK[status_of(act.dot, whole, POLICIES)]
        assert all(status_of(rival, whole, POLICIES) is Verdict.CONFLICT for rival in outcome.rivals)


@given(histories())
def test_every_open_conflict_has_two_sides_with_that_status(acts: list[Change]) -> None:
    """Nothing is put before people that no two acts contradict each other on."""
    state, whole = merged(acts), {act.dot: act for act in acts}
    for name in conflicts(state, POLICIES):
        sides = {entry.dot for entry in state.live(name)} | (state.spared_dots() if name == DELETED else set())
        assert len(sides) >= 2
        assert {status_of(side, whole, POLICIES) for side in sides} == {Verdict.CONFLICT}


def test_the_status_does_not_depend_on_a_later_act_that_agrees() -> None:
    """The first verdicts differ by order of arrival; the statuses do not."""
    first, rival, changed_mind = write(A, result="01"), write(B, result="02"), write(C, A, result="02")
    acts = {act.dot: act for act in (first, rival, changed_mind)}
    statuses = {name: status_of(name, acts, POLICIES) for name in acts}
    assert statuses == {A: Verdict.CONFLICT, B: Verdict.CONFLICT, C: Verdict.MERGED}
    assert merge(merged([first, changed_mind]), rival, POLICIES).verdict is Verdict.MERGED
    assert merge(merged([first]), rival, POLICIES).verdict is Verdict.CONFLICT


def test_an_act_alone_is_applied() -> None:
    """No concurrent acts, no merge."""
    assert status_of(B, {A: write(A, caption="a"), B: write(B, A, caption="b")}, POLICIES) is Verdict.APPLIED


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (write(A, result="01"), write(B, result="02"), True),
        (write(A, result="01"), write(B, result="01"), False),
        (write(A, result=1), write(B, result=1.0), False),
        (write(A, result=1), write(B, result=True), True),
        (write(A, result="01"), write(B, caption="b"), False),
        (write(A, caption="a"), write(B, caption="b"), False),
        (write(A, extra=1), write(B, extra=2), False),
        (write(A, delete=True), write(B, caption="b"), True),
        (write(A, delete=True), write(B, delete=True), False),
    ],
)
def test_what_contradicts(left: Change, right: Change, *, expected: bool) -> None:
    """Different legal content, or a deletion and an edit; it is the same seen from either side."""
    assert contradict(left, right, POLICIES) is contradict(right, left, POLICIES) is expected


def test_past_follows_every_cause() -> None:
    """Directly and through others; unknown dots have no past."""
    assert past(frozenset({D}), SEEN_BY) == {D, B, A}
    assert past(frozenset({dot(9)}), SEEN_BY) == {dot(9)}
    assert past(frozenset(), SEEN_BY) == frozenset()


def test_concurrent_are_those_on_no_path() -> None:
    """Neither before nor after."""
    assert concurrent(C, SEEN_BY) == {B, D}
    assert concurrent(A, SEEN_BY) == frozenset()
    assert concurrent(D, SEEN_BY) == {C}


def test_a_long_chain_is_no_recursion() -> None:
    """A record with thousands of acts is walked without recursion."""
    chain = [dot(1, seq) for seq in range(1, 5_000)]
    history = {chain[0]: frozenset[Dot]()} | {later: frozenset({earlier}) for earlier, later in pairwise(chain)}
    assert concurrent(chain[0], history) == frozenset()
    assert past(frozenset({chain[-1]}), history) == set(chain)


@pytest.mark.parametrize(
    ("status", "to", "expected"),
    [
        (Verdict.APPLIED, Verdict.MERGED, Verdict.MERGED),
        (Verdict.APPLIED, Verdict.CONFLICT, Verdict.CONFLICT),
        (Verdict.MERGED, Verdict.APPLIED, Verdict.MERGED),
        (Verdict.CONFLICT, Verdict.MERGED, Verdict.CONFLICT),
        (Verdict.CONFLICT, Verdict.CONFLICT, Verdict.CONFLICT),
        (Verdict.HELD, Verdict.CONFLICT, Verdict.HELD),
        (Verdict.QUARANTINED, Verdict.MERGED, Verdict.QUARANTINED),
        (Verdict.APPLIED, Verdict.HELD, Verdict.APPLIED),
        (Verdict.APPLIED, Verdict.QUARANTINED, Verdict.APPLIED),
    ],
)
def test_a_status_rises_and_never_falls(status: Verdict, to: Verdict, expected: Verdict) -> None:
    """Held and quarantined acts are outside the ladder: they take no part in the record yet."""
    assert raised(status, to) is expected


def test_policies_are_an_argument() -> None:
    """The same two acts conflict or not by the policy that the caller hands in."""
    left, right = write(A, word="one"), write(B, word="two")
    manual: Policies = {"word": Policy(Rule.MANUAL)}
    assert merge(merge(RecordState(), left, manual).state, right, manual).verdict is Verdict.CONFLICT
    assert merge(merge(RecordState(), left, {}).state, right, {}).verdict is Verdict.MERGED


@pytest.mark.parametrize(
    ("field", "element"), [("photos", str), ("steps", lambda value: {"rank": value, "value": value})]
)
def test_two_removals_from_one_addition_bring_both_back(field: str, element: Callable[[str], object]) -> None:
    """A removal takes away a whole addition and adds the rest again: two at once undo each other, since adding wins."""
    p, q = element("p"), element("q")
    added = Change(A, frozenset(), 0, {field: {"add": [p, q]}})
    without_p = Change(B, frozenset({A}), 0, {field: {"add": [q], "remove": [str(A)]}})
    without_q = Change(C, frozenset({A}), 0, {field: {"add": [p], "remove": [str(A)]}})
    assert read_record(merged([added, without_p]), POLICIES)[field].value == ["q"]
    for order in ([added, without_p, without_q], [added, without_q, without_p]):
        assert read_record(merged(order), POLICIES)[field].value == ["p", "q"]
