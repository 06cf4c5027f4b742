"""Working days: public holidays and make-up days of known years, plain weekdays of the others."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.workdays import MAX_WORKING_DAYS, Deadline, calendar, parse_calendar

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "works"),
    [
        ("2026-02-14", True),  # a Saturday that makes up for the Spring Festival
        ("2026-02-16", False),
        ("2026-02-28", True),
        ("2026-03-01", False),
        ("2026-03-02", True),
        ("2026-10-07", False),
        ("2026-10-10", True),
        ("2027-02-06", False),  # a Saturday of a year whose notice is not out
        ("2027-02-08", True),
    ],
)
def test_known_days(text: str, works: bool) -> None:
    """Holidays are off, make-up weekends are not; unknown years go by weekdays."""
    assert calendar().is_working_day(date.fromisoformat(text)) is works


def test_deadlines_leave_out_holidays_and_count_make_up_days() -> None:
    """Seven working days from the eve of the Spring Festival of 2026 end after it, on its make-up Saturday."""
    assert calendar().deadline(date(2026, 2, 13), 7) == Deadline(date(2026, 3, 2), provisional=False)
    assert calendar().deadline(date(2026, 2, 13), 1) == Deadline(date(2026, 2, 14), provisional=False)
    assert calendar().deadline(date(2026, 2, 13), 0) == Deadline(date(2026, 2, 13), provisional=False)


def test_a_deadline_into_an_unknown_year_is_provisional() -> None:
    """Crossing into a year without an entry is no error: weekdays count, and the deadline says so."""
    assert calendar().deadline(date(2026, 12, 30), 3) == Deadline(date(2027, 1, 4), provisional=True)


@given(st.dates(date(2024, 1, 1), date(2030, 1, 1)), st.integers(0, 60))
def test_a_deadline_has_so_many_working_days_behind_it(start: date, days: int) -> None:
    """Counting back gives the number, and the last day is a working day."""
    known = calendar()
    end = known.deadline(start, days).day
    passed = [start + n * DAY for n in range(1, (end - start).days + 1)]
    assert sum(map(known.is_working_day, passed)) == days
    assert not passed or known.is_working_day(end)


@pytest.mark.parametrize("days", [-1, MAX_WORKING_DAYS + 1])
def test_only_so_many_days_are_counted(days: int) -> None:
    """A deadline has a limit."""
    with pytest.raises(ValueError, match="working days"):
        calendar().deadline(date(2026, 1, 1), days)


@pytest.mark.parametrize(
    ("holidays", "workdays"),
    [(["2025-01-01"], ["2026-01-04"]), (["2026-01-04"], ["2026-01-04"]), (["2026-01-01"], ["2026-01-05"])],
)
def test_a_calendar_that_contradicts_itself_is_refused(holidays: list[str], workdays: list[str]) -> None:
    """A day of another year, on both lists, or a weekday that is made up for."""
    with pytest.raises(ValueError, match="contradicts"):
        parse_calendar({"years": {"2026": {"holidays": holidays, "workdays": workdays}}})
