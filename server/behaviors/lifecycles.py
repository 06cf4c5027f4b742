"""The courses that behaviors, their reviews' subjects and their publications take: state machines as data.

Penalty: the ordinary procedure of the Administrative Penalty Law, chapter 5. Coercion: the Administrative Coercion Law,
chapters 3 and 4. What each step needs of the national fields stands in `STEP_FIELDS`.
"""

from collections.abc import Mapping

from server.states import StateMachine, Transition

DRAFT, FILED, PROPOSED, REVIEWING, APPROVED = "draft", "filed", "proposed", "reviewing", "approved"
ISSUED, IN_FORCE, LIFTED, EXECUTED, CLOSED, WITHDRAWN = (
    "issued", "in_force", "lifted", "executed", "closed", "withdrawn",
)  # fmt: skip
FILE, PROPOSE, REQUEST_REVIEW, APPROVE, RETURN = "file", "propose", "request_review", "approve", "return"
ISSUE, START, EXTEND, LIFT, EXECUTE, CLOSE, WITHDRAW = (
    "issue", "start", "extend", "lift", "execute", "close", "withdraw",
)  # fmt: skip
REVIEWERS_DO = (APPROVE,)
"""Actions that only another, qualified person takes; in review also `return`."""
EDITABLE = (DRAFT, FILED)
"""States in which the content is still written."""

_REVIEW = (
    Transition(REQUEST_REVIEW, (PROPOSED,), REVIEWING, "送法制审核", "Send for legal review"),
    Transition(APPROVE, (REVIEWING,), APPROVED, "审核通过", "Approve"),
)

PENALTY = StateMachine(
    name="penalty",
    zh="行政处罚",
    en="A penalty",
    initial=DRAFT,
    states={
        DRAFT: ("草拟", "Draft"),
        FILED: ("已立案", "Filed"),
        PROPOSED: ("拟作决定", "Proposed"),
        REVIEWING: ("法制审核中", "In legal review"),
        APPROVED: ("审核通过", "Approved"),
        ISSUED: ("已决定", "Issued"),
        EXECUTED: ("已执行", "Executed"),
        CLOSED: ("已结案", "Closed"),
        WITHDRAWN: ("已撤销", "Withdrawn"),
    },
    transitions=(
        Transition(FILE, (DRAFT,), FILED, "立案", "File the case"),
        Transition(PROPOSE, (FILED,), PROPOSED, "提出处理意见", "Propose the decision"),
        *_REVIEW,
        Transition(RETURN, (PROPOSED, REVIEWING), FILED, "退回补正", "Return for correction"),
        Transition(ISSUE, (PROPOSED, APPROVED), ISSUED, "作出决定", "Issue the decision"),
        Transition(EXECUTE, (ISSUED,), EXECUTED, "执行完毕", "Note its execution"),
        Transition(CLOSE, (ISSUED, EXECUTED), CLOSED, "结案", "Close the case"),
        Transition(WITHDRAW, (DRAFT, FILED, PROPOSED), WITHDRAWN, "撤销立案", "Withdraw the case"),
    ),
)
COERCION = StateMachine(
    name="coercion",
    zh="行政强制",
    en="A coercive measure",
    initial=DRAFT,
    states={
        DRAFT: ("草拟", "Draft"),
        PROPOSED: ("拟作决定", "Proposed"),
        REVIEWING: ("法制审核中", "In legal review"),
        APPROVED: ("审核通过", "Approved"),
        ISSUED: ("已决定", "Issued"),
        IN_FORCE: ("实施中", "In force"),
        LIFTED: ("已解除", "Lifted"),
        CLOSED: ("已办结", "Closed"),
        WITHDRAWN: ("已撤销", "Withdrawn"),
    },
    transitions=(
        Transition(PROPOSE, (DRAFT,), PROPOSED, "提出处理意见", "Propose the decision"),
        *_REVIEW,
        Transition(RETURN, (PROPOSED, REVIEWING), DRAFT, "退回补正", "Return for correction"),
        Transition(ISSUE, (PROPOSED, APPROVED), ISSUED, "作出决定", "Issue the decision"),
        Transition(START, (ISSUED,), IN_FORCE, "实施", "Carry it out"),
        Transition(EXTEND, (IN_FORCE,), IN_FORCE, "延长期限", "Extend it"),
        Transition(LIFT, (IN_FORCE,), LIFTED, "解除", "Lift it"),
        Transition(CLOSE, (ISSUED, LIFTED), CLOSED, "办结", "Close it"),
        Transition(WITHDRAW, (DRAFT, PROPOSED), WITHDRAWN, "撤销", "Withdraw it"),
    ),
)
OTHER = StateMachine(
    name="other",
    zh="其他监管行为",
    en="Another behavior",
    initial=DRAFT,
    states={
        DRAFT: ("草拟", "Draft"),
        ISSUED: ("已实施", "Issued"),
        CLOSED: ("已办结", "Closed"),
        WITHDRAWN: ("已撤销", "Withdrawn"),
    },
    transitions=(
        Transition(ISSUE, (DRAFT,), ISSUED, "实施", "Issue it"),
        Transition(CLOSE, (ISSUED,), CLOSED, "办结", "Close it"),
        Transition(WITHDRAW, (DRAFT,), WITHDRAWN, "撤销", "Withdraw it"),
    ),
)
LIFECYCLES: Mapping[str, StateMachine] = {"penalty": PENALTY, "coercion": COERCION, "other": OTHER}
"""The course of each kind of behavior that follows an inspection; inspections are made in the field."""

