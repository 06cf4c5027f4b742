"""Correcting device clocks: the stamp lies within its error bound of the truth, whatever the wall clock says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sync.acts import ActError
from sync.clocks import (
    DRIFT_PPM,
    Basis,
    Correction,
    Exchange,
    Reading,
    correct,
    drift_ms,
    error_ms,
    parse_exchange,
    stamp,
)
from tests.unit.sync.histories import journal

BOOT, OTHER = journal(1), journal(2)
NOW_MS = 1_772_413_260_000
YEARS_MS = 9 * 365 * 86_400_000


def test_a_clock_set_to_2035_does_no_harm() -> None:
    """Within one boot the wall clock is not looked at; an exchange gives the bound."""
    exchange = Exchange(BOOT, 10_000, NOW_MS - 90_000, 10_400)
    head = Reading(BOOT, NOW_MS + YEARS_MS, 100_200)
    act = {"boot": BOOT, "wall_ms": NOW_MS + YEARS_MS - 60_000, "mono_ms": 40_200}
    correction = correct(head, NOW_MS, BOOT, exchange)
    assert correction == Correction(Basis.EXCHANGE, NOW_MS - 100_200, 10_200, 200)
    at_ms = stamp(correction, act, NOW_MS)
    assert at_ms == NOW_MS - 60_000
    assert error_ms(correction, act, at_ms, earliest_ms=0, arrived_ms=NOW_MS) == 203


def test_without_an_exchange_only_enrolment_bounds_the_error() -> None:
    """Nobody knows how long the segment was on its way."""
    head = Reading(BOOT, 5, 70_000)
    act = {"boot": BOOT, "wall_ms": 1, "mono_ms": 10_000}
    correction = correct(head, NOW_MS, BOOT, None)
    assert correction.basis is Basis.ARRIVAL
    at_ms = stamp(correction, act, NOW_MS)
    assert at_ms == NOW_MS - 60_000
    assert error_ms(correction, act, at_ms, earliest_ms=at_ms - 7, arrived_ms=NOW_MS) == 7


def test_an_earlier_boot_without_an_exchange_rests_on_the_wall_clock() -> None:
    """As if nobody had set it since; the error reaches from enrolment to arrival."""
    head = Reading(BOOT, 1_000_000, 70_000)
    act = {"boot": OTHER, "wall_ms": 400_000, "mono_ms": 10_000}
    correction = correct(head, NOW_MS, OTHER, None)
    assert correction.basis is Basis.WALL
    at_ms = stamp(correction, act, NOW_MS)
    assert at_ms == NOW_MS - 600_000
    assert error_ms(correction, act, at_ms, earliest_ms=NOW_MS - 700_000, arrived_ms=NOW_MS) == 600_000
    assert error_ms(correction, act, at_ms, earliest_ms=at_ms - 900_000, arrived_ms=NOW_MS) == 900_000


def test_an_earlier_boot_with_an_exchange_needs_no_wall_clock() -> None:
    """What the server knows of that boot counts, however the wall clock jumped in between."""
    exchange = Exchange(OTHER, 0, NOW_MS - 86_400_000, 1_000)
    act = {"boot": OTHER, "wall_ms": 0, "mono_ms": 3_600_500}
    correction = correct(Reading(BOOT, 0, 5), NOW_MS, OTHER, exchange)
    assert correction.basis is Basis.EXCHANGE
    assert stamp(correction, act, NOW_MS) == NOW_MS - 86_400_000 + 3_600_000


@pytest.mark.parametrize("value", [None, "5", -1, True, 1.5, 2**53, [1]])
def test_an_act_without_a_usable_reading_counts_as_of_its_arrival(value: object) -> None:
    """Nothing is guessed."""
    correction = correct(Reading(BOOT, 5, 5), NOW_MS, BOOT, None)
    assert stamp(correction, {"mono_ms": value}, NOW_MS) == NOW_MS
    assert stamp(None, {"mono_ms": 3}, NOW_MS) == NOW_MS
    assert error_ms(correction, {"mono_ms": value}, NOW_MS, earliest_ms=NOW_MS - 9, arrived_ms=NOW_MS) == 9


def test_a_stamp_is_never_in_the_future_nor_before_time_began() -> None:
    """A lying header moves nothing past its arrival."""
    correction = correct(Reading(BOOT, 5, 5), NOW_MS, BOOT, None)
    assert stamp(correction, {"mono_ms": 10_000}, NOW_MS) == NOW_MS
    assert stamp(Correction(Basis.ARRIVAL, -50, 0, None), {"mono_ms": 10}, NOW_MS) == 0


def test_impossible_exchanges_are_left_aside() -> None:
    """The server's time still to come, another boot's, or one that puts the segment's making after its arrival."""
    head = Reading(BOOT, 5, 100_000)
    for exchange in (
        Exchange(BOOT, 0, NOW_MS + 1, 10),
        Exchange(OTHER, 0, NOW_MS - 100_000, 10),
        Exchange(BOOT, 0, NOW_MS - 50_000, 10),
    ):
        assert correct(head, NOW_MS, BOOT, exchange).basis is Basis.ARRIVAL
    assert correct(head, NOW_MS, BOOT, Exchange(BOOT, 0, NOW_MS - 99_995, 10)).basis is Basis.EXCHANGE


@given(
    st.integers(0, 10**7),
    st.integers(0, 5_000),
    st.integers(0, 5_000),
    st.integers(0, 10**8),
    st.integers(0, 10**6),
    st.integers(-DRIFT_PPM, DRIFT_PPM),
)
def test_the_truth_lies_within_the_bound(
    sent: int, up_ms: int, down_ms: int, later_ms: int, delay_ms: int, ppm: int
) -> None:
    """However slow each direction was, however long the segment waited, and however the clock drifts."""

    def true(mono: int) -> int:
        return NOW_MS + mono + mono * ppm // 1_000_000

    exchange = Exchange(BOOT, sent, true(sent) + up_ms, sent + up_ms + down_ms)
    mono = exchange.received_mono_ms + later_ms
    arrived_ms = true(mono) + delay_ms + drift_ms(mono) + 2
    correction = correct(Reading(BOOT, 0, mono), arrived_ms, BOOT, exchange)
    assert correction.basis is Basis.EXCHANGE
    act = {"mono_ms": mono}
    at_ms = stamp(correction, act, arrived_ms)
    bound = error_ms(correction, act, at_ms, earliest_ms=0, arrived_ms=arrived_ms)
    assert abs(at_ms - true(mono)) <= bound + drift_ms(up_ms + down_ms) + 2


def test_exchanges_are_read_strictly() -> None:
    """As written, or not at all."""
    exchange = Exchange(BOOT, 1, 2, 3)
    assert parse_exchange(exchange.text()) == exchange
    for text in ("", BOOT, f"{BOOT} 1 2", f"{BOOT} 1 2 3 4", "x 1 2 3", f"{BOOT} 3 2 1", f"{BOOT} -1 2 3",
                 f"{BOOT} 1 2 {2**53}", f"{BOOT} 1 2 {'9' * 5000}", f"{BOOT} ١ 2 3", f"{BOOT}  1 2 3"):  # fmt: skip
        with pytest.raises(ActError):
            parse_exchange(text)
