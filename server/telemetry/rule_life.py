"""The life of a rule's version: drafted, previewed, put in force, and superseded by the next one."""

from server.states import StateMachine, Transition

DRAFT, ACTIVE, SUPERSEDED, DISCARDED = "draft", "active", "superseded", "discarded"
ACTIVATE, END, DISCARD, SUPERSEDE = "activate", "end", "discard", "supersede"
JUDGING = (ACTIVE, SUPERSEDED)
"""Versions that judge data of the time in which they are in force: a superseded one judges what comes late."""

RULE_LIFE = StateMachine(
    name="rule",
    zh="非现场监管规则的版本",
    en="A version of a rule of off-site supervision",
    initial=DRAFT,
    states={
        DRAFT: ("草稿", "Draft"),
        ACTIVE: ("生效", "Active"),
        SUPERSEDED: ("已被替代", "Superseded"),
        DISCARDED: ("已放弃", "Discarded"),
    },
    transitions=(
        Transition(ACTIVATE, (DRAFT,), ACTIVE, "启用", "Activate"),
        Transition(DISCARD, (DRAFT,), DISCARDED, "放弃", "Discard"),
        Transition(SUPERSEDE, (ACTIVE,), SUPERSEDED, "替代", "Supersede"),
        Transition(END, (ACTIVE,), SUPERSEDED, "停用", "End"),
    ),
)
