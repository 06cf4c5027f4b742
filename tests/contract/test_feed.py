"""The feed is gap-free under concurrent writers with random commit delays, on both databases.

Writers create, change and reassign records, and commit whenever they like; a reader polls all the time as a handheld
does. In the end it must hold exactly what its scope holds, with every record at its newest line, and nothing else.
"""

import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from server.fieldsync.digests import digest_tree
from server.records.feed import FeedScope, read_page, visible
from server.records.lines import Placement
from server.records.models import SyncedRecord
from server.records.placing import Move, move_records
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime
from sync.digest import digest_of, record_pair, total

WRITERS = 4
CHANGES = 25
SLOWEST_COMMIT_S = 0.012
MINE, OTHER = "officer-a", "officer-b"
SCOPE = FeedScope("4201", "", (MINE,))
PLACES = (
    Placement("420106", ""),
    Placement("420202", ""),
    Placement("420106", "", (MINE,)),
    Placement("420106", "", (OTHER,)),
)


class Reader:
    """A handheld's copy, kept by polling; what it holds is what its cursor stands for."""

    def __init__(self, rt: Runtime) -> None:
        """Stand at the beginning."""
        self.rt, self.position, self.copy, self.pages = rt, 0, dict[tuple[str, str], tuple[int, bytes]](), 0

    def poll(self) -> None:
        """Read one page, in a transaction of its own."""
        with self.rt.db.read() as session:
            page = read_page(session, SCOPE, self.position, 7)
        for position, line in page.items:
            members = json.loads(line)
            key = (members["kind"], members["id"])
            if self.copy.get(key, (0, b""))[0] > position:
                continue
            if "left" in members:
                self.copy.pop(key, None)
            else:
                self.copy[key] = (position, line)
        self.position, self.pages = page.upto, self.pages + 1

    def missed(self) -> set[tuple[str, str]]:
        """Records in which the copy is not what the scope holds."""
        with self.rt.db.read() as session:
            rows = session.execute(select(SyncedRecord).where(visible(SCOPE))).scalars()
            held = {(row.kind, row.id): row.line for row in rows}
        mine = {key: line for key, (_, line) in self.copy.items()}
        return {key for key in held.keys() | mine.keys() if held.get(key) != mine.get(key)}


def writer(rt: Runtime, number: int) -> Callable[[], int]:
    """A writer that creates, changes and moves its own records, with random pauses before each commit."""

    def run() -> int:
        rng, mine = random.Random(number), list[str]()
        for step in range(CHANGES):
            with rt.db.write() as session:
                draw = rng.random()
                if draw < 0.5 or not mine:
                    mine.append(rt.new_id())
                    fields = {"name": f"样例 {number} {step}"}
                    change = OfficeChange("entity", mine[-1], fields, "test", rng.choice(PLACES))
                    office_write_many(session, rt, [change])
                elif draw < 0.75:
                    office_write_many(
                        session, rt, [OfficeChange("entity", rng.choice(mine), {"name": f"{step}"}, "test")]
                    )
                else:
                    move_records(session, rt, [Move("entity", rng.choice(mine), rng.choice(PLACES))])
                time.sleep(rng.random() * SLOWEST_COMMIT_S)  # between writing and committing: a slow commit
        return len(mine)

    return run


def test_a_polling_reader_misses_nothing(rt: Runtime) -> None:
    """Not one record is missed, kept although it left, or stale; and the digests of both sides agree."""
    reader, stop = Reader(rt), threading.Event()
    with ThreadPoolExecutor(WRITERS + 1) as pool:

        def follow() -> None:
            while not stop.is_set():
                reader.poll()

        following = pool.submit(follow)
        written = [pool.submit(writer(rt, number)) for number in range(WRITERS)]
        created = sum(future.result() for future in written)
        stop.set()
        following.result()
    during = reader.pages
    with rt.db.read() as session:
        while read_page(session, SCOPE, reader.position, 1).items:
            reader.poll()
    assert reader.missed() == set()
    assert created > WRITERS * CHANGES / 4
    assert during > 3
    with digest_tree(rt, SCOPE) as tree:
        assert total(tree.leaves) == digest_of(record_pair(*key, line) for key, (_, line) in reader.copy.items())


@pytest.mark.parametrize("limit", [1, 3, 1_000])
def test_pages_of_any_size_are_the_same_feed(rt: Runtime, limit: int) -> None:
    """However a feed is cut into pages, it brings every record once, and its position reaches the counter."""
    for number in range(3):
        writer(rt, number)()
    with rt.db.read() as session:
        position, lines, more = 0, list[bytes](), True
        while more:
            page = read_page(session, SCOPE, position, limit)
            lines += [line for _, line in page.items[page.notes :]]
            position, more = page.upto, page.more
        held = session.execute(select(SyncedRecord.line).where(visible(SCOPE)).order_by(SyncedRecord.position))
        assert lines == list(held.scalars())
