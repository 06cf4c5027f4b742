"""The sentence that says why a lead was opened, in both languages. Pure: the same means give the same words."""

from collections.abc import Sequence
from datetime import timedelta, timezone

from schemas.telemetry import CODES
from server.telemetry.rules import HOUR, Mean

CHINA_TIME = timezone(timedelta(hours=8))
"""Officers read local clock time; China has one zone and no summer time."""


def explain(factor: str, unit: str, threshold: float, means: Sequence[Mean]) -> tuple[str, str]:
    """Return (Chinese, English) of e.g. "12 of 12 valid hourly means of SO2 above 500 µg/m³ from … to …".

    Args:
        factor: the factor's code.
        unit: its unit's code.
        threshold: the level, in that unit.
        means: the valid hourly means of the window, in order of time; at least one.
    """
    above = [mean for mean in means if mean.value > threshold]
    symbol = CODES["units"][unit]["symbol"]
    start = means[0].at.astimezone(CHINA_TIME)
    end = (means[-1].at + HOUR).astimezone(CHINA_TIME)
    level, peak = number(threshold), number(max(mean.value for mean in means))
    count = f"{len(above)} of {len(means)}"
    zh = (
        f"{start:%Y-%m-%d %H:%M} 至 {end:%Y-%m-%d %H:%M}（北京时间）"
        f"{factor} 的 {len(means)} 个有效小时均值中有 {len(above)} 个高于 {level} {symbol}，最高 {peak} {symbol}"
    )
    en = (
        f"{count} valid hourly means of {factor} above {level} {symbol} "
        f"from {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} (UTC+8), highest {peak} {symbol}"
    )
    return zh, en


def number(value: float) -> str:
    """Return a number without a needless fraction: 150, 3.5."""
    return f"{value:.0f}" if value == int(value) else f"{value:.6g}"
