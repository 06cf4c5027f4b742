"""The feed is gap-free under concurrent writers with random commit delays, on both databases."""

import random
import threading
import time

from server.records.feed import FeedScope, read_page
from server.records.lines import Placement
from server.records.service import OfficeChange, office_write_many
from server.runtime import Runtime

WRITERS = 4
CHANGES = 20
SCOPE = FeedScope("42", "", ())


def test_reader_misses_nothing(rt: Runtime) -> None:
    """A reader that polls all the time, moving its cursor as a handheld does, meets every record that was written."""
    written: set[str] = set()
    stop = threading.Event()
    failures: list[Exception] = []

    def write(number: int) -> None:
        rng = random.Random(number)
        try:
            for _ in range(CHANGES):
                record = rt.new_id()
                with rt.db.write() as session:
                    fields = {"name": f"样例 {number}"}
                    change = OfficeChange("entity", record, fields, "test", Placement("420106", ""))
                    office_write_many(session, rt, [change])
                    time.sleep(rng.random() * 0.01)  # between writing and committing: what a slow commit looks like
                written.add(record)
        except Exception as error:  # noqa: BLE001 - handed to the main thread
            failures.append(error)

    met: set[bytes] = set()
    position = 0

    def poll() -> int:
        with rt.db.read() as session:
            page = read_page(session, SCOPE, position, 50)
        met.update(line for _, line in page.items)
        return page.upto

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    while not stop.is_set():
        if not any(thread.is_alive() for thread in threads):
            stop.set()
        position = poll()
    for thread in threads:
        thread.join()
    assert not failures
    for _ in range(WRITERS * CHANGES // 50 + 1):
        position = poll()
    assert len(written) == WRITERS * CHANGES
    assert {line.split(b'"id":"')[1][:36].decode() for line in met} == written
