"""The life of a version in the directory: drafted, reviewed by another person, published, superseded or withdrawn."""

from server.states import StateMachine, Transition

DRAFT, REVIEWED, PUBLISHED, SUPERSEDED, WITHDRAWN = "draft", "reviewed", "published", "superseded", "withdrawn"
REVIEW, PUBLISH, WITHDRAW, SUPERSEDE = "review", "publish", "withdraw", "supersede"
PEOPLE_DO = (REVIEW, PUBLISH, WITHDRAW)
"""Actions that a person takes; superseding follows from a newer version."""
OPEN = (DRAFT, REVIEWED)

DIRECTORY = StateMachine(
    name="directory",
    zh="监管事项与检查清单的版本",
    en="A version of a supervision item or checklist",
    initial=DRAFT,
    states={
        DRAFT: ("草稿", "Draft"),
        REVIEWED: ("已审核", "Reviewed"),
        PUBLISHED: ("已发布", "Published"),
        SUPERSEDED: ("已被替代", "Superseded"),
        WITHDRAWN: ("已撤回", "Withdrawn"),
    },
    transitions=(
        Transition(REVIEW, (DRAFT,), REVIEWED, "审核", "Review"),
        Transition(PUBLISH, (REVIEWED,), PUBLISHED, "发布", "Publish"),
        Transition(WITHDRAW, (DRAFT, REVIEWED, PUBLISHED), WITHDRAWN, "撤回", "Withdraw"),
        Transition(SUPERSEDE, (DRAFT, REVIEWED, PUBLISHED), SUPERSEDED, "替代", "Supersede"),
    ),
)
