"""`bench prove`: the sequencer appends waiting leaves, then inclusion proofs are asked for over HTTP.

Leaves come from behaviors, journal heads and evidence; 100,000 of those would take far longer than the log does, so the
leaves are put straight into the table where they wait, as committing transactions leave them there.
"""

from __future__ import annotations

import hashlib
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
INSERT = "INSERT INTO proof_pending (kind, ref, data, at) VALUES ('journal-head', ?, ?, ?)"
AT = "2026-03-02 09:00:00.000000"


@dataclass
class ProveBench:
    """The running platform and the size of its log."""

    platform: Installation
    worker: Program
    options: Options
    leaves: int = 0
    answers: list[Answer] = field(default_factory=list)

    def append(self) -> Measurement:
        """Let the worker give all waiting leaves their places; the clock runs until the log has them all."""
        wanted = self.options.size(LEAVES)
        reset_peak(self.worker.process.pid)
        writer = connect(self.platform.database)
        writer.execute("BEGIN IMMEDIATE")
        writer.executemany(INSERT, [(f"bench:{index}", leaf_bytes(index), AT) for index in range(wanted)])
        writer.execute("COMMIT")
        before = time.perf_counter()
        try:
            sizes = self._wait(writer, wanted)
        finally:
            writer.close()
        seconds = sizes[-1][1] - before
        self.leaves = sizes[-1][0]
        steps = [moment - earlier for (_, moment), (_, earlier) in zip(sizes, [(0, before), *sizes], strict=False)]
        note = f"{self.leaves:,} leaves in {len(sizes)} steps, each a transaction with its signed head; "
        note += "durable: SQLite WAL, FULL; p50 and p99 are of a step"
        peak = peak_rss_mb(self.worker.process.pid)
        return Measurement(self.leaves, seconds, steps, peak, note)

    def _wait(self, reader: Connection, wanted: int) -> list[tuple[int, float]]:
        """Return when the log was seen at which size, until it has all leaves."""
        seen: list[tuple[int, float]] = []
        deadline = time.monotonic() + APPEND_TIMEOUT_S
        while not seen or seen[-1][0] < wanted:
            row = reader.execute("SELECT size FROM proof_log").fetchone()
            size = int(row[0]) if row else 0
            if size > (seen[-1][0] if seen else 0):
                seen.append((size, time.perf_counter()))
            self.worker.check()
            if time.monotonic() > deadline:
                raise BenchFailed(f"{wanted} leaves waited, the log has {size}")
            time.sleep(POLL_S)
        return seen

    def prove(self) -> Measurement:
        """Ask for inclusion proofs of random leaves; every one is verified after the clock has stopped."""
        root = bytes.fromhex(self.platform.office.get("/api/v1/proof-log/head")["root"])
        rng = random.Random(7)
        wanted = [rng.randrange(self.leaves) for _ in range(min(PROOFS, self.options.size(PROOFS)))]
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
        note += f"connections, all verified afterwards; CPU: server {cores:.2f}, clients {crew.client_cores:.2f} cores"
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

    def raw_prove(self) -> Measurement:
        """Hash as many nodes as checking the proofs takes."""
        return in_own_process(raw_prove, [len(json.loads(answer.body)["path"]) for answer in self.answers])


def leaf_bytes(index: int) -> bytes:
    """Return the bytes of one leaf, as long as a journal head's."""
    head = hashlib.sha256(str(index).encode()).hexdigest()
    return json.dumps({"journal": f"bench-{index:030d}", "seq": index, "head": head}, separators=(",", ":")).encode()


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
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with running(Installation(folder / "home")) as platform:
        bench = ProveBench(platform, platform.programs.start("worker", ["worker"]), options)
        yield [
            Case(PRODUCT, "append", "leaves", bench.append),
            Case(RAW, "append", "leaves", bench.raw_append),
            Case(PRODUCT, "prove", "proofs", bench.prove),
            Case(RAW, "prove", "proofs", bench.raw_prove),
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
