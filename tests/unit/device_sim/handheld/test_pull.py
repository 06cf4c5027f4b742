"""Pulling: pages and cursors are kept together, whatever happens in between."""

import json
from functools import partial

import httpx
import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Refused, Unreachable
from device_sim.handheld.pull import CURSOR, MAX_RESTARTS
from tests.unit.device_sim.handheld.conftest import (
    ENTITY,
    FakePlatform,
    an_id,
    lost,
    ndjson,
    passed,
    problem,
    served,
)


def test_all_pages_are_pulled(handheld: Handheld, platform: FakePlatform) -> None:
    """Pages follow until there are no more; the next pull brings only what is new."""
    platform.records = [served("entity", an_id(100 + n), n + 1, name=f"样例\u2028{n}") for n in range(5)]
    assert handheld.pull() == 5
    assert handheld.pull() == 0
    assert handheld.open("entity", an_id(104)).value("name") == "样例\u20284"
    assert handheld.store.get(CURSOR) == "5"


def test_a_cut_page_leaves_neither_rows_nor_cursor(handheld: Handheld, platform: FakePlatform) -> None:
    """Rows and cursor of a page are saved together: a page cut anywhere leaves nothing behind."""
    platform.records = [served("entity", ENTITY, 1, name="x"), served("entity", an_id(101), 2, name="y")]
    whole = ndjson({"epoch": platform.epoch, "cursor": "2", "more": False}, *platform.records).content
    for cut in range(0, len(whole), 29):
        spoiled = partial(httpx.Response, 200, content=whole[:cut])
        platform.before = [*([passed] if cut == 0 else []), *[lambda _request, make=spoiled: make()] * 12]
        if whole[:cut].endswith(b"\n") and cut:
            continue  # a stream that ends after a line is told from a whole one by HTTP's own framing
        with pytest.raises(Unreachable):
            handheld.pull()
        assert handheld.store.get(CURSOR) == ""
        assert handheld.store.ids("entity") == []
        platform.before = []
    assert handheld.pull() == 2


def test_a_lost_page_is_pulled_again(handheld: Handheld, platform: FakePlatform) -> None:
    """A connection that breaks in the middle costs one more attempt."""
    platform.records = [served("entity", an_id(100 + n), n + 1, name="x") for n in range(5)]
    platform.before = [passed, passed, lost]
    assert handheld.pull() == 5
    assert handheld.counts["retries"] == 1


@pytest.mark.parametrize("line", [{"kind": "entity"}, {"kind": "entity", "id": "x", "position": None}])
def test_lines_that_are_no_records_spoil_the_page(
    handheld: Handheld, platform: FakePlatform, line: dict[str, object]
) -> None:
    """A page with such a line is not kept."""
    spoiled = ndjson({"epoch": platform.epoch, "cursor": "1", "more": False}, line)
    platform.before = [passed] + [lambda _request: spoiled] * 12
    with pytest.raises(Unreachable):
        handheld.pull()
    assert handheld.store.get(CURSOR) == ""


def test_a_head_line_without_cursor_spoils_the_page(handheld: Handheld, platform: FakePlatform) -> None:
    """Without a cursor nothing is kept."""
    platform.before = [passed, lambda _request: ndjson({"epoch": platform.epoch})]
    assert handheld.pull() == 0
    assert handheld.counts["retries"] == 1


def test_a_stale_cursor_starts_over_and_forgets_what_is_gone(handheld: Handheld, platform: FakePlatform) -> None:
    """Everything is pulled again; what was not served again is forgotten, own acts are not."""
    platform.records = [served("entity", ENTITY, 8, name="x"), served("entity", an_id(101), 9, name="y")]
    handheld.pull()
    handheld.write(handheld.open("answer", an_id(60)), {"outcome": "pass"})
    platform.records = [served("entity", ENTITY, 2, name="restored")]
    platform.before = [lambda _request: problem(410, "stale-cursor")]
    assert handheld.pull() == 1
    assert handheld.store.ids("entity") == [ENTITY]
    assert handheld.open("entity", ENTITY).value("name") == "restored"
    assert handheld.open("answer", an_id(60)).value("outcome") == "pass"
    assert handheld.counts["pull_restarts"] == 1


def test_a_platform_that_refuses_its_own_cursors_is_not_asked_for_ever(
    handheld: Handheld, platform: FakePlatform
) -> None:
    """Starting over has a limit."""
    platform.before = [passed] + [lambda _request: problem(410, "stale-cursor")] * (MAX_RESTARTS + 1)
    with pytest.raises(Refused, match="stale-cursor"):
        handheld.pull()


def test_records_are_kept_as_served(handheld: Handheld, platform: FakePlatform) -> None:
    """The stored line is the served one, byte for byte."""
    platform.records = [served("entity", ENTITY, 3, name="样例")]
    handheld.pull()
    kept = handheld.store.served("entity", ENTITY)
    assert kept is not None
    assert kept.line == json.dumps(platform.records[0], ensure_ascii=False).encode()
