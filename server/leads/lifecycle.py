"""The course of a lead: the state machine, how long each state may last, and how a verified lead may be disposed of.

Days and names follow the general practice of the field; no published standard fixes them, so the hours can be set.
"""

from collections.abc import Mapping

from server.states import StateMachine, Transition

GENERATED, PUSHED, SIGNED_FOR, VERIFYING = "generated", "pushed", "signed_for", "verifying"
CONFIRMED, REFUTED, PARTLY = "confirmed", "refuted", "partly"
DISPOSED, FED_BACK, CLOSED = "disposed", "fed_back", "closed"
OUTCOMES = (CONFIRMED, REFUTED, PARTLY)
"""What verifying may come to: 属实, 不实, 部分属实."""

PUSH, SIGN, VERIFY, CONFIRM, REFUTE, PARTLY_CONFIRM = "push", "sign", "verify", "confirm", "refute", "partly_confirm"
RETURN, DISPOSE, FEED_BACK, CLOSE, DISMISS = "return", "dispose", "feed_back", "close", "dismiss"
OUTCOME_ACTIONS: Mapping[str, str] = {CONFIRMED: CONFIRM, REFUTED: REFUTE, PARTLY: PARTLY_CONFIRM}

LEAD = StateMachine(
    name="lead",
    zh="非现场监管线索",
    en="A lead from off-site supervision",
    initial=GENERATED,
    states={
        GENERATED: ("已生成", "Generated"),
        PUSHED: ("已推送", "Pushed"),
        SIGNED_FOR: ("已签收", "Signed for"),
        VERIFYING: ("核查中", "Verifying"),
        CONFIRMED: ("属实", "Confirmed"),
        REFUTED: ("不实", "Refuted"),
        PARTLY: ("部分属实", "Partly confirmed"),
        DISPOSED: ("已处置", "Disposed of"),
        FED_BACK: ("已反馈", "Fed back"),
        CLOSED: ("已办结", "Closed"),
    },
    transitions=(
        Transition(PUSH, (GENERATED,), PUSHED, "推送", "Push to officers"),
        Transition(DISMISS, (GENERATED,), CLOSED, "不予核查", "Dismiss without verifying"),
        Transition(SIGN, (PUSHED,), SIGNED_FOR, "签收", "Sign for"),
        Transition(VERIFY, (SIGNED_FOR,), VERIFYING, "开始核查", "Begin verifying"),
        Transition(CONFIRM, (VERIFYING,), CONFIRMED, "核实属实", "Confirm"),
        Transition(REFUTE, (VERIFYING,), REFUTED, "核实不实", "Refute"),
        Transition(PARTLY_CONFIRM, (VERIFYING,), PARTLY, "核实部分属实", "Confirm in part"),
        Transition(RETURN, OUTCOMES, VERIFYING, "退回重核", "Return for verifying again"),
        Transition(DISPOSE, OUTCOMES, DISPOSED, "处置", "Dispose of"),
        Transition(FEED_BACK, (DISPOSED,), FED_BACK, "反馈", "Feed back"),
        Transition(CLOSE, (FED_BACK,), CLOSED, "办结", "Close"),
    ),
)
IN_THE_FIELD = (PUSHED, SIGNED_FOR, VERIFYING)
"""States in which officers have the lead, in order."""
DESK_ACTIONS = (DISMISS, CONFIRM, REFUTE, PARTLY_CONFIRM, RETURN, DISPOSE, CLOSE)
"""What people do at the desk; the other actions follow what officers and the platform do."""
REASON_NEEDED = (DISMISS, CONFIRM, REFUTE, PARTLY_CONFIRM, RETURN, DISPOSE)

DEADLINE_HOURS: Mapping[str, int] = {
    GENERATED: 4, PUSHED: 24, SIGNED_FOR: 48, VERIFYING: 120, CONFIRMED: 120, REFUTED: 120, PARTLY: 120, DISPOSED: 24,
    FED_BACK: 120,
}  # fmt: skip
"""Hours within which the next step is due, unless `FIELDPROOF_LEAD_HOURS` says otherwise."""
ESCALATE_AGAIN_HOURS = 24
"""A lead that stays overdue rises a level after each of so many hours."""
DUTY, PREFECTURE, PROVINCE = 1, 2, 3
LEVELS: Mapping[int, tuple[str, str]] = {
    DUTY: ("本级主管", "the department of the place"),
    PREFECTURE: ("市州", "the prefecture"),
    PROVINCE: ("省级", "the province"),
}
"""To whom an overdue lead is escalated, by level."""

DISPOSALS: Mapping[str, tuple[str, ...]] = {
    "rectification": (CONFIRMED, PARTLY),
    "penalty": (CONFIRMED, PARTLY),
    "warning": (CONFIRMED, PARTLY),
    "transfer": (CONFIRMED, PARTLY),
    "sensor-repair": (REFUTED, PARTLY),
    "rule-revision": (REFUTED, PARTLY),
    "none": (REFUTED,),
}
"""Codes of the table `lead_disposal`, and for which outcomes each is possible."""


def escalated_to(region: str, level: int) -> str:
    """Return the division code of the level that an overdue lead of `region` rises to."""
    return {DUTY: region[:6], PREFECTURE: f"{region[:4]}00"}.get(level, f"{region[:2]}0000")
