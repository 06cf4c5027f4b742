"""What a draw did with an entity or an officer, in words: Chinese first, English second. Pure."""

from collections.abc import Mapping

from server.inspections.draw import CAP, DRAWN, EXCLUDED, NO_STRATUM, NO_TICKETS, Rules

LEFT_OUT: Mapping[str, tuple[str, str]] = {
    CAP: ("本年检查次数已达频次上限", "it has been inspected as often this year as the rules allow"),
    NO_STRATUM: ("其风险与信用等级不属于任何分层", "no stratum has its risk and credit grades"),
    NO_TICKETS: ("其信用等级没有抽签券", "its credit grade gives it no tickets"),
    "closed": ("该对象已停业", "it is closed"),
    "merged": ("该对象已并入另一对象", "it was merged into another entity"),
}
"""Why entities are left out."""
REFUSED: Mapping[str, tuple[str, str]] = {
    "certificate-expired": ("执法证未覆盖检查期间", "the certificate does not cover the days of the visits"),
    "out-of-scope": ("执法证不含该领域", "the certificate does not cover the sector"),
    "avoidance": ("与对象存在回避关系", "must keep away from the entity"),
    "at-capacity": ("任务已满", "has as much work as one officer may have"),
    "substituted": ("已说明不能参加", "was said to be unable to go"),
    "elsewhere": ("辖区不同", "works in another place"),
    "outdrawn": ("签号较低或任务较多", "others had better tickets or less work"),
}
"""Why officers were not drawn."""


def both(zh: str, en: str) -> str:
    """Join the two languages."""
    return f"{zh} / {en}"


def entity_words(
    rules: Rules, outcome: str, where: str, best: int, *, credit: str, visits: int, cut: int
) -> tuple[str, str]:
    """Say why an entity was drawn, passed over or left out.

    Args:
        rules: the published rules.
        outcome: as the file says.
        where: its stratum, or the reason for being left out.
        best: its best ticket.
        credit: its credit grade.
        visits: its visits of the year so far.
        cut: the lowest ticket drawn in its stratum.
    """
    if outcome == EXCLUDED:
        zh, en = LEFT_OUT.get(where, (where, where))
        if where == CAP:
            zh, en = f"{zh}（{visits}/{rules.visits_cap}）", f"{en} ({visits} of {rules.visits_cap})"
        return f"排除：{zh}", f"Left out: {en}"
    count = rules.tickets.get(credit, 0)
    zh = f"分层“{where}”，信用等级 {credit}，{count} 张抽签券，最佳签号 {best:016x}"
    en = f"stratum {where}, credit grade {credit}, {count} tickets, the best of them {best:016x}"
    if outcome == DRAWN:
        return f"抽中：{zh}，不低于末位签号 {cut:016x}", f"Drawn: {en}, not below the last one drawn, {cut:016x}"
    return f"未抽中：{zh}，低于末位签号 {cut:016x}", f"Passed over: {en}, below the last one drawn, {cut:016x}"


def refusal_words(reason: str) -> tuple[str, str]:
    """Say why an officer was not drawn."""
    return REFUSED.get(reason, (reason, reason))
