"""The sentence that explains a lead."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.telemetry.rules import MEASURES, STEPS_S, Mean, Rule
from server.telemetry.wording import STEPS, explain, number

START = datetime(2013, 3, 5, 5, 0, tzinfo=UTC)


def rule(**changes: object) -> Rule:
    """Fine particles above 150 µg/m³ for three hours."""
    usual: dict[str, Any] = {
        "id": "r", "code": "r", "version": 1, "factor": "PM2.5", "unit": "ug/m3", "threshold": 150.0,
        "clear_level": 150.0, "window_hours": 3, "min_valid_hours": 1, "max_silence_hours": 24,
    }  # fmt: skip
    return Rule(**(usual | changes))


def said(*values: float, step_s: int = 3600) -> list[Mean]:
    """Values, one after the other."""
    return [Mean(START + timedelta(seconds=step_s * n), value) for n, value in enumerate(values)]


def test_the_sentence_says_what_was_counted() -> None:
    """Counts, factor, level, span in local time up to the end of the last hour, and the highest value."""
    means = [Mean(START + timedelta(hours=n), 150.0 + n) for n in range(3)]
    zh, en = explain(rule(), means)
    assert zh == (
        "2013-03-05 13:00 至 2013-03-05 16:00（北京时间）"
        "PM2.5 的 3 个有效小时均值中有 2 个高于 150 µg/m³，最高 152 µg/m³"
    )
    assert en == (
        "2 of 3 valid hourly means of PM2.5 above 150 µg/m³ from 2013-03-05 13:00 to 2013-03-05 16:00 (UTC+8), "
        "highest 152 µg/m³"
    )


@pytest.mark.parametrize(("value", "text"), [(150.0, "150"), (3.5, "3.5"), (2.26999999, "2.27"), (10000.0, "10000")])
def test_numbers_are_short(value: float, text: str) -> None:
    """No needless fraction."""
    assert number(value) == text


SPAN_ZH = "2013-03-05 13:00 至 2013-03-05 14:00（北京时间）"
SPAN_EN = "from 2013-03-05 13:00 to 2013-03-05 14:00 (UTC+8)"
DRIFTED = "1 of 1 valid hourly means of PM2.5 more than 60 % away from the median of the other sites within 5 km"
HELD = "PM2_5 > PM10"
SENTENCES: dict[str, tuple[dict[str, Any], list[float], str, str]] = {
    "share of five-minute means": (
        {"factor": "SO2", "unit": "mg/m3", "threshold": 50.0, "clear_level": 40.0, "step_s": 300},
        [60.0] * 6 + [45.0] + [70.0] * 5,
        f"{SPAN_ZH}SO2 的 12 个有效五分钟均值中有 11 个高于 50 mg/m³，最高 70 mg/m³",
        f"11 of 12 valid five-minute means of SO2 above 50 mg/m³ {SPAN_EN}, highest 70 mg/m³",
    ),
    "below, by night": (
        {"factor": "pH", "unit": "1", "threshold": 6.0, "clear_level": 6.5, "below": True, "daily_from": 0,
         "daily_to": 390},
        [5.5],
        f"{SPAN_ZH[:-1]}，每日 00:00–06:30）pH 的 1 个有效小时均值中有 1 个低于 6，最低 5.5",
        f"1 of 1 valid hourly means of pH below 6 {SPAN_EN[:-1]}, daily 00:00–06:30), lowest 5.5",
    ),
    "rate": (
        {"measure": "rate"}, [200.0],
        f"{SPAN_ZH}PM2.5 的 1 个小时均值变化率中有 1 个高于 150 µg/m³/h，最高 200 µg/m³/h",
        f"1 of 1 changes of hourly means of PM2.5 faster than 150 µg/m³/h {SPAN_EN}, highest 200 µg/m³/h",
    ),
    "flat": (
        {"measure": "flat", "threshold": 0.0, "clear_level": 0.0}, [42.0],
        f"{SPAN_ZH}PM2.5 的 1 个有效小时均值恒为 42 µg/m³，相差不超过 0 µg/m³",
        f"1 valid hourly means of PM2.5 stayed at 42 µg/m³, no more than 0 µg/m³ apart, {SPAN_EN}",
    ),
    "absence": (
        {"measure": "absence", "unit": "%", "threshold": 25.0, "clear_level": 25.0}, [100.0],
        f"{SPAN_ZH}1 个小时中有 1 个缺少 PM2.5 有效数据超过 25 %，最高 100 %",
        f"1 of 1 hours lacked more than 25 % of the data of PM2.5 {SPAN_EN}, highest 100 %",
    ),
    "drift": (
        {"measure": "drift", "unit": "%", "threshold": 60.0, "clear_level": 60.0, "radius_km": 5.0}, [80.0],
        f"{SPAN_ZH}PM2.5 的 1 个有效小时均值中有 1 个偏离 5 km 内其他站点中位数超过 60 %，最高 80 %",
        f"{DRIFTED} {SPAN_EN}, highest 80 %",
    ),
    "expression that holds": (
        {"measure": "expression", "unit": "1", "threshold": 0.0, "clear_level": 0.0, "expression": HELD}, [1.0],
        f"{SPAN_ZH}1 个小时时段中有 1 个满足 PM2_5 > PM10，最高 1",
        f"1 of 1 hourly steps meet PM2_5 > PM10 {SPAN_EN}, highest 1",
    ),
    "expression of a number": (
        {"measure": "expression", "unit": "mg/m3", "threshold": 35.0, "clear_level": 35.0,
         "expression": "SO2 / (21 - O2) * 15"},
        [40.0],
        f"{SPAN_ZH}1 个小时时段中有 1 个的 SO2 / (21 - O2) * 15 高于 35 mg/m³，最高 40 mg/m³",
        f"1 of 1 hourly steps have SO2 / (21 - O2) * 15 above 35 mg/m³ {SPAN_EN}, highest 40 mg/m³",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SENTENCES)
def test_each_measure_has_its_sentence(name: str) -> None:
    """The finding in words of the rule, in both languages."""
    changes, values, zh, en = SENTENCES[name]
    found = explain(rule(**changes), said(*values, step_s=changes.get("step_s", 3600)))
    assert found == (zh, en)


def test_every_measure_and_step_has_words() -> None:
    """Nothing that a rule may say is left without words."""
    assert {changes.get("measure", "level") for changes, *_ in SENTENCES.values()} == set(MEASURES)
    assert set(STEPS) == set(STEPS_S)
