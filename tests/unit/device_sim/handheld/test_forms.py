"""What a form shows: the served state with the device's own pending acts on top."""

import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.store import Receipt
from sync.dots import Dot
from tests.unit.device_sim.handheld.conftest import INSPECTION, OFFICE_EPOCH, an_id, keep, served


def write(handheld: Handheld, **fields: object) -> Dot:
    """Write an act on the inspection as it is open now."""
    dot = handheld.write(handheld.open("inspection", INSPECTION), fields)
    assert dot is not None
    return dot


def receive(handheld: Handheld, dot: Dot, verdict: str, position: int) -> None:
    """Take in a receipt for an own act."""
    (act,) = (one for one in handheld.store.acts(dot.journal) if one.dot == dot)
    handheld.store.confirm([Receipt(dot, act.hash, verdict, position, b"receipt")])


def test_seen_are_the_dots_of_all_live_values(handheld: Handheld) -> None:
    """Served values and own pending ones both count, and superseded ones do not."""
    office = Dot(OFFICE_EPOCH, 5)
    first = write(handheld, scene="one")
    assert handheld.open("inspection", INSPECTION).seen == {office, first}
    second = write(handheld, scene="two")
    assert handheld.open("inspection", INSPECTION).seen == {office, second}


def test_an_unknown_record_opens_empty(handheld: Handheld) -> None:
    """A new record has seen nothing."""
    form = handheld.open("answer", an_id(77))
    assert (form.seen, form.readings, form.value("outcome")) == (frozenset(), {}, None)
    with pytest.raises(KeyError):
        handheld.open("nonsense", an_id(77))


def test_own_acts_stay_visible_until_the_served_state_holds_them(handheld: Handheld) -> None:
    """An own act is replayed until a served record of its receipt's position has come."""
    dot = write(handheld, scene="mine")
    receive(handheld, dot, "applied", 9)
    assert handheld.open("inspection", INSPECTION).value("scene") == "mine"
    keep(handheld, served("inspection", INSPECTION, 8, scene="older"))
    assert dot in handheld.open("inspection", INSPECTION).seen
    keep(handheld, served("inspection", INSPECTION, 10, scene="decided by the office"))
    assert handheld.open("inspection", INSPECTION).value("scene") == "decided by the office"
    assert dot not in handheld.open("inspection", INSPECTION).seen


def test_held_acts_stay_visible_and_quarantined_ones_do_not(handheld: Handheld) -> None:
    """Nobody else will see a quarantined act, so nothing may build on it; a held one will be released."""
    held = write(handheld, scene="held")
    receive(handheld, held, "held", 0)
    keep(handheld, served("inspection", INSPECTION, 20, method="01"))
    assert handheld.open("inspection", INSPECTION).value("scene") == "held"
    handheld.store.set_status(held, "quarantined", 21)
    assert handheld.open("inspection", INSPECTION).value("scene") is None


def test_a_conflict_reads_as_undecided_and_may_be_written(handheld: Handheld) -> None:
    """Two live values of a legal field read as None; writing one of them still makes an act."""
    record = served("inspection", INSPECTION, 30, result="01")
    other = {"dot": f"{OFFICE_EPOCH}:31", "at_ms": 31, "fields": {"result": "03"}}
    record["acts"].append(other)  # type: ignore[attr-defined]
    keep(handheld, record)
    form = handheld.open("inspection", INSPECTION)
    assert form.value("result") is None
    assert form.changed({"result": "01"}) == {"result": "01"}


def test_additions_always_count(handheld: Handheld) -> None:
    """Notes and set elements are added even when they read the same."""
    write(handheld, notes="same")
    assert handheld.open("inspection", INSPECTION).changed({"notes": "same"}) == {"notes": "same"}
    write(handheld, notes="same")
    assert handheld.open("inspection", INSPECTION).value("notes") == ["same", "same"]