DUE, PUBLISHED, WITHHELD, TAKEN_DOWN = "due", "published", "withheld", "taken_down"
PUBLISH, WITHHOLD, TAKE_DOWN = "publish", "withhold", "take_down"
PUBLICATION = StateMachine(
    name="publication",
    zh="行政执法公示",
    en="The publication of a behavior",
    initial=DUE,
    states={
        DUE: ("待公示", "Due"),
        PUBLISHED: ("已公示", "Published"),
        WITHHELD: ("依法不予公开", "Withheld by law"),
        TAKEN_DOWN: ("已撤下", "Taken down"),
    },
    transitions=(
        Transition(PUBLISH, (DUE, WITHHELD, TAKEN_DOWN), PUBLISHED, "公示", "Publish"),
        Transition(WITHHOLD, (DUE,), WITHHELD, "不予公开", "Withhold"),
        Transition(TAKE_DOWN, (PUBLISHED,), TAKEN_DOWN, "撤下", "Take down"),
    ),
)

_COERCION_COURSE = ("execution", "started_at", "extended_until", "ended_at", "outcome")
LATER_FIELDS: Mapping[str, tuple[str, ...]] = {
    "penalty": ("execution", "paid_yuan", "reconsideration", "litigation", "closed_at"),
    "coercion": _COERCION_COURSE,
    "other": ("measures", "closing_state", "ended_at"),
}
"""National fields that may still change once a behavior is issued: the decision itself may not."""
GIVEN_AT_ISSUE: Mapping[str, tuple[str, ...]] = {
    "penalty": ("decision_number", "decided_at"),
    "coercion": ("decision_number",),
    "other": (),
}
"""Required national fields that a proposal does not have yet."""
STEP_FIELDS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("penalty", FILE): ("case_source", "facts", "filed_at"),
    ("penalty", EXECUTE): ("execution",),
    ("penalty", CLOSE): ("closed_at",),
    ("coercion", START): ("started_at",),
    ("coercion", EXTEND): ("extended_until",),
    ("coercion", LIFT): ("ended_at",),
    ("other", CLOSE): ("closing_state",),
}
"""Fields that a step needs beside those the national list requires of an issued behavior."""
DECISION_FIELDS: Mapping[str, tuple[str, ...]] = {
    "penalty": (
        "kinds", "fine_yuan", "no_penalty", "outcome", "basis", "decision_number", "decided_at", "major_case",
        "criminal_referral", "hearing", "legal_review", "legal_review_opinion",
    ),
    "coercion": ("kind", "basis", "decision_number"),
}  # fmt: skip
"""What was decided, and perhaps reviewed: a correction leaves it alone."""
