"""Merging one accepted act into one record, and saying what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sync.dots import Dot
from sync.policies import DEFAULT, Policies, Rule, canonical, conflicts, state_of
from sync.registers import DELETED, Change, RecordState, join


class Verdict(StrEnum):
    """What became of an act, in the order in which a status may rise."""

    APPLIED = "applied"
    MERGED = "merged"
    CONFLICT = "conflict"
    HELD = "held"
    QUARANTINED = "quarantined"
    MENDED = "mended"
    """Was held or quarantined; an act of the office says it right in its place."""
    DISMISSED = "dismissed"
    """Was held or quarantined; a person has ruled that it stays without effect."""


RANK = {Verdict.APPLIED: 0, Verdict.MERGED: 1, Verdict.CONFLICT: 2}


@dataclass(frozen=True)
class Merged:
    """The outcome of one act."""

    state: RecordState
    """The record afterwards, without superseded entries."""
    verdict: Verdict
    unseen: frozenset[Dot]
    """Live dots that the act had not seen: it was written concurrently with them."""
    conflict_fields: tuple[str, ...]
    """Fields that this act set (or kept alive against a deletion) and that people must now decide."""
    rivals: frozenset[Dot]
    """Dots of the other sides of those conflicts."""


def merge(state: RecordState, change: Change, policies: Policies) -> Merged:
    """Merge an act into the record's state: once, and after everything it had seen.

    Raises:
        ValueError: the value of a set field is not a set change; schemas refuse such acts.
    """
    unseen = state.live_dots() - change.seen - {change.dot}
    after = join(state, state_of(change, policies)).pruned()
    mine = tuple(name for name in conflicts(after, policies) if change.dot in sides(after, name))
    rivals = frozenset(dot for name in mine for dot in sides(after, name)) - {change.dot}
    verdict = Verdict.CONFLICT if mine else Verdict.MERGED if unseen else Verdict.APPLIED
    return Merged(after, verdict, unseen, mine, rivals)


def sides(state: RecordState, name: str) -> frozenset[Dot]:
    """Return the dots on all sides of a conflict; deletions stand against the values that none of them covers."""
    live = frozenset(entry.dot for entry in state.live(name))
    return live | state.spared_dots() if name == DELETED else live


def raised(status: Verdict, to: Verdict) -> Verdict:
    """Return the higher of two statuses; a status is never lowered, also not by a later resolution."""
    return to if RANK.get(to, -1) > RANK.get(status, len(RANK)) else status


def past(dots: frozenset[Dot], seen_by: Mapping[Dot, frozenset[Dot]]) -> frozenset[Dot]:
    """Return the causal past of some dots (themselves included): everything seen by them, by what they saw, and so on.

    Args:
        dots: where to start.
        seen_by: for each act of the record, the dots it had seen; unknown dots have no past.
    """
    found: set[Dot] = set()
    todo = list(dots)
    while todo:
        dot = todo.pop()
        if dot not in found:
            found.add(dot)
            todo.extend(seen_by.get(dot, frozenset()))
    return frozenset(found)


def concurrent(dot: Dot, seen_by: Mapping[Dot, frozenset[Dot]]) -> frozenset[Dot]:
    """Return the acts of a record that neither saw `dot` nor were seen by it, directly or through others."""
    children: dict[Dot, set[Dot]] = {}
    for child, parents in seen_by.items():
        for parent in parents:
            children.setdefault(parent, set()).add(child)
    after = past(frozenset({dot}), {parent: frozenset(found) for parent, found in children.items()})
    return frozenset(seen_by) - past(frozenset({dot}), seen_by) - after


def contradict(left: Change, right: Change, policies: Policies) -> bool:
    """Tell whether two concurrent acts say what no machine may choose between.

    They do if one deletes the record that the other edits, or if they set a manual field to different values.
    """
    if left.delete or right.delete:
        return left.delete != right.delete
    both = (name for name in left.fields if name in right.fields and policies.get(name, DEFAULT).rule is Rule.MANUAL)
    return any(canonical(left.fields[name]) != canonical(right.fields[name]) for name in both)


def status_of(dot: Dot, acts: Mapping[Dot, Change], policies: Policies) -> Verdict:
    """Return the status of an act among all applied acts of its record: the same whatever order they came in.

    The first verdict of an act says what it met when it arrived. The status says what it is: conflict if any
    concurrent act contradicts it, merged if there are concurrent acts at all, applied if there are none. Later acts
    that settle a contradiction do not change it.

    Args:
        dot: the act; one of `acts`.
        acts: all applied acts of the record.
        policies: those of its kind.
    """
    rivals = [acts[other] for other in concurrent(dot, {name: act.seen for name, act in acts.items()})]
    if any(contradict(acts[dot], rival, policies) for rival in rivals):
        return Verdict.CONFLICT
    return Verdict.MERGED if rivals else Verdict.APPLIED
