"""The words for codes, in both languages."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask_babel import force_locale

from server.pages import labels, language


@pytest.fixture(autouse=True)
def babel_request() -> Iterator[None]:
    """A request of an application with the pages' translations and nothing else."""
    app = Flask("pages-under-test", static_folder=None)
    language.install(app)
    with app.test_request_context():
        yield


@pytest.mark.parametrize(
    ("region", "zh", "en"),
    [
        ("", "全部区划", "All regions"),
        ("42", "湖北省", "Hubei Province"),
        ("420000", "湖北省", "Hubei Province"),
        ("4201", "武汉市", "Wuhan"),
        ("420106001", "武汉市", "Wuhan"),
        ("429021", "神农架林区", "Shennongjia"),
        ("429001", "429001", "429001"),
    ],
)
def test_regions(region: str, zh: str, en: str) -> None:
    """A division code is shown as the province or prefecture it belongs to; an unknown one as it is."""
    with force_locale("zh"):
        assert labels.region_name(region) == zh
    with force_locale("en"):
        assert labels.region_name(region) == en


@pytest.mark.parametrize(
    ("field", "value", "zh", "en"),
    [
        ("result", "01", "未发现问题", "No problem found"),
        ("outcome", "not_applicable", "合理缺项", "Not applicable"),
        ("severity", None, "无", "none"),
        ("result", "unlisted", "unlisted", "unlisted"),
        ("conclusion", "同意结案", "同意结案", "同意结案"),
        ("deadline", ["a"], '["a"]', '["a"]'),
    ],
)
def test_values(field: str, value: object, zh: str, en: str) -> None:
    """A code is shown by its label, a text as it is, anything else as JSON."""
    with force_locale("zh"):
        assert labels.value_label("inspection", field, value) == zh
    with force_locale("en"):
        assert labels.value_label("inspection", field, value) == en


def test_long_values_are_cut() -> None:
    """A value that would fill the page is cut, and shows that it is."""
    shown = labels.value_label("inspection", "conclusion", "长" * 1000)
    assert len(shown) == labels.MAX_VALUE_CHARS_SHOWN + 1
    assert shown.endswith("…")


def test_results_have_a_tone() -> None:
    """Nothing found is good, a refusal alarming, an unlisted result neutral."""
    assert [labels.result_tone(code) for code in ("01", "03", "05", "99")] == ["good", "warn", "alarm", "plain"]


def test_names_on_the_map() -> None:
    """Short names are used on the map; an unknown code is shown as it is."""
    assert labels.prefecture_short("422800") == "恩施"
    assert labels.prefecture_short("000000") == "000000"
    with force_locale("en"):
        assert labels.prefecture_short("422800") == "Enshi"


def test_unlisted_codes_are_shown_as_they_are() -> None:
    """A code without a word does not break the page."""
    assert labels.stage_label("new-stage") == "new-stage"
    assert labels.field_label("inspection", "new_field") == "new_field"
    assert labels.decision_error("internal", None) == ""
