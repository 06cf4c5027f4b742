"""Every course of a behavior, walked at random: only what its table has is possible, and all of it is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.audit.models import AuditEvent
from server.behaviors.drafting import REASON_NEEDED
from server.behaviors.lifecycles import LIFECYCLES
from server.behaviors.listing import steps_of
from server.behaviors.models import Behavior, Proceeding, Publication
from server.behaviors.proceedings import Opening, Step, legal_actions, open_proceeding, take_step
from server.behaviors.recording import scenes_of
from server.behaviors.reviewing import reviews_of
from server.behaviors.service import content_of
from server.errors import Problem
from server.prooflog.models import PendingLeaf
from server.runtime import Runtime
from server.web.principal import Principal
from tests.integration.behaviors.cases import CONTENT, GIVEN, inspected, person

ACTIONS = sorted({one.action for machine in LIFECYCLES.values() for one in machine.transitions})
LEGAL_OF_1000 = 750
"""So many steps of a walk are drawn from the legal ones, the others from all."""
MAJOR = {"penalty": {"fine_yuan": "200000"}, "coercion": {"kind": "14"}, "other": {}}
SHOWN = {"penalty": {"no_penalty": "1"}, "coercion": {}, "other": {}}
"""Fields that need no recording where a kind has such."""


@contextmanager
def undone(rt: Runtime) -> Iterator[Session]:
    """A write session whose work is rolled back."""
    with rt.db.sessions() as session:
        session.connection().exec_driver_sql("BEGIN IMMEDIATE")
        yield session
        session.rollback()


def attempt(session: Session, rt: Runtime, row: Proceeding, action: str, actors: list[Principal]) -> str | None:
    """Take a step as whoever may; returns the code of the problem, or None."""
    actor = actors[1] if row.state == "reviewing" and action in ("approve", "return") else actors[0]
    given_ = GIVEN.get((row.kind, action), {}) if action in legal_actions(session, row) else {}
    try:
        with session.begin_nested():
            step = Step(action, row.revision, given_, "样例理由" if action in (*REASON_NEEDED, "approve") else "")
            take_step(session, rt, actor, row.id, step)
    except Problem as problem:
        return problem.code
    return None


@pytest.mark.parametrize("kind", LIFECYCLES)
@given(walk=st.lists(st.integers(0, 999), max_size=16), major=st.booleans())
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_only_the_table_decides(rt: Runtime, kind: str, walk: list[int], major: bool) -> None:
    """Whatever is tried in whatever order: a step is taken exactly where the table has it, and the institutions hold.

    Model: the table alone. A step that is not legal answers 409 and changes nothing. A major decision is never issued
    without an approval by another person; nothing closes without what must be on record.
    """
    machine = LIFECYCLES[kind]
    with undone(rt) as session:
        actors = [person(session, rt), person(session, rt, reviewer=True)]
        content = CONTENT[kind] | (MAJOR[kind] if major else {}) | SHOWN[kind]
        opening = Opening(kind, inspected(session, rt), content)
        row = open_proceeding(session, rt, opening, author=actors[0].subject, caller=actors[0])
        taken = 0
        for number in walk:
            before, revision, legal = row.state, row.revision, legal_actions(session, row)
            ways = legal if legal and number < LEGAL_OF_1000 else ACTIONS
            action = ways[number % len(ways)]
            assert set(legal) <= set(machine.legal(before))
            blocked = action == "close" and any(not one.shown for one in scenes_of(session, row.id, kind, content))
            problem = attempt(session, rt, row, action, actors)
            if action in legal and not blocked:
                assert problem is None
                assert (row.state, row.revision) == (machine.step(before, action), revision + 1)
                taken += 1
            else:
                assert (problem, row.state, row.revision) == ("illegal-transition", before, revision)
        check_kept(session, row, taken, major=major and kind != "other", actors=actors)


def check_kept(session: Session, row: Proceeding, taken: int, *, major: bool, actors: list[Principal]) -> None:
    """Each step is noted and audited; each version has its leaf; approval came first where it had to."""
    steps = steps_of(session, row.id)
    assert [one.number for one in steps] == [*range(1, taken + 1)]
    assert [one.source for one in steps[1:]] == [one.target for one in steps[:-1]]
    audited = select(func.count()).where(AuditEvent.subject_id == row.id, AuditEvent.subject_kind == "proceeding")
    decided = [review for review in reviews_of(session, row.id) if review.decided_at is not None]
    assert session.execute(audited).scalar_one() == 1 + taken + len(decided)
    versions = list(session.execute(select(Behavior).where(Behavior.id == row.id).order_by(Behavior.version)).scalars())
    assert [one.version for one in steps if one.version] == [one.version for one in versions]
    leaves = select(PendingLeaf.data).where(PendingLeaf.ref.in_([f"{row.id}:{one.version}" for one in versions]))
    assert sorted(session.execute(leaves).scalars()) == sorted(one.leaf for one in versions)
    assert (session.get(Publication, row.id) is not None) == bool(versions)
    if versions:
        assert row.content == {}, "once issued, the versions alone say what was decided"
        assert json.loads(versions[-1].line)["behavior_kind"] == row.kind
    if versions and major:
        approval = reviews_of(session, row.id)[-1]
        assert (approval.opinion, approval.reviewer) == ("1", actors[1].subject)
        assert approval.reviewer not in {row.author, approval.requested_by}
        if row.kind == "penalty":
            assert content_of(versions[-1])["legal_review_opinion"] == "1"


@pytest.mark.parametrize("kind", LIFECYCLES)
def test_every_transition_can_be_walked(rt: Runtime, kind: str) -> None:
    """From the draft, each transition of the table is reached by some walk: no line of a diagram is only drawn."""
    machine = LIFECYCLES[kind]
    walked: set[tuple[str, str]] = set()
    wanted = {(source, one.action) for one in machine.transitions for source in one.sources}

    def shortest(state: str) -> list[str]:
        paths: dict[str, list[str]] = {machine.initial: []}
        queue = [machine.initial]
        while queue:
            here = queue.pop(0)
            for action in machine.legal(here):
                there = machine.step(here, action)
                if there not in paths:
                    paths[there] = [*paths[here], action]
                    queue.append(there)
        return paths[state]

    for source, action in sorted(wanted):
        with undone(rt) as session:
            walk(session, rt, kind, [*shortest(source), action], walked.add)
    assert walked == wanted


def walk(session: Session, rt: Runtime, kind: str, actions: list[str], note: Callable[[tuple[str, str]], None]) -> None:
    """Walk a course; the recordings that a coercion needs are taken as given."""
    actors = [person(session, rt), person(session, rt, reviewer=True)]
    opening = Opening(kind, inspected(session, rt), CONTENT[kind] | SHOWN[kind])
    row = open_proceeding(session, rt, opening, author=actors[0].subject)
    for action in actions:
        source = row.state
        problem = attempt(session, rt, row, action, actors)
        assert problem is None or (kind, action) == ("coercion", "close"), (source, action, problem)
        note((source, action))
