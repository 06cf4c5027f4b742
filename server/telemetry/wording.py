"""A rule's finding in words, in both languages: what a lead says of why it was opened. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone

from schemas.telemetry import CODES
from server.telemetry.rules import ABSENCE, DRIFT, EXPRESSION, FLAT, LEVEL, RATE, Mean, Rule, spread

CHINA_TIME = timezone(timedelta(hours=8))
"""Officers read local clock time; China has one zone and no summer time."""
STEPS = {
    60: ("分钟", "one-minute"),
    300: ("五分钟", "five-minute"),
    600: ("十分钟", "ten-minute"),
    900: ("十五分钟", "fifteen-minute"),
    1800: ("半小时", "half-hourly"),
    3600: ("小时", "hourly"),
}
Sentence = tuple[str, str]
"""(Chinese, English)."""


def explain(rule: Rule, means: Sequence[Mean]) -> Sentence:
    """Return (Chinese, English) of e.g. "11 of 12 valid five-minute means of SO2 above 50 mg/m³ from … to …".

    Args:
        rule: the rule.
        means: its values in the window that confirmed the episode, in order of time; at least one.
    """
    zh, en = _WORDS[rule.measure](rule, means)
    start, end = means[0].at.astimezone(CHINA_TIME), (means[-1].at + rule.step).astimezone(CHINA_TIME)
    daily_zh, daily_en = _daily(rule)
    worst_zh, worst_en = _worst(rule, means)
    return (
        f"{_time(start)} 至 {_time(end)}（北京时间{daily_zh}）{zh}{worst_zh}",
        f"{en} from {_time(start)} to {_time(end)} (UTC+8{daily_en}){worst_en}",
    )


def number(value: float) -> str:
    """Return a number without a needless fraction: 150, 3.5."""
    return f"{value:.0f}" if value == int(value) else f"{value:.6g}"


def symbol(unit: str) -> str:
    """Return a unit as it is written behind a number, with a space before it; empty for plain numbers."""
    text = CODES["units"][unit]["symbol"]
    return f" {text}" if text else ""


def _level(rule: Rule, means: Sequence[Mean]) -> Sentence:
    step_zh, step_en = STEPS[rule.step_s]
    than_zh, than_en = ("低于", "below") if rule.below else ("高于", "above")
    level = _amount(rule, rule.threshold)
    return (
        f"{rule.factor} 的 {len(means)} 个有效{step_zh}均值中有 {_beyond(rule, means)} 个{than_zh} {level}",
        f"{_beyond(rule, means)} of {len(means)} valid {step_en} means of {rule.factor} {than_en} {level}",
    )


def _rate(rule: Rule, means: Sequence[Mean]) -> Sentence:
    step_zh, step_en = STEPS[rule.step_s]
    level = _amount(rule, rule.threshold)
    return (
        f"{rule.factor} 的 {len(means)} 个{step_zh}均值变化率中有 {_beyond(rule, means)} 个高于 {level}",
        f"{_beyond(rule, means)} of {len(means)} changes of {step_en} means of {rule.factor} faster than {level}",
    )


def _flat(rule: Rule, means: Sequence[Mean]) -> Sentence:
    step_zh, step_en = STEPS[rule.step_s]
    apart, value = _amount(rule, spread(means)), _amount(rule, means[-1].value)
    return (
        f"{rule.factor} 的 {len(means)} 个有效{step_zh}均值恒为 {value}，相差不超过 {apart}",
        f"{len(means)} valid {step_en} means of {rule.factor} stayed at {value}, no more than {apart} apart,",
    )


def _absence(rule: Rule, means: Sequence[Mean]) -> Sentence:
    level = _amount(rule, rule.threshold)
    return (
        f"{len(means)} 个小时中有 {_beyond(rule, means)} 个缺少 {rule.factor} 有效数据超过 {level}",
        f"{_beyond(rule, means)} of {len(means)} hours lacked more than {level} of the data of {rule.factor}",
    )


def _drift(rule: Rule, means: Sequence[Mean]) -> Sentence:
    step_zh, step_en = STEPS[rule.step_s]
    level, radius = _amount(rule, rule.threshold), number(rule.radius_km)
    count = _beyond(rule, means)
    around_zh, around_en = f"{radius} km 内其他站点中位数", f"the median of the other sites within {radius} km"
    return (
        f"{rule.factor} 的 {len(means)} 个有效{step_zh}均值中有 {count} 个偏离 {around_zh}超过 {level}",
        f"{count} of {len(means)} valid {step_en} means of {rule.factor} more than {level} away from {around_en}",
    )


def _expression(rule: Rule, means: Sequence[Mean]) -> Sentence:
    step_zh, step_en = STEPS[rule.step_s]
    than_zh, than_en = ("低于", "below") if rule.below else ("高于", "above")
    level = _amount(rule, rule.threshold)
    if rule.threshold == 0 and not rule.below and {mean.value for mean in means} <= {0.0, 1.0}:
        zh, en = f"满足 {rule.expression}", f"meet {rule.expression}"
    else:
        zh, en = f"的 {rule.expression} {than_zh} {level}", f"have {rule.expression} {than_en} {level}"
    return (
        f"{len(means)} 个{step_zh}时段中有 {_beyond(rule, means)} 个{zh}",
        f"{_beyond(rule, means)} of {len(means)} {step_en} steps {en}",
    )


_WORDS: Mapping[str, Callable[[Rule, Sequence[Mean]], Sentence]] = {
    LEVEL: _level,
    RATE: _rate,
    FLAT: _flat,
    ABSENCE: _absence,
    DRIFT: _drift,
    EXPRESSION: _expression,
}


def _beyond(rule: Rule, means: Sequence[Mean]) -> int:
    return sum(rule.beyond(mean.value) for mean in means)


def _worst(rule: Rule, means: Sequence[Mean]) -> Sentence:
    if rule.measure == FLAT:
        return "", ""
    value = _amount(rule, rule.worst(mean.value for mean in means))
    return (f"，最低 {value}", f", lowest {value}") if rule.below else (f"，最高 {value}", f", highest {value}")


def _amount(rule: Rule, value: float) -> str:
    an_hour = "/h" if rule.measure == RATE else ""
    return f"{number(value)}{symbol(rule.unit)}{an_hour}"


def _daily(rule: Rule) -> Sentence:
    if rule.daily_from is None or rule.daily_to is None:
        return "", ""
    span = "–".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (rule.daily_from, rule.daily_to))
    return f"，每日 {span}", f", daily {span}"


def _time(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
