"""What records ought to say, told a second time and as simply as possible, from nothing but the acts.

This shares no merging code with the platform: a value is live unless an act that had seen it replaced it. The policies
of the fields come from the schemas, which are the contract.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.kinds import KINDS, policy_table
from schemas.kinds.field_work import UNSIGNED_FIELDS

Key = tuple[str, str]
SETTLED = ("applied", "merged", "conflict")
RULED = ("mended", "dismissed")
"""An act that a person has ruled on is in no record, and nothing waits for it any more."""


@dataclass(frozen=True)
class PlainAct:
    """One act as decoded JSON."""

    dot: str
    kind: str
    record: str
    delete: bool
    seen: frozenset[str]
    fields: Mapping[str, Any]
    at_ms: int
    author: str

    def order(self) -> tuple[str, int]:
        """Return the dot as something to sort by."""
        journal, _, seq = self.dot.rpartition(":")
        return journal, int(seq)


@dataclass
class PlainRecord:
    """A record by its acts."""

    kind: str
    acts: dict[str, PlainAct] = field(default_factory=dict)

    def policy(self, name: str) -> tuple[str, tuple[str, ...]]:
        """Return a field's read rule and order."""
        rule, order = policy_table(KINDS[self.kind].schema).get(name, ("latest", ()))
        return str(rule), tuple(order)

    def names(self) -> list[str]:
        """Return every field that any act set."""
        return sorted({name for act in self.acts.values() for name in act.fields})

    def live(self, name: str) -> list[PlainAct]:
        """Return the acts whose value of a field nobody who had seen it replaced, by dot."""
        rule, _ = self.policy(name)
        found = []
        for act in self.acts.values():
            if act.delete or name not in act.fields:
                continue
            replaced = any(
                act.dot in other.seen and name in other.fields and _replaces(rule, other, act, name)
                for other in self.acts.values()
            )
            if not replaced:
                found.append(act)
        return sorted(found, key=PlainAct.order)

    def deletions(self) -> list[PlainAct]:
        """Return the deletions that nobody has seen and gone on from."""
        marks = [act for act in self.acts.values() if act.delete]
        return sorted((m for m in marks if not any(m.dot in a.seen for a in self.acts.values())), key=PlainAct.order)

    def spared(self) -> set[str]:
        """Return the live values that no live deletion covers."""
        covered = {dot for mark in self.deletions() for dot in mark.seen}
        return {act.dot for name in self.names() for act in self.live(name)} - covered

    def deleted(self) -> bool:
        """Tell whether the record is gone."""
        return bool(self.deletions()) and not self.spared()

    def served(self) -> dict[str, list[tuple[str, Any, int]]]:
        """Return the live values of each field as a pulled line holds them."""
        rows: dict[str, list[tuple[str, Any, int]]] = {}
        for name in self.names():
            added = self.policy(name)[0] == "set"
            values = [
                (a.dot, a.fields[name].get("add", []) if added else a.fields[name], a.at_ms) for a in self.live(name)
            ]
            if values:
                rows[name] = values
        marks = [(mark.dot, sorted(mark.seen, key=_dot_order), mark.at_ms) for mark in self.deletions()]
        return rows | ({"_deleted": marks} if marks else {})

    def conflicts(self) -> set[str]:
        """Return the fields that people must decide."""
        if self.deleted():
            return set()
        found = {
            name for name in self.names()
            if self.policy(name)[0] == "manual" and len({_plain(act.fields[name]) for act in self.live(name)}) > 1
        }  # fmt: skip
        return found | ({"_deleted"} if self.deletions() else set())

    def value(self, name: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return what a field reads as; None for no value and for a conflict."""
        rule, order = self.policy(name)
        values = self.live(name)
        by_time = sorted(values, key=lambda act: (act.at_ms, act.order()))
        if rule == "set":
            return [(act, element) for act in values for element in act.fields[name].get("add", [])]
        if not by_time or name in self.conflicts():
            return None
        if rule == "first":
            return by_time[0].fields[name]
        if rule == "monotone":
            return max(by_time, key=lambda act: order.index(act.fields[name])).fields[name]
        return by_time[-1].fields[name]

    def fresh_signers(self) -> set[str]:
        """Return the officers with a signature whose named values still stand."""
        standing = [
            f"{name} {act.dot}" for name in self.names() if name not in UNSIGNED_FIELDS for act in self.live(name)
        ]
        found = set()
        for _, signature in self.value("signatures") or []:
            lines = sorted(line for line in standing if line.split(" ")[1] in signature["dots"])
            digest = hashlib.sha256(b"fieldproof-signature-v1\n" + "\n".join(lines).encode()).hexdigest()
            if digest == signature["digest"]:
                found.add(signature["officer"])
        return found

    def statuses(self) -> dict[str, str]:
        """Return the status every act ought to have among the others."""
        pasts = {dot: self._past(dot) for dot in self.acts}
        found = {}
        for dot, act in self.acts.items():
            beside = [other for other in self.acts if other not in pasts[dot] and dot not in pasts[other]]
            clash = any(self._contradict(act, self.acts[other]) for other in beside) or any(
                self._left_standing(act, other, pasts[dot]) or self._left_standing(other, act, pasts[other.dot])
                for other in self.acts.values()
            )
            found[dot] = "conflict" if clash else "merged" if beside else "applied"
        return found

    def _left_standing(self, later: PlainAct, earlier: PlainAct, past: set[str]) -> bool:
        """Whether an act contradicts a value of its past that it had not seen and that nothing before it replaced."""
        if earlier.dot == later.dot or earlier.dot not in past or earlier.dot in later.seen:
            return False
        if not self._contradict(later, earlier):
            return False
        known = [self.acts[dot] for dot in past if dot in self.acts and dot != later.dot]
        if earlier.delete:
            return not any(earlier.dot in act.seen for act in known)
        names = earlier.fields if later.delete else earlier.fields.keys() & later.fields.keys()
        return any(
            not any(
                earlier.dot in act.seen and name in act.fields and _replaces(self.policy(name)[0], act, earlier, name)
                for act in known
            )
            for name in names
            if later.delete
            or (self.policy(name)[0] == "manual" and _plain(earlier.fields[name]) != _plain(later.fields[name]))
        )

    def _past(self, dot: str) -> set[str]:
        found: set[str] = set()
        todo = [dot]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += self.acts[one].seen if one in self.acts else ()
        return found

    def _contradict(self, left: PlainAct, right: PlainAct) -> bool:
        if left.delete or right.delete:
            return left.delete != right.delete
        both = left.fields.keys() & right.fields.keys()
        manual = [name for name in both if self.policy(name)[0] == "manual"]
        return any(_plain(left.fields[name]) != _plain(right.fields[name]) for name in manual)


def _replaces(rule: str, later: PlainAct, earlier: PlainAct, name: str) -> bool:
    if rule == "append":
        return False
    return rule not in ("set", "list") or earlier.dot in later.fields[name].get("remove", [])


def _plain(value: Any) -> str:  # noqa: ANN401 - any JSON value
    return json.dumps(value, sort_keys=True)


def _dot_order(dot: str) -> tuple[str, int]:
    journal, _, seq = dot.rpartition(":")
    return journal, int(seq)


def plain_act(header: bytes, body: bytes, personal: bytes, at_ms: int, erased: Iterable[str] = ()) -> PlainAct:
    """Decode an act's bytes; what was erased of it reads as null."""
    members = json.loads(header)
    fields = dict(json.loads(body)["fields"]) | dict.fromkeys(erased)
    if personal:
        fields |= json.loads(personal)["fields"]
    return PlainAct(
        dot=f"{members['journal']}:{members['seq']}",
        kind=members["kind"],
        record=members["record"],
        delete=members["op"] == "delete",
        seen=frozenset(members["seen"]),
        fields=fields,
        at_ms=at_ms,
        author=members["officer"],
    )


def fold(acts: Iterable[PlainAct]) -> dict[Key, PlainRecord]:
    """Return the records that these acts amount to."""
    records: dict[Key, PlainRecord] = {}
    for act in acts:
        records.setdefault((act.kind, act.record), PlainRecord(act.kind)).acts[act.dot] = act
    return records
