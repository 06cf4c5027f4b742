"""`bench prove`: the sequencer appends waiting leaves, then inclusion proofs are asked for over HTTP.

Leaves come from behaviors, journal heads and evidence; 100,000 of those would take far longer than the log does, so the
leaves are put straight into the table where they wait, as committing transactions leave them there. `bench log` does
the same on top of logs of 10,000 to 10,000,000 leaves.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from sqlite3 import Connection

from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.grown_log import grow, leaf_bytes, let_wait, log_size
from device_sim.bench.installation import Installation, running
from device_sim.bench.light_client import Answer, LightClient, run_crew
from device_sim.bench.measurement import PRODUCT, RAW, Measurement
from device_sim.bench.own_process import in_own_process
from device_sim.bench.process_figures import cpu_s, peak_rss_mb, reset_peak
from device_sim.bench.raw_sync import connect
from device_sim.demo.programs import Program
from sync.merkle import leaf_hash, node_hash, verify_inclusion

LEAVES = 100_000
PROOFS = 2_000
CLIENTS = 8
APPEND_TIMEOUT_S = 600.0
POLL_S = 0.02
SIZES = {"10k": 10_000, "100k": 100_000, "1m": 1_000_000, "10m": 10_000_000}
"""Sizes of logs that are compared."""
LARGEST = 1_000_000
"""What `bench log` goes up to without `--records`: ten times that takes half an hour and 8 GB."""
ON_TOP = 5_000
"""Leaves appended on top of each."""


@dataclass
class ProveBench:
    """The running platform and the size of its log."""

    platform: Installation
    worker: Program
    options: Options
    leaves: int = 0
    foreign: int = 0
    """Leaves before the first of ours: what they say is not known here, so that their proofs are not asked for."""
    answers: list[Answer] = field(default_factory=list)

    def append(self) -> Measurement:
        """Let the worker give all waiting leaves their places."""
        return self._append(self.options.size(LEAVES))

    def append_on_top(self, size: int) -> Measurement:
        """Make the log `size` leaves large, the last ones appended by the worker: only those are measured."""
        database = connect(self.platform.database)
        try:
            if log_size(database) == 0:
                self._append(1)
            elif self.leaves == 0:
                self.foreign = log_size(database)
            grow(database, size - ON_TOP)
        finally:
            database.close()
        return self._append(ON_TOP)

    def _append(self, count: int) -> Measurement:
        """Append so many leaves; the clock runs until the log has them all."""
        reset_peak(self.worker.process.pid)
        database = connect(self.platform.database)
        try:
            had = log_size(database)
            cpu_before = cpu_s(self.worker.process.pid)
            let_wait(database, range(had, had + count))
            before = time.perf_counter()
            sizes = self._wait(database, had, had + count)
        finally:
            database.close()
        seconds = sizes[-1][1] - before
        self.leaves = sizes[-1][0]
        steps = [moment - earlier for (_, moment), (_, earlier) in zip(sizes, [(0, before), *sizes], strict=False)]
        note = f"{count:,} leaves on top of {had:,} in {len(sizes)} steps, each a transaction with its signed head; "
        note += "durable: SQLite WAL, FULL; p50 and p99 are of a step; CPU of the worker "
        note += f"{(cpu_s(self.worker.process.pid) - cpu_before) / count * 1e6:.0f} µs a leaf"
        return Measurement(count, seconds, steps, peak_rss_mb(self.worker.process.pid), note)

    def _wait(self, reader: Connection, had: int, wanted: int) -> list[tuple[int, float]]:
        """Return when the log was seen at which size, until it has all leaves."""
        seen: list[tuple[int, float]] = []
        deadline = time.monotonic() + APPEND_TIMEOUT_S
        while not seen or seen[-1][0] < wanted:
            size = log_size(reader)
            if size > (seen[-1][0] if seen else had):
                seen.append((size, time.perf_counter()))
            self.worker.check()
            if time.monotonic() > deadline:
                raise BenchFailed(f"the log was to have {wanted} leaves and has {size}")
            time.sleep(POLL_S)
        return seen

    def prove(self) -> Measurement:
        """Ask for inclusion proofs of random leaves; every one is verified after the clock has stopped."""
        self.answers.clear()
        root = bytes.fromhex(self.platform.office.get("/api/v1/proof-log/head")["root"])
        rng = random.Random(7)
        wanted = [rng.randrange(self.foreign, self.leaves) for _ in range(min(PROOFS, self.options.size(PROOFS)))]
        pid = self.platform.server_pid
        reset_peak(pid)
        server_before = cpu_s(pid)
        headers = {"Authorization": f"Bearer {self.platform.token('auditor')}"}
        with ExitStack() as stack:
            clients = [stack.enter_context(LightClient(self.platform.url, headers)) for _ in range(CLIENTS)]
            work = [
                [partial(self._ask, client, index) for index in wanted[number::CLIENTS]]
                for number, client in enumerate(clients)
            ]
            crew = run_crew(work, self.options.seconds)
        cores = (cpu_s(pid) - server_before) / crew.seconds
        self.verify(root)
        note = f"{len(self.answers):,} proofs in the tree of {self.leaves:,} leaves, one a request over {CLIENTS} "
        note += f"connections, all verified afterwards; CPU: server {cores:.2f} cores, "
        note += f"{cores * crew.seconds / len(self.answers) * 1e3:.1f} ms a proof, "
        note += f"clients {crew.client_cores:.2f} cores"
        return Measurement(len(self.answers), crew.seconds, crew.latencies_s, peak_rss_mb(pid), note)

    def _ask(self, client: LightClient, index: int) -> None:
        self.answers.append(client.send("GET", f"/api/v1/proof-log/inclusion?index={index}&size={self.leaves}"))

    def verify(self, root: bytes) -> None:
        """Check every proof that came back. Raises `BenchFailed` for one that proves nothing."""
        for answer in self.answers:
            proof = json.loads(answer.body)
            index, path = proof["index"], [bytes.fromhex(step) for step in proof["path"]]
            if not verify_inclusion(leaf_hash(leaf_bytes(index)), index, self.leaves, path, root):
                raise BenchFailed(f"the proof of leaf {index} does not verify")

    def raw_append(self) -> Measurement:
        """Hash as many leaves and nodes."""
        return in_own_process(raw_append, self.leaves)

    @staticmethod
    def raw_append_on_top() -> Measurement:
        """Hash as many leaves and nodes as are appended on top of a large log."""
        return in_own_process(raw_append, ON_TOP)

    def raw_prove(self) -> Measurement:
        """Hash as many nodes as checking the proofs takes."""
        return in_own_process(raw_prove, [len(json.loads(answer.body)["path"]) for answer in self.answers])


def raw_append(leaves: int) -> Measurement:
    """Hash a number of leaves, and each pair of nodes above them, in memory."""
    contents = [leaf_bytes(index) for index in range(leaves)]
    started = time.perf_counter()
    level = [leaf_hash(content) for content in contents]
    hashed = leaves
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=False)
        odd = level[-1:] if len(level) % 2 else []
        level = [node_hash(left, right) for left, right in pairs] + odd
        hashed += len(level) - len(odd)
    seconds = time.perf_counter() - started
    note = f"{leaves:,} leaves, {hashed:,} hashes, one process; nothing stored, nothing durable"
    return Measurement(leaves, seconds, [seconds], 0.0, note)


def raw_prove(paths: list[int]) -> Measurement:
    """Hash as many nodes as paths of these lengths have."""
    node, latencies, started = bytes(32), [], time.perf_counter()
    for length in paths:
        begun = time.perf_counter()
        for _ in range(length):
            node = node_hash(node, node)
        latencies.append(time.perf_counter() - begun)
    note = f"{len(paths):,} proofs, {sum(paths):,} node hashes, one process; nothing read"
    return Measurement(len(paths), time.perf_counter() - started, latencies, 0.0, note)


@contextmanager
def _running(options: Options, folder: Path) -> Iterator[ProveBench]:
    with running(Installation(folder / "home")) as platform:
        yield ProveBench(platform, platform.programs.start("worker", ["worker"]), options)


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with _running(options, folder) as bench:
        yield [
            Case(PRODUCT, "append", "leaves", bench.append),
            Case(RAW, "append", "leaves", bench.raw_append),
            Case(PRODUCT, "prove", "proofs", bench.prove),
            Case(RAW, "prove", "proofs", bench.raw_prove),
        ]


@contextmanager
def _open_sizes(options: Options, folder: Path) -> Iterator[list[Case]]:
    wanted = {name: size for name, size in SIZES.items() if size <= options.size(LARGEST)}
    if not wanted:
        raise BenchFailed(f"the smallest log has {min(SIZES.values()):,} leaves")
    with _running(options, folder) as bench:
        yield [
            case
            for name, size in wanted.items()
            for case in (
                Case(PRODUCT, f"append-{name}", "leaves", partial(bench.append_on_top, size)),
                Case(RAW, f"append-{name}", "leaves", bench.raw_append_on_top),
                Case(PRODUCT, f"prove-{name}", "proofs", bench.prove),
                Case(RAW, f"prove-{name}", "proofs", bench.raw_prove),
            )
        ]


PROVE = Suite(
    name="prove",
    about="the proof log at 100,000 leaves; limit: one process that hashes the same number of nodes",
    cases={
        "append": "waiting leaves get their places and signed heads; limit: the hashes alone, in memory",
        "prove": "inclusion proofs over HTTP, each verified; limit: as many node hashes",
    },
    open=_open,
)

LOG = Suite(
    name="log",
    about=f"the same on top of 10,000, 100,000 and 1,000,000 leaves; 10,000,000 with --records {max(SIZES.values())}",
    cases={
        f"{what}-{name}": f"{what}, at {size:,} leaves" for name, size in SIZES.items() for what in ("append", "prove")
    },
    open=_open_sizes,
)
