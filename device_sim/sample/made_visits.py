"""Visits of which there is no real record: those that verify a lead, re-check orders, or were drawn. Pure.

What is found on them follows from a hash of the visit's key, so that both officers' handhelds and every run with the
same seed find the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from device_sim.sample.checklists import STATION
from device_sim.sample.divisions import unit_interval
from device_sim.sample.mapping import MappedAnswer, MappedInspection
from device_sim.sample.results import (
    CORRECTION_ORDERED,
    DOUBLE_RANDOM,
    LEAD,
    NO_PROBLEM,
    PASSED_ON,
    RECHECK,
    ROUTINE_FORM,
    SPECIAL_FORM,
)

FAILS = 0.2
"""Share of the sub-items that fail, on visits that find anything."""
MINOR = REFUTES = 1 / 3
RECHECK_FAILS = 0.2
LENGTH = timedelta(minutes=60)


def verification_visit(key: str, sub_items: Sequence[tuple[str, str]], started_at: datetime) -> MappedInspection:
    """The visit that verifies a lead: all `sub_items` (number, text) answered.

    One lead in three is refuted at once; else one sub-item in five fails, one failure in three of them in a minor way,
    and with minor ones only the lead counts as confirmed in part.
    """
    refuted = unit_interval("refuted", key) < REFUTES
    answers = _answers(key, sub_items, 0.0 if refuted else FAILS, "核查发现问题")
    failed = any(answer.outcome == "fail" for answer in answers)
    return MappedInspection(
        key=key,
        entity="",
        checklist=STATION,
        started_at=started_at,
        ended_at=started_at + LENGTH,
        form=SPECIAL_FORM,
        category=LEAD,
        result=CORRECTION_ORDERED if failed else NO_PROBLEM,
        conclusion="线索属实，已责令改正 / lead confirmed, correction ordered"
        if failed
        else "线索不属实 / lead refuted",
        answers=answers,
        recheck_of=None,
    )


def drawn_visit(
    key: str, checklist: str, sub_items: Sequence[tuple[str, str]], started_at: datetime
) -> MappedInspection:
    """The visit to a drawn entity: all `sub_items` (number, text) answered, one in five of them failed."""
    answers = _answers(key, sub_items, FAILS, "抽查发现问题")
    failed = any(answer.outcome == "fail" for answer in answers)
    return MappedInspection(
        key=key,
        entity="",
        checklist=checklist,
        started_at=started_at,
        ended_at=started_at + LENGTH,
        form=ROUTINE_FORM,
        category=DOUBLE_RANDOM,
        result=CORRECTION_ORDERED if failed else NO_PROBLEM,
        conclusion="发现问题，已责令改正 / problems found, correction ordered"
        if failed
        else "未发现问题 / no problem found",
        answers=answers,
        recheck_of=None,
    )


def recheck_visit(rechecked: str, visit: MappedInspection) -> MappedInspection:
    """The visit that re-checks the orders of an inspection: one order in five is still not met, by a hash of its id."""
    failed = unit_interval("recheck", rechecked) < RECHECK_FAILS
    answers = visit.answers[:1]
    text = visit.answers[0].finding if visit.answers else ""
    if answers:
        outcome, severity = ("fail", "minor") if failed else ("pass", None)
        answers = (MappedAnswer(visit.answers[0].number, outcome, severity, f"复查：{text}"[:200]),)
    return replace(
        visit,
        category=RECHECK,
        answers=answers,
        result=PASSED_ON if failed else NO_PROBLEM,
        conclusion="复查未通过 / still not put right" if failed else "复查通过 / put right",
    )


def _answers(key: str, sub_items: Sequence[tuple[str, str]], fails: float, found: str) -> tuple[MappedAnswer, ...]:
    return tuple(
        MappedAnswer(number, "fail", _severity(key, number), f"{found}：{text}"[:200])
        if unit_interval("verify", key, number) < fails
        else MappedAnswer(number, "pass", None, "符合要求 / complies")
        for number, text in sub_items
    )


def _severity(key: str, number: str) -> str:
    return "minor" if unit_interval("severity", key, number) < MINOR else "major"
