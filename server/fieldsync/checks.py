"""Checking one act before it is merged: shape, commitments, kind, fields, scope. A fault quarantines this act alone."""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from marshmallow import EXCLUDE, RAISE, ValidationError

from schemas.compiled import Check, compile_schema
from schemas.kinds import KINDS, KindSchema, Writer, personal_fields
from server.errors import Problem
from server.fieldsync.segment import LinkedAct, Segment
from server.inspections.lifecycles import OFFICE_STATES
from server.records.lines import Placement, policies_of
from server.records.served import LiveValues
from server.web.body import parse_json
from server.web.principal import Principal, covers
from server.web.problems import first_message
from sync.acts import DELETE, ActError, Header, all_fields, check_commitments, is_erased, parse_fields, parse_header
from sync.policies import Policy, Rule, read

PARENTS = {"inspection": "entity", "answer": "inspection", "evidence": "inspection", "rectification": "inspection"}
"""Where a record made in the field belongs: it takes its place from the record of this kind, named in this field."""
CLOSED_WITH_INSPECTION = ("inspection", "answer", "evidence")
"""Kinds that a behavior is made of; rectification goes on after the inspection is closed."""
OPEN_AFTER_CLOSING = frozenset({"notes", "status"})


class CheckedAct(NamedTuple):
    """An act whose content is sound."""

    header: Header
    fields: Mapping[str, Any]


def check_act(act: LinkedAct, caller: Principal) -> CheckedAct:
    """Check everything that can be said of an act without its record.

    Raises:
        Problem: what is wrong, with the field and the limit.
    """
    try:
        header = act.header or parse_header(act.members)
        check_commitments(header, act.parts, erasable=True)  # whether it was erased, its record knows
        fields = parse_fields("body", parse_json(act.parts.body))
        gone = header.personal is not None and is_erased(act.parts.personal) and header.op != DELETE
        personal = parse_fields("personal", parse_json(act.parts.personal)) if act.parts.personal and not gone else {}
        everything = fields if gone else all_fields(header.op, fields, personal)
    except ActError as error:
        raise Problem("invalid-field", field=error.field, detail=error.reason, limit=error.limit) from error
    if header.officer not in caller.officers:
        raise Problem("forbidden", field="officer", detail="this officer does not work with this device")
    kind = KINDS.get(header.kind)
    if kind is None or kind.writer is Writer.OFFICE:
        raise Problem("unknown-kind", field="kind", detail=f"handhelds do not write {header.kind[:64]!r}")
    newer = header.schema > kind.version
    unknown = EXCLUDE if newer else RAISE
    if not _certain(kind.schema, unknown)(everything):
        _check_fields(_schema(kind.schema, unknown), everything)
    private = personal_fields(kind.schema)
    for name in fields.keys() & private:
        raise Problem("invalid-field", field=name, detail="is personal and belongs into the personal part")
    for name in personal.keys() - private:
        if not newer:
            raise Problem("invalid-field", field=name, detail="is not personal and belongs into the body")
    return CheckedAct(header, everything)


@cache
def _schema(kind: type[KindSchema], unknown: Any) -> KindSchema:  # noqa: ANN401 - one of marshmallow's constants
    """Return the schema of a kind for partial changes; made once, since making one costs more than using it."""
    return kind(partial=True, unknown=unknown)


@cache
def _certain(kind: type[KindSchema], unknown: Any) -> Check:  # noqa: ANN401 - one of marshmallow's constants
    """Return the compiled check of a kind: what it does not recognise as good is left to the schema."""
    return compile_schema(_schema(kind, unknown), partial=True)


def check_acts(segment: Segment, caller: Principal) -> dict[int, CheckedAct | Problem]:
    """Check all acts of a segment; returns for each number what is sound, or what is wrong with it.

    This needs no database, so it is done before the write lock is taken.
    """
    outcome: dict[int, CheckedAct | Problem] = {}
    for act in segment.acts:
        try:
            outcome[act.seq] = check_act(act, caller)
        except Problem as problem:
            outcome[act.seq] = problem
    return outcome


def _check_fields(schema: KindSchema, fields: Mapping[str, Any]) -> None:
    try:
        schema.load(fields)
    except ValidationError as error:
        name, reason = first_message(error.messages)
        raise Problem("invalid-field", field=name, detail=reason) from error


def check_place(caller: Principal, placement: Placement, former: tuple[str, ...]) -> None:
    """Refuse acts on records that are not this device's business.

    A record that was once assigned to one of the device's officers stays its business: what was written before the
    reassignment reached the device lands, in the officer's name.

    Raises:
        Problem: `forbidden`.
    """
    if not {*placement.assignees, *former}.isdisjoint(caller.officers):
        return
    place_ok = covers(caller, placement.region, placement.department or caller.department)
    if not place_ok or placement.assignees:
        raise Problem("forbidden", field="record", detail="the record lies outside this device's scope")


def check_open(act: CheckedAct, inspection: LiveValues) -> None:
    """Refuse late changes of a closed inspection or its findings: what a behavior was made of does not change silently.

    The act stays as bytes for a person, who may have a correction issued. Notes and the state of the work may follow.

    Raises:
        Problem: `illegal-transition`.
    """
    if act.header.kind == "inspection" and act.fields.keys() <= OPEN_AFTER_CLOSING and act.header.op != DELETE:
        return
    if read(policies_of("inspection")["status"], inspection.live("status")).value == "closed":
        raise Problem(
            "illegal-transition", field="record", detail="the inspection is closed; only corrections change it"
        )


@cache
def _states_of(kind: str) -> tuple[tuple[str, Policy], ...]:
    """Return the fields of a kind that hold a state."""
    return tuple((name, policy) for name, policy in policies_of(kind).items() if policy.rule is Rule.MONOTONE)


def check_states(act: CheckedAct, state: LiveValues) -> None:
    """Refuse states that are not a handheld's to set, and going back on a state it had seen.

    An earlier state written without having seen the later one is no fault: the later one stands (see the merge rules).

    Raises:
        Problem: `illegal-transition` with the field.
    """
    kind = act.header.kind
    for name, policy in _states_of(kind):
        value = act.fields.get(name)
        if value not in policy.order:
            continue
        if value in OFFICE_STATES.get((kind, name), ()):
            raise Problem("illegal-transition", field=name, detail=f"only the office sets {value!r}")
        if not act.header.seen:
            continue  # it makes the record
        seen = [entry for entry in state.live(name) if entry.dot in act.header.seen]
        reached = read(policy, seen).value
        if reached in policy.order and policy.order.index(value) < policy.order.index(reached):
            raise Problem("illegal-transition", field=name, detail=f"is {reached!r} already")
