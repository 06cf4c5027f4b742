"""The sentence that explains a lead."""

from datetime import UTC, datetime, timedelta

import pytest

from server.leads.explanation import explain, number
from server.telemetry.rules import Mean

START = datetime(2013, 3, 5, 5, 0, tzinfo=UTC)


def test_the_sentence_says_what_was_counted() -> None:
    """Counts, factor, level, span in local time up to the end of the last hour, and the highest value."""
    means = [Mean(START + timedelta(hours=n), 150.0 + n) for n in range(3)]
    zh, en = explain("PM2.5", "ug/m3", 150.0, means)
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
