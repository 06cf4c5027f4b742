"""Writers that commit late, several sequencers and a reader that never stops: nothing is skipped, on both databases."""

import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from server.clock import SystemClock
from server.config import load_settings
from server.db.engine import Database
from server.prooflog.service import enqueue, latest_head, leaves, sequence_step
from server.prooflog.verify import verify_log
from server.runtime import Runtime
from server.tables import METADATA

WRITERS = 6
TRANSACTIONS = 40
"""Per writer; each enqueues one to three leaves."""
LONGEST_DELAY_S = 0.01
ROLLED_BACK = 0.1
"""Share of transactions that do not commit."""


class GivenUp(Exception):
    """A writer changed its mind."""


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    """A runtime whose database several threads may use at once."""
    env = {"FIELDPROOF_HOME": str(tmp_path)}
    if request.param == "postgresql":
        env["FIELDPROOF_DATABASE_URL"] = request.getfixturevalue("postgres_database_url")
    settings = load_settings(env)
    database = Database(settings.database_url)
    METADATA.create_all(database.engine)
    yield Runtime(settings, database, SystemClock(), random.Random(7).randbytes)
    database.dispose()


def write(rt: Runtime, writer: int) -> list[str]:
    """Enqueue leaves in transactions that stay open for a random time; some are rolled back. Returns what committed."""
    draw = random.Random(writer)
    pause = threading.Event()
    committed: list[str] = []
    for number in range(TRANSACTIONS):
        refs = [f"{writer}-{number}-{part}" for part in range(draw.randint(1, 3))]
        with contextlib.suppress(GivenUp), rt.db.write() as session:
            for ref in refs:
                enqueue(session, rt, "behavior", ref, ref.encode())
            pause.wait(draw.random() * LONGEST_DELAY_S)
            if draw.random() < ROLLED_BACK:
                raise GivenUp
            committed += refs
    return committed


def read(rt: Runtime, seen: list[str], done: threading.Event) -> None:
    """Poll the log by position, as the central system does, until the writers and sequencers are done."""
    position = 0
    while True:
        finished = done.is_set()
        with rt.db.read() as session:
            head = latest_head(session)
            size = head.size if head else 0
            rows = [(row.index, row.ref) for row in leaves(session, "behavior", position, size, 50)]
        seen.extend(ref for _, ref in rows)
        if rows:
            position = rows[-1][0] + 1
        elif finished:
            return


def sequence_until(rt: Runtime, done: threading.Event) -> None:
    """Sequence until the writers are done and nothing waits."""
    while True:
        finished = done.is_set()
        with rt.db.write() as session:
            appended = sequence_step(session, rt)
        if finished and not appended:
            return


def test_a_polling_reader_misses_nothing(shared: Runtime) -> None:
    """With six writers, two sequencers and a polling reader, each committed leaf is seen once and no other is."""
    seen: list[str] = []
    written, sequenced = threading.Event(), threading.Event()
    with ThreadPoolExecutor(WRITERS + 3) as pool:
        reader = pool.submit(read, shared, seen, sequenced)
        sequencers = [pool.submit(sequence_until, shared, written) for _ in range(2)]
        try:
            committed = [ref for refs in pool.map(lambda writer: write(shared, writer), range(WRITERS)) for ref in refs]
        finally:
            written.set()
        try:
            for sequencer in sequencers:
                sequencer.result()
        finally:
            sequenced.set()
        reader.result()
    assert len(seen) == len(set(seen)), "a leaf was seen twice"
    assert set(seen) == set(committed)
    for writer in range(WRITERS):  # each writer's own leaves keep their order
        own = [ref for ref in seen if ref.startswith(f"{writer}-")]
        assert own == [ref for ref in committed if ref.startswith(f"{writer}-")]
    with shared.db.read() as session:
        checked, findings = verify_log(session, shared)
    assert findings == []
    assert checked > len(committed)
