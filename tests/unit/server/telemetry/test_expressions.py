"""Expressions over channels: what they come to, and that nothing but arithmetic is within reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.telemetry.expressions import LENGTH_LIMIT_CHARS, NODES_LIMIT, Expression

VALUES = {"SO2": 40.0, "O2": 6.0, "PM2.5": 80.0, "PM10": 60.0, "NH3-N": 2.0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("SO2 / (21 - O2) * 15", 40.0),
        ("PM2_5 > PM10", 1.0),
        ("PM2_5 > PM10 and O2 > 10", 0.0),
        ("not O2 >= 6", 0.0),
        ("max(SO2, NH3_N, 50) - abs(-O2)", 44.0),
        ("SO2 if 5 < O2 < 7 else 0", 40.0),
        ("SO2 / (O2 - 6)", None),
        ("SO2 * 1e308 * 10", None),
        ("CO + SO2", None),
        ("min(3) + min(O2, 1)", None),
    ],
)
def test_values(text: str, value: float | None) -> None:
    """Arithmetic as written; nothing where a channel is missing or the result is no number."""
    assert Expression(text).value(VALUES) == value


def test_factors_are_named() -> None:
    """An expression knows the codes of the channels it needs."""
    assert Expression("PM2_5 / PM10 + abs(NH3_N)").factors == {"PM2.5", "PM10", "NH3-N"}


@pytest.mark.parametrize(
    "text",
    [
        "", "SO2 >", "1 + 1", "SO2 ** 9", "SO2 % 2", "SO2 << 3", "__import__('os')", "SO2.__class__", "[SO2]", "open",
        "SO2 + VOC", "(lambda: SO2)()", "'a' * SO2", "SO2 == True", "abs(x=SO2)", "f'{SO2}'", "[x for x in SO2]",
        "SO2; SO2", "SO2 = 1", "SO2 and max()", "print(SO2)", "abs", "SO2(1)", "\x00",
        "SO2" + "+SO2" * LENGTH_LIMIT_CHARS, "+".join(["O2"] * (NODES_LIMIT // 2)), "(" * 199, "-" * 150 + "O2",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text: str) -> None:
    """No power, no text, no attribute, no call but three, nothing too long or too deep."""
    with pytest.raises(ValueError, match="."):
        Expression(text)


@given(st.text(alphabet="SO2CPM10_5.+-*/()<>=!andornotifelsemaxin ,'[]{}:", max_size=60))
def test_no_text_does_anything_but_fail_or_count(text: str) -> None:
    """Whatever is written, it is refused or comes to a number or to nothing."""
    try:
        expression = Expression(text)
    except ValueError:
        return
    result = expression.value(dict.fromkeys(expression.factors, 3.0))
    assert result is None or isinstance(result, float)
