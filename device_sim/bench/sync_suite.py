"""`bench sync`: eight devices push signed segments, one pulls; the limit is the bare driver storing the same rows."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.installation import Device, Installation, running
from device_sim.bench.light_client import Answer, CrewResult, LightClient, run_crew
from device_sim.bench.measurement import PRODUCT, RAW, Measurement
from device_sim.bench.own_process import in_own_process
from device_sim.bench.peers import Peer
from device_sim.bench.process_figures import cpu_s, peak_rss_mb, proportional_mb, reset_peak
from device_sim.bench.raw_sync import SegmentKey, copy_database, raw_pull, raw_push
from device_sim.bench.segments import JournalBuilder, Segment, inspections
from device_sim.bench.shares import shares
from device_sim.bench.sync_peers import PeerBench, peer_cases
from sync.dots import Dot
from sync.journal import SEGMENT_TYPE

DEVICES = 8
RECORDS = {"push-25": 3_000, "push-200": 6_400, "push-500": 8_000, "update-200": 4_800, "pull": 1_600}
DEFAULT_RECORDS = 6_400
"""Acts of a case; divided among the devices."""
CHANGES = {"scene": "样例现场：复核后修改", "notes": "补充记录", "ended_at": "2026-03-30T18:00:00+08:00"}
"""What an update sets."""
WARM_UP_ACTS = 25
PAGE = 2_000
PULL_ROUNDS = 3
READER_PAGE = 500
APPLIED = b'"verdict":"applied"'
INSPECTION = b'\n{"kind":"inspection"'
DURABLE = "durable: SQLite WAL, FULL; commit before the reply"


@dataclass
class Pushed:
    """What one case pushed: the segments in the order of their replies, and the database before it."""

    segments: list[Segment] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    before: Path = Path()
    lock: threading.Lock = field(default_factory=threading.Lock)

    def push(self, client: LightClient, segment: Segment) -> None:
        """Send one segment; its answer is judged later."""
        answer = client.send("POST", "/api/v1/sync/push", segment.body, {"Content-Type": SEGMENT_TYPE})
        with self.lock:
            self.segments.append(segment)
            self.answers.append(answer)

    @property
    def acts(self) -> int:
        """How many acts were pushed."""
        return sum(segment.acts for segment in self.segments)

    @property
    def keys(self) -> list[SegmentKey]:
        """Which segments were pushed."""
        return [(segment.journal, segment.first, segment.last) for segment in self.segments]

    def check(self) -> None:
        """Every act must have its receipt, and every receipt must say that it was applied."""
        for segment, answer in zip(self.segments, self.answers, strict=True):
            if answer.body.count(APPLIED) != segment.acts or answer.body.count(b"\n") != segment.acts + 1:
                raise BenchFailed(f"not all of {segment.acts} acts were applied: {answer.body[:600]!r}")


@dataclass
class SyncBench:
    """The running platform, and what earlier cases left for later ones."""

    platform: Installation
    options: Options
    folder: Path
    keeps_copies: bool = True
    """Whether the database is copied before each case, for the limit to start from."""
    done: dict[str, Pushed] = field(default_factory=dict)
    written: list[list[tuple[str, Dot]]] = field(default_factory=list)
    """For each device, the inspections that `push-200` wrote: `update-200` changes them."""
    applied: int = 0

    @property
    def writers(self) -> Sequence[Device]:
        """The devices that push."""
        return self.platform.devices[:DEVICES]

    @property
    def reader(self) -> Device:
        """The device that sees everything: its officer is named in every inspection."""
        return self.platform.devices[DEVICES]

    def warm_up(self) -> None:
        """Let every device push once, unmeasured: the server has loaded everything then."""
        pushed = self.done["warm-up"] = Pushed()
        self._run(pushed, self._fresh_journals("warm-up", WARM_UP_ACTS * DEVICES, WARM_UP_ACTS), seconds=60.0)

    def push(self, case: str, acts_per_segment: int) -> Measurement:
        """Push new inspections."""
        acts = self.options.size(RECORDS.get(case, DEFAULT_RECORDS))
        return self._measured(case, self._fresh_journals(case, acts, acts_per_segment))

    def update(self, case: str, acts_per_segment: int) -> Measurement:
        """Change three fields of inspections that `push-200` wrote, seeing the values that are there."""
        pushed = {record for segment in self.done["push-200"].segments for record in segment.records}
        each = max(1, self.options.size(RECORDS[case]) // DEVICES)
        queues = []
        for device, written in zip(self.writers, self.written, strict=True):
            builder = JournalBuilder(device)  # a new journal: the time may have been up before the old one was sent
            known = [(record, dot) for record, dot in written if record in pushed][:each]
            for record, dot in known:
                builder.write("inspection", record, CHANGES, frozenset({dot}))
            queues.append(builder.seal(acts_per_segment))
        return self._measured(case, queues)

    def raw(self, case: str) -> Measurement:
        """Store the same rows with the bare driver."""
        pushed = self.done[case]
        return in_own_process(raw_push, pushed.before, self.platform.database, pushed.keys)

    def _fresh_journals(self, case: str, acts: int, acts_per_segment: int) -> list[list[Segment]]:
        builders = [JournalBuilder(device) for device in self.writers]
        written = [
            list(inspections(builder, self.platform.entity, [builder.device.officer, self.reader.officer], each))
            for builder, each in zip(builders, shares(acts, DEVICES), strict=True)
        ]
        if case == "push-200":
            self.written = written
        return [builder.seal(acts_per_segment) for builder in builders]

    def _measured(self, case: str, queues: Sequence[Sequence[Segment]]) -> Measurement:
        pushed = self.done[case] = Pushed(before=self.folder / f"before-{case}.db")
        if self.keeps_copies:
            copy_database(self.platform.database, pushed.before)
        pid = self.platform.server_pid
        reset_peak(pid)
        server_before = cpu_s(pid)
        crew = self._send(pushed, queues, self.options.seconds)
        server_s = cpu_s(pid) - server_before
        self._check(pushed)
        note = f"{pushed.acts:,} acts in {len(pushed.segments)} requests of {DEVICES} devices; {DURABLE}; CPU: server "
        note += f"{server_s / crew.seconds:.2f}, clients {crew.client_cores:.2f} cores; "
        note += f"{1000 * server_s / pushed.acts:.3f} ms an act; holds {proportional_mb(pid):.0f} MB"
        return Measurement(pushed.acts, crew.seconds, crew.latencies_s, peak_rss_mb(pid), note)

    def _run(self, pushed: Pushed, queues: Sequence[Sequence[Segment]], seconds: float) -> None:
        self._send(pushed, queues, seconds)
        self._check(pushed)

    def _send(self, pushed: Pushed, queues: Sequence[Sequence[Segment]], seconds: float) -> CrewResult:
        with ExitStack() as stack:
            clients = [stack.enter_context(LightClient(self.platform.url, one.headers)) for one in self.writers]
            work = [
                [partial(pushed.push, client, segment) for segment in queue]
                for client, queue in zip(clients, queues, strict=True)
            ]
            return run_crew(work, seconds)

    def _check(self, pushed: Pushed) -> None:
        """Every act must be applied, and counted by the server itself."""
        pushed.check()
        self.applied += pushed.acts
        counted = self.platform.office.figures()["acts"]
        if counted != {"applied": self.applied}:
            raise BenchFailed(f"{self.applied} acts were applied, the server counts {counted}")

    def pull(self) -> Measurement:
        """Push once more while a reader polls, then read everything anew from the beginning."""
        missed = self._missed_while_pushing()
        pid = self.platform.server_pid
        reset_peak(pid)
        pages: list[Answer] = []
        with LightClient(self.platform.url, self.reader.headers) as client:
            crew = run_crew([[partial(self._read_all, client, pages)] * PULL_ROUNDS], self.options.seconds)
        rounds = len(crew.latencies_s)
        count = sum(lines_in(page) for page in pages)
        known, brought = len(self._inspections()), sum(page.body.count(INSPECTION) for page in pages)
        if brought != rounds * known:
            raise BenchFailed(f"{rounds} pulls brought {brought} inspections; {known} were pushed")
        size_mb = sum(len(page.body) for page in pages) / 1e6
        note = f"{count:,} records in {len(pages)} pages of at most {PAGE:,}, {size_mb:.0f} MB; "
        note += f"p50 and p99 are of a whole pull; clients {crew.client_cores:.2f} cores"
        return Measurement(count, crew.seconds, crew.latencies_s, peak_rss_mb(pid), note, {"missed": missed})

    def _read_all(self, client: LightClient, pages: list[Answer]) -> None:
        cursor, more = "", True
        while more:
            page, cursor, more = read_page(client, cursor, PAGE)
            pages.append(page)

    def _inspections(self) -> set[str]:
        return {record for pushed in self.done.values() for segment in pushed.segments for record in segment.records}

    def _missed_while_pushing(self) -> int:
        """Push while a reader follows the feed; returns how many of the pushed records its cursor passed by."""
        pushed = self.done["pull"] = Pushed()
        finished = threading.Event()
        seen: set[str] = set()
        faults: list[Exception] = []

        def follow() -> None:
            cursor, last = "", False
            try:
                with LightClient(self.platform.url, self.reader.headers) as client:
                    while True:
                        last = finished.is_set()
                        page, cursor, more = read_page(client, cursor, READER_PAGE)
                        seen.update(json.loads(line)["id"] for line in page.body.splitlines()[1:])
                        if last and not more:
                            return
            except (BenchFailed, ValueError, KeyError) as error:
                faults.append(error)

        reader = threading.Thread(target=follow)
        reader.start()
        try:
            queues = self._fresh_journals("pull", self.options.size(RECORDS["pull"]), 50)
            self._run(pushed, queues, self.options.seconds)
        finally:
            finished.set()
            reader.join()
        if faults:
            raise BenchFailed(f"the polling reader failed: {faults[0]}")
        return len(self._inspections() - seen)

    def raw_pull(self) -> Measurement:
        """Read the same records with the bare driver."""
        return in_own_process(raw_pull, self.platform.database, PAGE, PULL_ROUNDS)


def read_page(client: LightClient, cursor: str, limit: int) -> tuple[Answer, str, bool]:
    """Pull one page; returns it with the next cursor and whether there is more."""
    answer = client.send("GET", f"/api/v1/sync/pull?limit={limit}&cursor={quote(cursor)}")
    head = json.loads(answer.body[: answer.body.index(b"\n")])
    return answer, head["cursor"], head["more"]


def lines_in(page: Answer) -> int:
    """Records in a page: its lines but for the head."""
    return page.body.count(b"\n") - 1


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with running(Installation(folder / "home", devices_wanted=DEVICES + 1)) as platform:
        platform.programs.start("worker", ["worker"])
        bench = SyncBench(platform, options, folder)
        bench.warm_up()
        cases = []
        for name in ("push-25", "push-200", "push-500", "update-200"):
            action = bench.update if name.startswith("update") else bench.push
            cases.append(Case(PRODUCT, name, "records", partial(action, name, int(name.partition("-")[2]))))
            cases.append(Case(RAW, name, "records", partial(bench.raw, name)))
        cases.append(Case(PRODUCT, "pull", "records", bench.pull))
        cases.append(Case(RAW, "pull", "records", bench.raw_pull))
        with ExitStack() as stack:
            if options.peers:
                cases += stack.enter_context(peer_cases(folder, partial(_peer_bench, options)))
            yield cases


def _peer_bench(options: Options, peer: Peer) -> PeerBench:
    return PeerBench(peer, options, RECORDS, DEVICES, CHANGES, PAGE, PULL_ROUNDS)


SYNC = Suite(
    name="sync",
    about="8 devices push signed segments of inspections (30 fields, 940 bytes); limit: the same rows, executemany",
    cases={
        "push-25": "new records, 25 acts a request",
        "push-200": "new records, 200 acts a request",
        "push-500": "new records, 500 acts a request",
        "update-200": "three fields of stored records, 200 acts a request",
        "pull": "one reader takes everything from the start; `missed`: by a reader that polls during pushes",
    },
    open=_open,
)
