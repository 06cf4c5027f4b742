"""`bench feed`: the shared records of a region reach a new handheld, and a reader streams a million of them.

A hundred thousand entities entered through the office would take minutes, and reading them is what is measured. So the
rows are put straight into the table, as copies of one that the office wrote, each with its own id, position and line.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import zstandard

from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.installation import REGION, Device, Installation, new_id, running
from device_sim.bench.light_client import TIMEOUT_S
from device_sim.bench.measurement import PRODUCT, RAW, Measurement
from device_sim.bench.own_process import in_own_process
from device_sim.bench.process_figures import cpu_s, peak_rss_mb, proportional_mb, reset_peak
from device_sim.bench.raw_sync import connect, raw_pull
from device_sim.handheld.client import DEVICE, Handheld
from device_sim.handheld.sharing import OFFICER

ENTITIES, CHECKLISTS = 100_000, 2_000
SUB_ITEMS = 20
STREAMED = 1_000_000
LINE_BYTES = 940
"""Size of the records that are streamed."""
PAGE = 2_000
READ_BYTES = 1 << 20
ROWS_AT_ONCE = 10_000
MARK = b'\n{"cursor":'


@dataclass
class FeedBench:
    """The running platform, and what its tables have been filled with."""

    platform: Installation
    options: Options
    folder: Path
    shared: int = 1
    """Shared records so far: the platform's one entity."""
    handhelds: list[Path] = field(default_factory=list)

    def first_sync(self, case: str) -> Measurement:
        """Let a new handheld get everything; the clock runs from its first request until it has made sure."""
        if case == "first-sync":
            self._fill("entity", self.options.size(ENTITIES), 0)
            self._fill("checklist", max(1, self.options.size(ENTITIES) * CHECKLISTS // ENTITIES), 0)
        pid = self.platform.server_pid
        device = self.platform.devices[len(self.handhelds)]
        folder = self.folder / f"handheld-{len(self.handhelds)}"
        self.handhelds.append(folder)
        reset_peak(pid)
        server_before, own_before = cpu_s(pid), time.process_time()
        with httpx.Client(base_url=self.platform.url, timeout=TIMEOUT_S, trust_env=False) as client:
            handheld = Handheld(folder, client, key=device.key.private_bytes_raw())
            handheld.store.put(DEVICE, device.id)
            handheld.store.put(OFFICER, device.officer)
            begun = time.perf_counter()
            handheld.pull()
            took = time.perf_counter() - begun
            known, counts = handheld.store.records.count(), handheld.counts
            handheld.close()
        own, server = time.process_time() - own_before, cpu_s(pid) - server_before
        wanted = self.shared + len(self.platform.officers)  # officers are records too
        if known != wanted or counts["reconciled"]:
            raise BenchFailed(f"the handheld has {known} of {wanted} records, {counts['reconciled']} were put right")
        way = f"snapshot of {counts['snapshot_bytes'] / 1e6:.1f} MB" if counts["snapshots"] else "feed alone"
        note = f"{self.options.size(ENTITIES)} entities and their checklists in {took:.2f} s by {way}; "
        note += f"digests agree; CPU s: server {server:.2f}, handheld {own:.2f}"
        return Measurement(known, took, [took], peak_rss_mb(pid), note)

    def stream(self, coding: str) -> Measurement:
        """Read the whole feed as one stream after the other, counting lines."""
        if coding == "identity":
            self._fill("entity", self.options.size(STREAMED), LINE_BYTES)
        pid, device = self.platform.server_pid, self.platform.devices[0]
        wanted = self.shared + len(self.platform.officers)
        reset_peak(pid)
        server_before, own_before = cpu_s(pid), time.process_time()
        begun = time.perf_counter()
        tally = read_streams(self.platform.url, device, coding)
        took = time.perf_counter() - begun
        own, server = time.process_time() - own_before, cpu_s(pid) - server_before
        held_mb = proportional_mb(pid)
        if tally.records != wanted:
            raise BenchFailed(f"the streams brought {tally.records} of {wanted} records")
        note = f"{self.options.size(STREAMED)} records of {LINE_BYTES} bytes and those before, {coding}: "
        note += f"{tally.wire_bytes / 1e6:.0f} of {tally.plain_bytes / 1e6:.0f} MB in {tally.streams} streams; "
        note += f"server {held_mb:.0f} MB when shared pages count once; CPU s: server {server:.2f}, client {own:.2f}"
        return Measurement(tally.records, took, [took], peak_rss_mb(pid), note)

    def raw_stream(self) -> Measurement:
        """Read the same rows with the bare driver."""
        return self._noted(in_own_process(raw_pull, self.platform.database, PAGE, 1), STREAMED)

    def raw_first_sync(self) -> Measurement:
        """Copy the same rows into a new database with the bare driver, in one durable transaction."""
        target = self.folder / "raw.db"
        target.unlink(missing_ok=True)
        return self._noted(in_own_process(raw_copy, self.platform.database, target), ENTITIES)

    def _noted(self, measured: Measurement, size: int) -> Measurement:
        note = f"{self.options.size(size)} and those before: {measured.note}"
        return Measurement(measured.count, measured.seconds, measured.latencies_s, measured.peak_rss_mb, note)

    def _fill(self, kind: str, count: int, line_bytes: int) -> None:
        """Put copies of the platform's entity beside it."""
        writer = connect(self.platform.database)
        try:
            found = writer.execute("SELECT * FROM synced_record WHERE id = ?", (self.platform.entity,))
            row = dict(zip([column[0] for column in found.description], found.fetchone(), strict=True))
            template = json.loads(row["line"])
            position = writer.execute("SELECT position FROM server_state").fetchone()[0]
            sql = f"INSERT INTO synced_record ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608 - names of columns
            for start in range(0, count, ROWS_AT_ONCE):
                size = min(ROWS_AT_ONCE, count - start)
                writer.execute("BEGIN IMMEDIATE")
                numbers = range(position + start + 1, position + start + size + 1)
                writer.executemany(sql, (_copy(row, template, kind, number, line_bytes) for number in numbers))
                writer.execute("UPDATE server_state SET position = ?", (position + start + size,))
                writer.execute("COMMIT")
        finally:
            writer.close()
        self.shared += count


def _copy(
    row: Mapping[str, Any], template: Mapping[str, Any], kind: str, number: int, line_bytes: int
) -> tuple[Any, ...]:
    """A row like that of the office's record, with its own id, position and content."""
    record = new_id()
    act = template["acts"][0]
    fields: dict[str, Any]
    if kind == "entity":
        fields = dict(act["fields"]) | {"name": f"样例单位 {number}（虚构）"}
    else:
        steps = [
            {"number": str(n), "text": f"样例检查事项 {n}：查看现场并核对记录（{number}）"} for n in range(SUB_ITEMS)
        ]
        fields = {"code": f"{number:019d}", "version": 1, "name": f"样例清单 {number}", "sub_items": steps}
    acts = [act | {"fields": fields}]
    line = {**template, "kind": kind, "id": record, "position": number, "region": REGION, "acts": acts}
    missing = line_bytes - len(_encoded(line))
    if missing > 0:
        fields["operating_address"] = str(fields.get("operating_address", "")) + "x" * missing
    changed = {"kind": kind, "id": record, "position": number, "region": REGION, "line": _encoded(line)}
    return tuple({**row, **changed}.values())


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Tally:
    """What streams brought."""

    records: int = 0
    streams: int = 0
    wire_bytes: int = 0
    plain_bytes: int = 0


def read_streams(url: str, device: Device, coding: str) -> Tally:
    """Read a device's feed from the beginning to its end in bounded memory, looking only for cursors.

    Raises:
        BenchFailed: a stream was refused or cut.
    """
    address = urlsplit(url)
    tally, cursor, more = Tally(), "", True
    connection = HTTPConnection(str(address.hostname), address.port, timeout=TIMEOUT_S)
    while more:
        headers = {**device.headers, "Accept-Encoding": coding}
        connection.request("GET", f"/api/v1/sync/pull?cursor={quote(cursor)}", headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            raise BenchFailed(f"pull: {response.status} {response.read(300)!r}")
        decode = zstandard.ZstdDecompressor().decompressobj().decompress if coding == "zstd" else bytes
        lines = marks = 0
        end = b"\n"
        while piece := response.read1(READ_BYTES):
            plain = decode(piece)
            tally.wire_bytes, tally.plain_bytes = tally.wire_bytes + len(piece), tally.plain_bytes + len(plain)
            lines += plain.count(b"\n")
            marks += (end[1 - len(MARK) :] + plain).count(MARK)
            end = (end + plain)[-8 * len(cursor or "x" * 1_000) :]
        last = json.loads(end.removesuffix(b"\n").rsplit(b"\n", 1)[-1])
        cursor, more = last["cursor"], last["more"]
        tally.records, tally.streams = tally.records + lines - marks - 1, tally.streams + 1
    connection.close()
    return tally


def raw_copy(source: Path, target: Path) -> Measurement:
    """Read all shared lines and write them into a new database."""
    reader, writer = connect(source, read_only=True), connect(target)
    begun = time.perf_counter()
    writer.execute("CREATE TABLE records (kind TEXT, id TEXT, position INTEGER, line BLOB, PRIMARY KEY (kind, id))")
    writer.execute("BEGIN IMMEDIATE")
    rows = reader.execute("SELECT kind, id, position, line FROM synced_record WHERE assigned = 0")
    count = 0
    while some := rows.fetchmany(PAGE):
        writer.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", some)
        count += len(some)
    writer.execute("COMMIT")
    took = time.perf_counter() - begun
    reader.close()
    writer.close()
    return Measurement(count, took, [took], 0.0, f"{count:,} records copied into a new file, one durable commit")


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with running(Installation(folder / "home", devices_wanted=2)) as platform:
        bench = FeedBench(platform, options, folder)
        cases = []
        for name in ("first-sync", "second-sync"):
            cases.append(Case(PRODUCT, name, "records", partial(bench.first_sync, name)))
            cases.append(Case(RAW, name, "records", bench.raw_first_sync))
        for name, coding in (("stream", "identity"), ("stream-zstd", "zstd")):
            cases.append(Case(PRODUCT, name, "records", partial(bench.stream, coding)))
            cases.append(Case(RAW, name, "records", bench.raw_stream))
        yield cases


FEED = Suite(
    name="feed",
    about="new handhelds and streams of records; limit: the same rows, read and written by the bare driver",
    cases={
        "first-sync": "100,000 entities and 2,000 checklists on a new handheld, digests compared; the file is made",
        "second-sync": "the same on another officer's handheld: the file is there",
        "stream": "1,000,000 records of 940 bytes as streams, uncompressed",
        "stream-zstd": "the same, compressed",
    },
    open=_open,
)
