"""`bench sync --peers`: the same records pushed to other systems, in requests of as many, by as many clients."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from device_sim.bench.frame import BenchFailed, Case, Options
from device_sim.bench.installation import new_id
from device_sim.bench.light_client import Answer, CrewResult, LightClient, run_crew
from device_sim.bench.measurement import Measurement
from device_sim.bench.peers import PEERS, Peer, Record, Request
from device_sim.bench.process_figures import cpu_s, peak_rss_mb, reset_peak
from device_sim.bench.segments import inspection_fields
from device_sim.bench.shares import shares
from sync.ids import RANDOM_BYTES, uuid7

MAX_REPEATED = 10_000
PEER_TIMEOUT_S = 1_200.0
"""A slow peer may take minutes for 500 records of each of 8 clients."""
PUSHES = ("push-25", "push-200", "push-500", "update-200")


@dataclass
class PeerBench:
    """One peer and what it was sent."""

    peer: Peer
    options: Options
    sizes: Mapping[str, int]
    clients: int
    changes: Mapping[str, Any]
    page: int
    pull_rounds: int
    stored: dict[str, list[Record]] = field(default_factory=dict)
    repeated: int = 0
    """Requests that had to be sent once more."""

    def push(self, case: str) -> Measurement:
        """Store new records, or change those that `push-200` has stored."""
        each = int(case.partition("-")[2])
        pid = self.peer.pid
        queues = self._updates(case, each) if case.startswith("update") else self._inserts(case, each)
        reset_peak(pid)
        before, repeated = cpu_s(pid), self.repeated
        crew, sent = self._run(case, queues, self.options.seconds)
        count, cores = sum(request.records for request in sent), (cpu_s(pid) - before) / crew.seconds
        note = f"{count:,} records in {len(sent)} requests of {self.clients} clients; {self.peer.durability}; "
        note += f"{self.repeated - repeated} requests repeated; " if self.repeated > repeated else ""
        note += f"CPU: server {cores:.2f}, clients {crew.client_cores:.2f} cores"
        return Measurement(count, crew.seconds, crew.latencies_s, peak_rss_mb(pid), note)

    def _inserts(self, case: str, each: int) -> list[list[tuple[Request, list[Record]]]]:
        queues = []
        for count in shares(self.options.size(self.sizes[case]), self.clients):
            records = [_record(number) for number in range(count)]
            queues.append(self._cut(records, each, self.peer.inserts))
        return queues

    def _updates(self, case: str, each: int) -> list[list[tuple[Request, list[Record]]]]:
        records = self.stored["push-200"]
        size = max(1, min(len(records), self.options.size(self.sizes[case])) // self.clients)
        change = partial(self.peer.updates, changes=self.changes)
        return [self._cut(records[size * n : size * (n + 1)], each, change) for n in range(self.clients)]

    @staticmethod
    def _cut(
        records: Sequence[Record], each: int, make: Callable[[Sequence[Record]], Request]
    ) -> list[tuple[Request, list[Record]]]:
        parts = [list(records[start : start + each]) for start in range(0, len(records), each)]
        return [(make(part), part) for part in parts]

    def _run(
        self, case: str, queues: Sequence[Sequence[tuple[Request, list[Record]]]], seconds: float
    ) -> tuple[CrewResult, list[Request]]:
        done: list[tuple[Request, list[Record], Answer]] = []

        def send(client: LightClient, request: Request, records: list[Record]) -> None:
            answer = client.send(request.method, request.path, request.body)
            while self.peer.must_repeat(answer):
                self.repeated += 1
                if self.repeated > MAX_REPEATED:
                    raise BenchFailed(f"{self.peer.system} asks for the same again and again: {answer.body[:300]!r}")
                answer = client.send(request.method, request.path, request.body)
            done.append((request, records, answer))

        with ExitStack() as stack:
            work = []
            for queue in queues:
                client = stack.enter_context(LightClient(self.peer.url, self.peer.headers, PEER_TIMEOUT_S))
                work.append([partial(send, client, request, records) for request, records in queue])
            crew = run_crew(work, seconds)
        for request, records, answer in done:
            self.peer.accept(request, answer)
            self.stored.setdefault(case, []).extend(records)
        return crew, [request for request, _, _ in done]

    def pull(self) -> Measurement:
        """Push once more while a reader polls, then read everything from the beginning."""
        missed = self._missed_while_pushing()
        pid, answers = self.peer.pid, list[Answer]()
        reset_peak(pid)
        counts: list[int] = []
        with LightClient(self.peer.url, self.peer.headers, PEER_TIMEOUT_S) as client:
            read = partial(self._read_all, client, answers, counts)
            crew = run_crew([[read] * self.pull_rounds], self.options.seconds)
        known = len(self._known())
        if any(count != known for count in counts):
            raise BenchFailed(f"{self.peer.system}: pulls brought {counts} records; {known} were stored")
        size_mb = sum(len(one.body) for one in answers) / 1e6
        note = f"{sum(counts):,} records in {len(answers)} pages of at most {self.page:,}, {size_mb:.0f} MB; "
        note += f"p50 and p99 are of a whole pull; clients {crew.client_cores:.2f} cores"
        return Measurement(sum(counts), crew.seconds, crew.latencies_s, peak_rss_mb(pid), note, {"missed": missed})

    def _read_all(self, client: LightClient, answers: list[Answer], counts: list[int]) -> None:
        after, more, count = "", True, 0
        while more:
            page = self.peer.read(client, after, self.page)
            answers.append(page.answer)
            after, more, count = page.after, page.more, count + len(page.ids)
        counts.append(count)

    def _known(self) -> set[str]:
        return {record.id for case, records in self.stored.items() if case != "update-200" for record in records}

    def _missed_while_pushing(self) -> int:
        finished, seen, faults = threading.Event(), set[str](), list[Exception]()

        def follow() -> None:
            after = ""
            try:
                with LightClient(self.peer.url, self.peer.headers, PEER_TIMEOUT_S) as client:
                    while True:
                        last = finished.is_set()
                        page = self.peer.read(client, after, self.page)
                        seen.update(page.ids)
                        after = page.after
                        if last and not page.more:
                            return
            except (BenchFailed, ValueError, KeyError) as error:
                faults.append(error)

        reader = threading.Thread(target=follow)
        reader.start()
        try:
            self._run("pull", self._inserts("pull", 50), self.options.seconds)
        finally:
            finished.set()
            reader.join()
        if faults:
            raise BenchFailed(f"{self.peer.system}: the polling reader failed: {faults[0]}")
        return len(self._known() - seen)


def _record(number: int) -> Record:
    """A new inspection as the product is sent it."""
    record = uuid7(time.time_ns() // 1_000_000, os.urandom(RANDOM_BYTES))
    return Record(record, inspection_fields(ENTITY, OFFICERS, number))


ENTITY, OFFICERS = new_id(), (new_id(), new_id())


@contextmanager
def peer_cases(folder: Path, make: Callable[[Peer], PeerBench]) -> Iterator[list[Case]]:
    """Run every peer and yield its cases; `make` gives a bench for it."""
    with ExitStack() as stack:
        cases = []
        for name, start in PEERS.items():
            below = folder / name
            below.mkdir()
            bench = make(stack.enter_context(start(below)))
            cases += [Case(name, case, "records", partial(bench.push, case)) for case in PUSHES]
            cases.append(Case(name, "pull", "records", bench.pull))
        yield cases
