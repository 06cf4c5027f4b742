"""State machines as tables: legal steps, refusals that say what is legal, tables that contradict themselves."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.directory.lifecycle import DIRECTORY, PEOPLE_DO
from server.errors import Problem
from server.states import StateMachine, Transition
from tests.documented import MACHINES

STATES = {"a": ("甲", "A"), "b": ("乙", "B")}


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_step_is_in_the_table_or_refused(machine: StateMachine) -> None:
    """For each state and action: the step leads where the table says, or 409 lists what is legal."""
    table = {(source, one.action): one.target for one in machine.transitions for source in one.sources}
    actions = {one.action for one in machine.transitions} | {"no-such-action"}
    for state, action in product(machine.states, actions):
        if (state, action) in table:
            assert machine.step(state, action) == table[state, action]
            continue
        with pytest.raises(Problem) as caught:
            machine.step(state, action)
        assert caught.value.status == 409
        assert caught.value.as_dict()["legal"] == [name for at, name in table if at == state]


@given(st.sampled_from(MACHINES), st.lists(st.integers(0, 20), max_size=30))
def test_walks_stay_in_the_table(machine: StateMachine, choices: list[int]) -> None:
    """Whatever is done in whatever order: legal actions lead to known states, named in both languages, to an end."""
    state = machine.initial
    for choice in choices:
        legal = machine.legal(state)
        if not legal:
            break
        state = machine.step(state, legal[choice % len(legal)])
        assert all(machine.states[state])
    assert all(one.zh and one.en for one in machine.transitions)


def test_the_directory_publishes_only_what_was_reviewed() -> None:
    """The one way to be published leads through review; what ended has no way on."""
    assert [one.sources for one in DIRECTORY.transitions if one.target == "published"] == [("reviewed",)]
    assert [one.sources for one in DIRECTORY.transitions if one.target == "reviewed"] == [("draft",)]
    assert DIRECTORY.legal("superseded") == DIRECTORY.legal("withdrawn") == ()
    assert set(PEOPLE_DO) < {one.action for one in DIRECTORY.transitions}


def test_diagram() -> None:
    """The diagram has every state and step, a beginning and the ends."""
    machine = StateMachine("m", "机", "Machine", "a", STATES, (Transition("go", ("a",), "b", "走", "Go"),))
    assert machine.mermaid().splitlines() == [
        "stateDiagram-v2", '    state "甲 a" as a', '    state "乙 b" as b', "    [*] --> a", "    a --> b: 走 go",
        "    b --> [*]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "transitions",
    [
        (Transition("go", ("a",), "c", "走", "Go"),),
        (Transition("go", ("a",), "b", "走", "Go"), Transition("go", ("a",), "a", "走", "Go")),
        (Transition("go", ("b",), "b", "走", "Go"),),
        (),
    ],
    ids=("unknown-state", "two-ways", "unreachable", "unused"),
)
def test_a_table_that_contradicts_itself_is_refused(transitions: tuple[Transition, ...]) -> None:
    """Such a table never comes into being."""
    with pytest.raises(ValueError, match="m: "):
        StateMachine("m", "机", "Machine", "a", STATES, transitions)
