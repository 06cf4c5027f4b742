"""Pulling: lines and the cursors that stand for them are kept together, whatever happens in between."""

import json
from functools import partial

import httpx
import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Refused, Unreachable
from device_sim.handheld.pull import CURSOR, MAX_RESTARTS, UNSURE
from tests.unit.device_sim.handheld.conftest import (
    ENTITY,
    FakePlatform,
    OpenHandheld,
    an_id,
    line_of,
    lost,
    ndjson,
    passed,
    problem,
    served,
)


def _answer(answer: httpx.Response, _request: httpx.Request) -> httpx.Response:
    return answer


def entities(count: int) -> list[dict[str, object]]:
    """Some served entities."""
    return [served("entity", an_id(100 + n), n + 1, name=f"样例\u2028{n}") for n in range(count)]


def test_everything_is_pulled(handheld: Handheld, platform: FakePlatform) -> None:
    """Streams follow until there is no more; the next pull brings only what is new."""
    platform.records = entities(5)
    assert handheld.pull() == 5
    assert handheld.pull() == 0
    assert handheld.open("entity", an_id(104)).value("name") == "样例\u20284"
    assert handheld.store.get(CURSOR) == "5"


def test_a_cut_keeps_what_a_cursor_stands_for(open_handheld: OpenHandheld, platform: FakePlatform) -> None:
    """A stream cut anywhere leaves the lines up to its last cursor, and that cursor; the rest comes again."""
    platform.records = entities(2)
    head = line_of({"epoch": platform.epoch, "position": 0, "reconcile": False}) + b"\n"
    first = line_of(platform.records[0]) + b"\n" + line_of({"cursor": "1", "position": 1, "more": True}) + b"\n"
    whole = head + first + line_of(platform.records[1]) + b"\n" + line_of({"cursor": "2", "position": 2, "more": False})
    for number, cut in enumerate(range(0, len(whole), 41)):
        device = open_handheld(f"cut {number}", attempts=1)
        part = whole[:cut]
        spoiled = httpx.Response(200, content=part)
        platform.before = [passed, passed, partial(_answer, spoiled)]
        if cut > len(head) + len(first) and part.endswith(b"\n"):
            continue
        with pytest.raises(Unreachable):
            device.pull()
        reached = cut >= len(head) + len(first)
        assert (device.store.get(CURSOR), device.store.records.count()) == (("1", 1) if reached else ("", 0))
        platform.before = []
        device.pull()
        assert device.store.ids("entity") == [an_id(100), an_id(101)]


def test_a_lost_answer_is_asked_for_again(handheld: Handheld, platform: FakePlatform) -> None:
    """A connection that breaks in the middle costs one more attempt."""
    platform.records = entities(5)
    platform.before = [passed, passed, lost]
    assert handheld.pull() == 5
    assert handheld.counts["retries"] == 1


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "entity"},
        {"kind": "entity", "id": "x", "position": None},
        {"cursor": "1", "more": "yes"},
        {"cursor": 1, "more": False},
        {},
    ],
)
def test_lines_that_are_neither_records_nor_cursors_spoil_the_stream(
    handheld: Handheld, platform: FakePlatform, line: dict[str, object]
) -> None:
    """Nothing behind the last cursor is kept."""
    spoiled = ndjson({"epoch": platform.epoch}, served("entity", ENTITY, 1), line)
    platform.before = [passed] + [lambda _request: spoiled] * 12
    with pytest.raises(Unreachable):
        handheld.pull()
    assert handheld.store.get(CURSOR) == ""
    assert handheld.store.ids("entity") == []


def test_a_stream_without_head_is_asked_for_again(handheld: Handheld, platform: FakePlatform) -> None:
    """Without an epoch nothing is kept."""
    platform.before = [passed, lambda _request: ndjson({"position": 3})]
    assert handheld.pull() == 0
    assert handheld.counts["retries"] == 1


def test_a_stale_cursor_is_replaced_by_a_comparison(handheld: Handheld, platform: FakePlatform) -> None:
    """Only what differs is fetched; what the server does not have is forgotten, own acts are not."""
    platform.records = [served("entity", ENTITY, 8, name="x"), *entities(5), served("entity", an_id(200), 9, name="y")]
    handheld.pull()
    handheld.write(handheld.open("answer", an_id(60)), {"outcome": "pass"})
    platform.records = [served("entity", ENTITY, 2, name="restored"), *entities(5)]
    platform.before = [lambda _request: problem(410, "stale-cursor")]
    assert handheld.pull() == 0
    assert handheld.store.ids("entity") == sorted([ENTITY, *(an_id(100 + n) for n in range(5))])
    assert handheld.open("entity", ENTITY).value("name") == "restored"
    assert handheld.open("answer", an_id(60)).value("outcome") == "pass"
    assert [len(json.loads(body)["records"]) for body in platform.sent("POST", "/api/v1/sync/lines")] == [1]
    assert handheld.counts["pull_restarts"] == 1


def test_a_platform_that_refuses_its_own_cursors_is_not_asked_for_ever(
    handheld: Handheld, platform: FakePlatform
) -> None:
    """Starting over has a limit."""
    stale = [lambda request: problem(410, "stale-cursor") if request.url.path.endswith("pull") else None]
    platform.before = [passed] + stale * 5 * (MAX_RESTARTS + 1)
    with pytest.raises(Refused, match="stale-cursor"):
        handheld.pull()


def test_records_are_kept_as_served(handheld: Handheld, platform: FakePlatform) -> None:
    """The stored line is the served one, byte for byte."""
    platform.records = [served("entity", ENTITY, 3, name="样例")]
    handheld.pull()
    kept = handheld.store.records.get("entity", ENTITY)
    assert kept is not None
    assert kept.line == line_of(platform.records[0])


def test_what_left_is_hidden_but_for_pending_acts(handheld: Handheld, platform: FakePlatform) -> None:
    """A record that left is shown only as long as acts on it wait for the server; the acts themselves stay."""
    mine, pending = an_id(61), an_id(62)
    platform.records = [served("rectification", one, n + 1, status="ordered") for n, one in enumerate((mine, pending))]
    handheld.pull()
    handheld.write(handheld.open("rectification", mine), {"report": "done"})
    handheld.push()
    handheld.write(handheld.open("rectification", pending), {"report": "not sent yet"})
    platform.records = [
        {"kind": "rectification", "id": one, "position": 100 + n, "left": True} for n, one in enumerate((mine, pending))
    ]
    handheld.store.put(CURSOR, "0")
    handheld.pull()
    assert handheld.store.records.count() == 0
    assert handheld.store.ids("rectification") == [pending]
    assert handheld.open("rectification", mine).value("report") is None
    assert handheld.open("rectification", pending).value("report") == ["not sent yet"]
    assert handheld.store.pending_count() == 1


def test_an_expired_cursor_goes_on_and_is_followed_by_a_comparison(handheld: Handheld, platform: FakePlatform) -> None:
    """The feed goes on where it was; what left unnoticed is found by digests and forgotten."""
    platform.records = entities(3)
    handheld.pull()
    platform.records, platform.unsure = [*entities(2), served("entity", an_id(150), 9, name="new")], True
    handheld.store.put(CURSOR, "2")
    assert handheld.pull() == 1
    assert handheld.store.ids("entity") == [an_id(100), an_id(101), an_id(150)]
    assert (handheld.store.get(UNSURE), handheld.counts["pull_restarts"]) == ("", 0)
