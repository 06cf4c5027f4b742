"""Instants past SQLAlchemy: the very text that its own type writes, or both refuse."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from server.db.base import EPOCH, UtcDateTime
from server.db.many_rows import _converter

DIALECT = sqlite.dialect()
ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))) | st.just(UTC)
AGES = st.timedeltas(timedelta(days=-700_000), timedelta(days=2_900_000))
INSTANTS = st.builds(lambda age, zone: (EPOCH + age).astimezone(zone), AGES, ZONES)


@given(INSTANTS | st.none())
def test_instants_are_written_as_sqlalchemy_writes_them(at: datetime | None) -> None:
    """Whatever zone they are in; text columns are compared as text."""
    short, long = _converter(DIALECT, UtcDateTime()), UtcDateTime().dialect_impl(DIALECT).bind_processor(DIALECT)
    assert short is not None
    assert long is not None
    assert short(at) == long(at)


def test_a_naive_instant_is_refused() -> None:
    """Nobody knows when it was."""
    short = _converter(DIALECT, UtcDateTime())
    assert short is not None
    with pytest.raises(ValueError, match="naive"):
        short(datetime(2026, 3, 1))  # noqa: DTZ001 - the point of it
