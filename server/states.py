"""State machines as data: which action leads from where to where. All others are refused, and what is legal is said.

The diagrams in docs/states.md are drawn from these same tables.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from server.errors import Problem


@dataclass(frozen=True)
class Transition:
    """One action: from which states it may be taken, and where it leads."""

    action: str
    sources: tuple[str, ...]
    target: str
    zh: str
    en: str


@dataclass(frozen=True)
class StateMachine:
    """A state machine. `states` maps each state to its Chinese and English label.

    Raises:
        ValueError: a transition names an unknown state, an action leads two ways, or a state cannot be reached.
    """

    name: str
    zh: str
    en: str
    initial: str
    states: Mapping[str, tuple[str, str]]
    transitions: tuple[Transition, ...]

    def __post_init__(self) -> None:
        """Refuse a table that contradicts itself."""
        ways = [(source, one.action) for one in self.transitions for source in one.sources]
        named = {self.initial} | {source for source, _ in ways} | {one.target for one in self.transitions}
        if named != set(self.states):
            raise ValueError(f"{self.name}: unknown or unused states {sorted(named ^ set(self.states))}")
        if len(set(ways)) != len(ways):
            raise ValueError(f"{self.name}: an action leads two ways from one state")
        reached = {self.initial}
        while more := {one.target for one in self.transitions if reached & set(one.sources)} - reached:
            reached |= more
        if reached != set(self.states):
            raise ValueError(f"{self.name}: unreachable states {sorted(set(self.states) - reached)}")

    def legal(self, state: str) -> tuple[str, ...]:
        """Return the actions that may be taken in a state."""
        return tuple(one.action for one in self.transitions if state in one.sources)

    def step(self, state: str, action: str) -> str:
        """Return the state that an action leads to.

        Raises:
            Problem: `illegal-transition` naming the legal actions.
        """
        for one in self.transitions:
            if one.action == action and state in one.sources:
                return one.target
        legal = list(self.legal(state))
        detail = f"{action} is not legal in the state {state}; legal: {', '.join(legal) or 'nothing'}"
        raise Problem("illegal-transition", field="action", detail=detail, state=state, legal=legal)

    def mermaid(self) -> str:
        """Draw the machine as a Mermaid state diagram."""
        lines = ["stateDiagram-v2"]
        lines += [f'    state "{zh} {state}" as {state}' for state, (zh, _) in self.states.items()]
        lines.append(f"    [*] --> {self.initial}")
        for one in self.transitions:
            lines += [f"    {source} --> {one.target}: {one.zh} {one.action}" for source in one.sources]
        lines += [f"    {state} --> [*]" for state in self.states if not self.legal(state)]
        return "\n".join(lines)
