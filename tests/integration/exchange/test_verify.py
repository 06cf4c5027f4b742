"""Behaviors and the proof log must say the same."""

from collections.abc import Callable

import pytest
from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from server.behaviors.models import Behavior
from server.behaviors.service import correct_behavior
from server.exchange.verify import verify_behaviors
from server.prooflog.models import Leaf, PendingLeaf
from server.prooflog.service import enqueue, sequence_step
from server.runtime import Runtime
from tests.integration.exchange.behaviors import add_behavior, sample_content


@pytest.fixture
def made(rt: Runtime) -> list[str]:
    """Three behaviors in the log, the first corrected, and one more whose leaf still waits."""
    with rt.db.write() as session:
        found = [add_behavior(session, rt) for _ in range(3)]
        correct_behavior(session, rt, found[0], sample_content(rt.now()))
    with rt.db.write() as session:
        sequence_step(session, rt)
        return [*found, add_behavior(session, rt)]


def test_sound_behaviors_have_no_findings(rt: Runtime, made: list[str]) -> None:
    """Every version is checked, those whose leaf waits as well."""
    with rt.db.read() as session:
        assert verify_behaviors(session) == (len(made) + 1, [])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s, ids: s.execute(update(Behavior).where(Behavior.id == ids[1]).values(line=b"{}")), "commit to its"),
        (lambda s, ids: s.execute(delete(Leaf).where(Leaf.ref == f"{ids[1]}:1")), "does not hold its leaf"),
        (lambda s, ids: s.execute(delete(PendingLeaf)), "does not hold its leaf"),
        (lambda s, ids: s.execute(delete(Behavior).where(Behavior.id == ids[2])), "is not there"),
        (
            lambda s, ids: s.execute(delete(Behavior).where(Behavior.id == ids[0], Behavior.version == 1)),
            "the version before it",
        ),
    ],
    ids=["content", "leaf", "waiting leaf", "behavior", "version"],
)
def test_damage_is_named(
    rt: Runtime, made: list[str], change: Callable[[Session, list[str]], object], named: str
) -> None:
    """Changed content, lost leaves and lost versions are found."""
    with rt.db.write() as session:
        change(session, made)
    with rt.db.read() as session:
        findings = verify_behaviors(session)[1]
    assert any(named in finding for finding in findings), findings
    assert len(findings) <= 2


def test_a_second_leaf_is_named(rt: Runtime, made: list[str]) -> None:
    """Two different leaves for one version are found."""
    with rt.db.write() as session:
        enqueue(session, rt, "behavior", f"{made[1]}:1", b"{}")
    with rt.db.read() as session:
        assert "more than one leaf" in verify_behaviors(session)[1][0]
