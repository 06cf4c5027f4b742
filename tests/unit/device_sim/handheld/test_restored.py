"""What the simulation found: own acts in served states, and a restored handheld that has pulled its own lost acts."""

import json

from device_sim.handheld.client import Handheld
from device_sim.handheld.store import Receipt
from sync.acts import parse_header
from sync.dots import Dot
from sync.journal import Fork
from tests.unit.device_sim.handheld.conftest import INSPECTION, an_id, keep, served


def _write(handheld: Handheld, **fields: object) -> Dot:
    dot = handheld.write(handheld.open("inspection", INSPECTION), fields)
    assert dot is not None
    return dot


def _confirm(handheld: Handheld, dot: Dot, position: int, verdict: str = "applied") -> None:
    act = handheld.store.acts(dot.journal, dot.seq - 1, 1)[0]
    handheld.store.confirm([Receipt(dot, act.hash, verdict, position, b"{}")])


def test_a_status_that_rises_later_does_not_bring_a_replaced_value_back(handheld: Handheld) -> None:
    """An act that a served state has long held, and in which it was replaced since, stays replaced."""
    dot = _write(handheld, scene="old")
    _confirm(handheld, dot, 7)
    keep(handheld, served("inspection", INSPECTION, 8, scene="new"))
    handheld.store.set_status(dot, "merged", 9)
    assert handheld.open("inspection", INSPECTION).value("scene") == "new"
    assert str(dot) not in {str(seen) for seen in handheld.open("inspection", INSPECTION).seen}


def test_a_late_receipt_does_not_forget_where_an_act_was_released(handheld: Handheld) -> None:
    """A receipt of an act that was held at first has no position; the status has already told it."""
    dot = _write(handheld, scene="mine")
    handheld.store.set_status(dot, "applied", 9)
    _confirm(handheld, dot, 0, "held")
    keep(handheld, served("inspection", INSPECTION, 8, scene="older"))
    assert dot in handheld.open("inspection", INSPECTION).seen


def test_positions_of_a_former_life_of_the_server_mean_nothing(handheld: Handheld) -> None:
    """Pushed again, held at first and released at a smaller position: the served state holds the act all the same."""
    dot = _write(handheld, scene="old")
    _confirm(handheld, dot, 28)
    with handheld.saving():
        handheld.store.begin_anew(dot.journal, 0)
    assert handheld.store.pending_count() == 1
    _confirm(handheld, dot, 0, "held")
    handheld.store.set_status(dot, "applied", 19)
    keep(handheld, served("inspection", INSPECTION, 20, scene="new"))
    assert handheld.open("inspection", INSPECTION).value("scene") == "new"


def test_a_restored_handheld_goes_on_in_another_journal(handheld: Handheld) -> None:
    """Its own lost acts come back by pull: it has seen numbers it would give again, so it leaves the journal."""
    first = _write(handheld, scene="kept")
    _confirm(handheld, first, 6)
    pending = _write(handheld, notes="not pushed yet")
    lost = served("inspection", INSPECTION, 9, scene="lost")
    lost["acts"] = json.loads(json.dumps(lost["acts"]).replace(served_dot(lost), f"{first.journal}:4"))
    keep(handheld, lost)
    again = _write(handheld, scene="after the restore")
    assert again.journal != first.journal
    hash_ = handheld.store.acts(first.journal, 0, 1)[0].hash
    assert handheld.store.parent_of(again.journal) == Fork(first.journal, 1, hash_)
    headers = [parse_header(json.loads(act.parts.header)) for act in handheld.store.acts(again.journal)]
    assert headers[1].seen == {Dot(first.journal, 4), Dot(again.journal, 1)}
    assert pending not in handheld.open("inspection", INSPECTION).seen
    assert handheld.open("inspection", INSPECTION).value("scene") == "after the restore"
    assert handheld.verify() == []


def test_a_number_used_twice_is_told_apart_by_its_record(handheld: Handheld) -> None:
    """After a pull without a push, a dot may name the server's act or the device's own: each lies on its record."""
    own = handheld.write(handheld.open("task", an_id(50)), {"status": "signed_for"})
    assert own is not None
    theirs = served("inspection", INSPECTION, 9, scene="lost")
    theirs["acts"] = json.loads(json.dumps(theirs["acts"]).replace(served_dot(theirs), str(own)))
    keep(handheld, theirs)
    _write(handheld, scene="later")
    handheld.write(handheld.open("task", an_id(50)), {"status": "in_progress"})
    fresh = handheld.writer.rejournal(own.journal, 0)
    seen = [parse_header(json.loads(act.parts.header)).seen for act in handheld.store.acts(fresh)]
    assert seen == [frozenset(), {own}, {Dot(fresh, 1)}]


def served_dot(record: dict[str, object]) -> str:
    """The office's dot in a record made by `served`."""
    acts = record["acts"]
    assert isinstance(acts, list)
    return str(acts[0]["dot"])
