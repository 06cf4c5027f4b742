"""The courses of a plan, of a batch and of a drawn visit: state machines as data."""

from server.states import StateMachine, Transition

DRAFT, APPROVED, CLOSED, WITHDRAWN = "draft", "approved", "closed", "withdrawn"
APPROVE, CLOSE, WITHDRAW = "approve", "close", "withdraw"
PLAN = StateMachine(
    name="draw-plan",
    zh="双随机抽查计划",
    en="A plan of double-random inspection",
    initial=DRAFT,
    states={
        DRAFT: ("草拟", "Draft"),
        APPROVED: ("已批准", "Approved"),
        CLOSED: ("已完成", "Closed"),
        WITHDRAWN: ("已撤销", "Withdrawn"),
    },
    transitions=(
        Transition(APPROVE, (DRAFT,), APPROVED, "批准", "Approve"),
        Transition(CLOSE, (APPROVED,), CLOSED, "完成", "Close"),
        Transition(WITHDRAW, (DRAFT,), WITHDRAWN, "撤销", "Withdraw"),
    ),
)

ANNOUNCED, DRAWN, DISPATCHED, COMPLETED, PUBLISHED = "announced", "drawn", "dispatched", "completed", "published"
DRAW, DISPATCH, COMPLETE, PUBLISH, SUBSTITUTE = "draw", "dispatch", "complete", "publish", "substitute"
BATCH = StateMachine(
    name="draw-batch",
    zh="抽查批次",
    en="A batch of a plan",
    initial=ANNOUNCED,
    states={
        ANNOUNCED: ("已公告", "Announced"),
        DRAWN: ("已抽取", "Drawn"),
        DISPATCHED: ("已派发", "Given out"),
        COMPLETED: ("已查毕", "Completed"),
        PUBLISHED: ("已公示", "Published"),
        WITHDRAWN: ("已撤销", "Withdrawn"),
    },
    transitions=(
        Transition(DRAW, (ANNOUNCED,), DRAWN, "抽取", "Draw"),
        Transition(WITHDRAW, (ANNOUNCED,), WITHDRAWN, "撤销并公开种子", "Withdraw, and reveal the secret"),
        Transition(DISPATCH, (DRAWN,), DISPATCHED, "派发任务", "Give out as tasks"),
        Transition(COMPLETE, (DISPATCHED,), COMPLETED, "全部查毕", "Every visit is settled"),
        Transition(PUBLISH, (DISPATCHED,), DISPATCHED, "公示已有结果", "Publish the results so far"),
        Transition(PUBLISH, (COMPLETED,), PUBLISHED, "公示全部结果与抽取文件", "Publish all results and the file"),
    ),
)

WAITING, GIVEN, SETTLED = "waiting", "given", "settled"
GIVE, SETTLE, CANCEL = "give", "settle", "cancel"
VISIT = StateMachine(
    name="drawn-visit",
    zh="抽中的检查",
    en="A drawn visit",
    initial=WAITING,
    states={WAITING: ("待派发", "Waiting"), GIVEN: ("检查中", "Given out"), SETTLED: ("有结果", "Settled")},
    transitions=(
        Transition(SUBSTITUTE, (WAITING,), WAITING, "补抽人员", "Draw officers again"),
        Transition(GIVE, (WAITING,), GIVEN, "派发", "Give out as a task"),
        Transition(SUBSTITUTE, (GIVEN,), GIVEN, "补抽人员", "Draw officers again"),
        Transition(SETTLE, (GIVEN,), SETTLED, "检查办结", "Its inspection closed"),
        Transition(CANCEL, (WAITING,), SETTLED, "未到场认定结果", "A result without a visit"),
    ),
)
