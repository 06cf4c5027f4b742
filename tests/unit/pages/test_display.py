"""How values look on a page."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask_babel import force_locale

from server.pages import display, language
from server.pages.overview_values import MapPoint

NOON = datetime(2026, 3, 1, 20, 30, 5, tzinfo=UTC)


@pytest.fixture
def babel_app() -> Flask:
    """An application with the pages' translations and nothing else."""
    app = Flask("pages-under-test", static_folder=None)
    language.install(app)
    return app


def test_times_are_shown_in_beijing() -> None:
    """An evening in UTC is the next morning in Beijing; the exact instant stays in the element."""
    assert display.local_time(NOON) == "2026-03-02 04:30"
    assert display.clock_time(NOON) == "04:30:05"
    assert str(display.time_tag(NOON)) == '<time datetime="2026-03-01T20:30:05+00:00">2026-03-02 04:30</time>'


@pytest.mark.parametrize(
    ("seconds", "zh", "en"),
    [
        (-5, "刚刚", "just now"),
        (59, "刚刚", "just now"),
        (60, "1 分钟前", "1 minute ago"),
        (3599, "59 分钟前", "59 minutes ago"),
        (7200, "2 小时前", "2 hours ago"),
        (86_400, "1 天前", "1 day ago"),
        (86_400 * 30, "30 天前", "30 days ago"),
    ],
)
def test_spans_of_time(babel_app: Flask, seconds: int, zh: str, en: str) -> None:
    """A span is told in the largest whole unit, in both languages."""
    with babel_app.test_request_context():
        for code, text in (("zh", zh), ("en", en)):
            with force_locale(code):
                assert display.ago(NOON, NOON + timedelta(seconds=seconds)) == text
                assert text in display.ago_tag(NOON, NOON + timedelta(seconds=seconds))


def test_hashes_and_dots_are_shortened() -> None:
    """A long hash is cut, a short one stays; of a dot, the telling end of the journal remains."""
    assert display.short_hash("ab" * 32) == "abababababab…"
    assert display.short_hash("abc") == "abc"
    assert display.short_dot("0192f3c1-7a11-7c00-8a00-3fd1c2aa91be:41") == "aa91be:41"


def test_fingerprint_follows_the_root() -> None:
    """Each byte of the root is one bar between the floor and the full height."""
    bars = display.fingerprint("00" * 16 + "ff" * 16)
    assert bars == [display.BAR_FLOOR] * 16 + [display.BAR_FLOOR + display.BAR_SPAN] * 16


def test_entities_become_one_path_a_size_class() -> None:
    """Spots are grouped by how many entities they hold; an empty class makes no path."""
    points = [MapPoint(1, 2, 1), MapPoint(3, 4, 1), MapPoint(5, 6, 7)]
    assert list(display.entity_paths(points)) == [("s", "M1 2h0M3 4h0"), ("l", "M5 6h0")]


def test_numbers_are_grouped() -> None:
    """Digits are grouped by threes."""
    assert display.number(1234567) == "1,234,567"
