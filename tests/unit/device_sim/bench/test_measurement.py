"""Percentiles, rates, ratios, and the shape of a row."""

import pytest

from device_sim.bench.measurement import PRODUCT, RAW, Measurement, Row, percentile, ratio

MEMBERS = {"system", "case", "rate_per_s", "unit", "p50_ms", "p99_ms", "peak_rss_mb", "note"}


def row(system: str, case: str, count: float, seconds: float = 1.0) -> Row:
    """A row that handled `count` records."""
    return Row(system, case, "records", Measurement(count, seconds, [0.002, 0.001], 12.34, "a note"))


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.01, 1), (0.5, 50), (0.505, 51), (0.99, 99), (1.0, 100)],
    ids=["1", "50", "50.5", "99", "100"],
)
def test_percentile_is_a_measured_value(share: float, expected: int) -> None:
    """The nearest rank, whatever the order: never a value in between."""
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_percentile_of_few_values() -> None:
    """Of one value every percentile is that value; of none it is 0."""
    assert percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) == 0.0


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
def test_percentile_needs_a_share(share: float) -> None:
    """A share outside (0, 1] is a mistake of the caller."""
    with pytest.raises(ValueError, match="share"):
        percentile([1.0], share)


def test_rate() -> None:
    """Units over seconds; nothing measured is no rate and no division by zero."""
    assert row(PRODUCT, "push", 300, 1.5).measured.rate_per_s == 200
    assert Measurement(0, 0.0, [], 0.0, "").rate_per_s == 0


def test_row_as_json_has_the_agreed_members() -> None:
    """Exactly the agreed members, in milliseconds and megabytes."""
    made = row(RAW, "push", 300, 2).as_dict()
    assert made.keys() == MEMBERS
    assert made["rate_per_s"] == 150
    assert (made["p50_ms"], made["p99_ms"], made["peak_rss_mb"]) == (1.0, 2.0, 12.3)


def test_extra_whole_numbers_follow() -> None:
    """A case may add whole numbers of its own."""
    made = Row(PRODUCT, "pull", "records", Measurement(1, 1, [], 0, "", {"missed": 0})).as_dict()
    assert made.keys() == MEMBERS | {"missed"}


def test_ratio_is_taken_from_the_same_case() -> None:
    """A product row is compared with the limit of its own case; a limit with nothing."""
    rows = [row(PRODUCT, "push", 50), row(RAW, "push", 200), row(PRODUCT, "pull", 30), row(RAW, "other", 1)]
    assert ratio(rows[0], rows) == 0.25
    assert ratio(rows[1], rows) is None
    assert ratio(rows[2], rows) is None


def test_ratio_to_a_limit_that_measured_nothing() -> None:
    """A limit of rate 0 gives no ratio."""
    rows = [row(PRODUCT, "push", 50), row(RAW, "push", 0)]
    assert ratio(rows[0], rows) is None
