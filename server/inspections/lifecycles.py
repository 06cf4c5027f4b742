"""The courses of an inspection and of a rectification order: state machines as data.

Their states travel in synced records, where they only ever go forward (`monotone`); what leads from one to the next
stands here, and which states the office alone sets.
"""

from collections.abc import Mapping

from server.states import StateMachine, Transition

OPEN, SUBMITTED, CLOSED = "open", "submitted", "closed"
SUBMIT, CLOSE, CORRECT = "submit", "close", "correct"
INSPECTION = StateMachine(
    name="inspection",
    zh="行政检查",
    en="An inspection",
    initial=OPEN,
    states={OPEN: ("进行中", "Open"), SUBMITTED: ("已提交", "Submitted"), CLOSED: ("已办结", "Closed")},
    transitions=(
        Transition(SUBMIT, (OPEN,), SUBMITTED, "现场提交", "Submitted in the field"),
        Transition(CLOSE, (SUBMITTED,), CLOSED, "齐备后办结", "Closed once nothing is missing"),
        Transition(CORRECT, (CLOSED,), CLOSED, "更正", "Corrected by a new version"),
    ),
)

ORDERED, REPORTED, RECHECKED, PENALTY = "ordered", "reported", "rechecked", "penalty"
REPORT, EXTEND, RECHECK, PENALIZE = "report", "extend", "recheck", "penalize"
RECTIFICATION = StateMachine(
    name="rectification",
    zh="责令整改",
    en="A rectification order",
    initial=ORDERED,
    states={
        ORDERED: ("待整改", "Ordered"),
        REPORTED: ("已报告", "Reported"),
        RECHECKED: ("已复查", "Re-checked"),
        CLOSED: ("已销号", "Closed"),
        PENALTY: ("转行政处罚", "Passed on for a penalty"),
    },
    transitions=(
        Transition(EXTEND, (ORDERED,), ORDERED, "延期", "Extend the deadline"),
        Transition(REPORT, (ORDERED,), REPORTED, "报告整改", "Report what was done"),
        Transition(RECHECK, (ORDERED, REPORTED), RECHECKED, "复查", "Re-check"),
        Transition(CLOSE, (RECHECKED,), CLOSED, "销号", "Close"),
        Transition(PENALIZE, (RECHECKED,), PENALTY, "转处罚", "Pass on for a penalty"),
    ),
)
UNSETTLED = (ORDERED, REPORTED)
"""States in which an order waits for its re-check."""
OFFICE_STATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("inspection", "status"): (CLOSED,),
    ("rectification", "status"): (CLOSED,),
}
"""States of synced records that only the office sets."""
