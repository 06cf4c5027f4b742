"""`bench evidence`: eight devices upload files by tus, an auditor reads them back and checks them.

The limit of both is one process that handles the same bytes with the same two hashes.
"""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.installation import Device, Installation, new_id, running
from device_sim.bench.light_client import LightClient, run_crew
from device_sim.bench.measurement import PRODUCT, RAW, Measurement
from device_sim.bench.own_process import in_own_process
from device_sim.bench.process_figures import cpu_s, peak_rss_mb, proportional_mb, reset_peak
from device_sim.bench.segments import JournalBuilder
from device_sim.bench.shares import shares
from sync.journal import MAX_SEGMENT_ACTS, SEGMENT_TYPE

DEVICES = 8
FILES = 200
CONNECTIONS = 100
PER_DEVICE = -(-CONNECTIONS // DEVICES)
MAX_SERVER_MB = 400
FILE_BYTES = 200_000
"""A photo from a handheld's camera, scaled down as handhelds do."""
MB = 1_000_000
SETTLE_TIMEOUT_S = 60.0
POLL_S = 0.05
TUS = {"Tus-Resumable": "1.0.0"}
BODY_TYPE = "application/offset+octet-stream"


@dataclass(frozen=True)
class File:
    """One file to be uploaded, and what its journal declares of it."""

    evidence: str
    path: Path
    sha256: str
    sm3: str


@dataclass
class EvidenceBench:
    """The running platform and the files of the run."""

    platform: Installation
    options: Options
    folder: Path
    files: list[list[File]] = field(default_factory=list)
    """For each device, its files."""
    at_once: list[list[File]] = field(default_factory=list)
    """For each device, the files of the case with many connections."""
    uploaded: list[File] = field(default_factory=list)

    def prepare(self) -> None:
        """Make the files, and declare them as evidence of one inspection for each device."""
        sources = self.folder / "files"
        sources.mkdir()
        for device, count in zip(self.platform.devices, shares(self.options.size(FILES), DEVICES), strict=True):
            mine = [_make_file(sources / new_id()) for _ in range(count)]
            more = [_make_file(sources / new_id()) for _ in range(max(count, PER_DEVICE))]
            self.files.append(mine)
            self.at_once.append(more)
            self._declare(device, [*mine, *more])

    def _declare(self, device: Device, files: list[File]) -> None:
        builder, inspection = JournalBuilder(device), new_id()
        builder.write("inspection", inspection, {"entity": self.platform.entity, "status": "open"})
        for file in files:
            fields = {
                "inspection": inspection, "sha256": file.sha256, "sm3": file.sm3, "size_bytes": FILE_BYTES,
                "media_type": "application/octet-stream", "captured_at": "2026-03-02T09:00:00+08:00",
                "file_name": file.path.name,
            }  # fmt: skip
            builder.write("evidence", file.evidence, fields)
        with LightClient(self.platform.url, device.headers) as client:
            for segment in builder.seal(MAX_SEGMENT_ACTS):
                client.send("POST", "/api/v1/sync/push", segment.body, {"Content-Type": SEGMENT_TYPE})

    def upload(self) -> Measurement:
        """Upload every file whole; the clock stops when the server has verified all that were sent."""
        pid = self.platform.server_pid
        reset_peak(pid)
        server_before, before = cpu_s(pid), time.perf_counter()
        with ExitStack() as stack:
            clients = [stack.enter_context(LightClient(self.platform.url, one.headers)) for one in self._devices]
            work = [
                [partial(self._upload, client, file) for file in files]
                for client, files in zip(clients, self.files, strict=True)
            ]
            crew = run_crew(work, self.options.seconds)
        self._wait_verified()
        seconds = time.perf_counter() - before
        cores = (cpu_s(pid) - server_before) / seconds
        count = len(self.uploaded)
        note = f"{count:,} files of {FILE_BYTES // 1000} kB from {DEVICES} devices, each in one request, all verified; "
        note += "durable: files and folders synced, rows in SQLite FULL; "
        note += f"CPU: server {cores:.2f}, clients {crew.client_cpu_s / seconds:.2f} cores"
        return Measurement(count * FILE_BYTES / MB, seconds, crew.latencies_s, peak_rss_mb(pid), note)

    @property
    def _devices(self) -> list[Device]:
        return self.platform.devices

    def _upload(self, client: LightClient, file: File) -> None:
        content = file.path.read_bytes()
        metadata = {"evidence": file.evidence, "filename": file.path.name, "sha256": file.sha256}
        pairs = (f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in metadata.items())
        headers = {
            **TUS, "Upload-Length": str(len(content)), "Upload-Metadata": ",".join(pairs), "Content-Type": BODY_TYPE,
        }  # fmt: skip
        client.send("POST", "/api/v1/evidence/uploads", content, headers)
        self.uploaded.append(file)

    def upload_at_once(self) -> Measurement:
        """Upload as many files at once as there are connections; the server's memory has a limit."""
        pid = self.platform.server_pid
        reset_peak(pid)
        before = time.perf_counter()
        with ExitStack() as stack:
            work = []
            for index in range(CONNECTIONS):
                device, files = (
                    self._devices[index % DEVICES],
                    self.at_once[index % DEVICES][index // DEVICES :: PER_DEVICE],
                )
                client = stack.enter_context(LightClient(self.platform.url, device.headers))
                work.append([partial(self._upload, client, file) for file in files])
            crew = run_crew(work, self.options.seconds)
        self._wait_verified()
        seconds = time.perf_counter() - before
        held_mb = proportional_mb(pid)
        count = len(crew.latencies_s)
        note = f"{count:,} files of {FILE_BYTES // 1000} kB over {CONNECTIONS} connections at once, all verified; "
        note += f"the server then holds {held_mb:.0f} MB, shared pages counted once"
        if held_mb > MAX_SERVER_MB:
            raise BenchFailed(f"the server holds {held_mb:.0f} MB; {MAX_SERVER_MB} MB are its limit")
        return Measurement(count * FILE_BYTES / MB, seconds, crew.latencies_s, peak_rss_mb(pid), note)

    def _wait_verified(self) -> None:
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while self._verified() < len(self.uploaded):
            if time.monotonic() > deadline:
                raise BenchFailed(f"{len(self.uploaded)} files were uploaded, the server verified {self._verified()}")
            time.sleep(POLL_S)

    def _verified(self) -> int:
        return self.platform.office.figures()["evidence"].get("verified", 0)

    def verify(self) -> Measurement:
        """Read every original back and compare both hashes with what was declared."""
        pid = self.platform.server_pid
        reset_peak(pid)
        checked: list[int] = []
        token = self.platform.token("auditor")
        with ExitStack() as stack:
            clients = [
                stack.enter_context(LightClient(self.platform.url, {"Authorization": f"Bearer {token}"}))
                for _ in range(DEVICES)
            ]
            queues = [self.uploaded[index::DEVICES] for index in range(DEVICES)]
            work = [
                [partial(self._check, client, file, checked) for file in files]
                for client, files in zip(clients, queues, strict=True)
            ]
            crew = run_crew(work, self.options.seconds)
        note = f"{len(checked):,} originals read over HTTP by {DEVICES} connections, both hashes compared; "
        note += f"each access is a custody entry in SQLite FULL; clients {crew.client_cores:.2f} cores"
        return Measurement(sum(checked) / MB, crew.seconds, crew.latencies_s, peak_rss_mb(pid), note)

    @staticmethod
    def _check(client: LightClient, file: File, checked: list[int]) -> None:
        content = client.send("GET", f"/api/v1/evidence/{file.evidence}/content").body
        if both_hashes(content) != (file.sha256, file.sm3):
            raise BenchFailed(f"evidence {file.evidence} came back as something else")
        checked.append(len(content))

    def raw_upload(self) -> Measurement:
        """Copy the same files in one process."""
        return in_own_process(raw_copy, [file.path for file in self.uploaded], self.folder / new_id())

    def raw_verify(self) -> Measurement:
        """Hash the same files in one process."""
        declared = {file.path: (file.sha256, file.sm3) for file in self.uploaded}
        return in_own_process(raw_verify, declared)


def raw_copy(sources: list[Path], target: Path) -> Measurement:
    """Copy files with both hashes computed on the way, each synced before the next."""
    target.mkdir()
    latencies, size_bytes, started = [], 0, time.perf_counter()
    for source in sources:
        begun = time.perf_counter()
        content = source.read_bytes()
        both_hashes(content)
        with (target / source.name).open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        size_bytes += len(content)
        latencies.append(time.perf_counter() - begun)
    note = f"{len(sources):,} files copied with both hashes, one process; durable: each file synced"
    return Measurement(size_bytes / MB, time.perf_counter() - started, latencies, 0.0, note)


def raw_verify(declared: Mapping[Path, tuple[str, str]]) -> Measurement:
    """Read files and compare both hashes."""
    latencies, size_bytes, started = [], 0, time.perf_counter()
    for path, wanted in declared.items():
        begun = time.perf_counter()
        content = path.read_bytes()
        if both_hashes(content) != wanted:
            raise BenchFailed(f"{path.name} has changed")
        size_bytes += len(content)
        latencies.append(time.perf_counter() - begun)
    note = f"{len(declared):,} files read and hashed twice, one process; nothing written"
    return Measurement(size_bytes / MB, time.perf_counter() - started, latencies, 0.0, note)


def both_hashes(content: bytes) -> tuple[str, str]:
    """Return SHA-256 and SM3 as lower-case hex; SM3 from `cryptography` where this OpenSSL build has none."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        return sha256, hashlib.new("sm3", content).hexdigest()
    except ValueError:
        sm3 = hashes.Hash(hashes.SM3())
        sm3.update(content)
        return sha256, sm3.finalize().hex()


def _make_file(path: Path) -> File:
    content = os.urandom(FILE_BYTES)
    path.write_bytes(content)
    return File(new_id(), path, *both_hashes(content))


@contextmanager
def _open(options: Options, folder: Path) -> Iterator[list[Case]]:
    with running(Installation(folder / "home", devices_wanted=DEVICES)) as platform:
        bench = EvidenceBench(platform, options, folder)
        bench.prepare()
        yield [
            Case(PRODUCT, "upload", "MB", bench.upload),
            Case(RAW, "upload", "MB", bench.raw_upload),
            Case(PRODUCT, "upload-100-parallel", "MB", bench.upload_at_once),
            Case(RAW, "upload-100-parallel", "MB", bench.raw_upload),
            Case(PRODUCT, "verify", "MB", bench.verify),
            Case(RAW, "verify", "MB", bench.raw_verify),
        ]


EVIDENCE = Suite(
    name="evidence",
    about="8 devices upload declared files of 200 kB by tus; limit: one process, the same bytes, SHA-256 and SM3",
    cases={
        "upload": "upload until the server has verified everything; limit: copy with both hashes, synced",
        "upload-100-parallel": f"over {CONNECTIONS} connections at once; the server stays below {MAX_SERVER_MB} MB",
        "verify": "read the originals back over HTTP, compare both hashes; limit: read and hash from disk",
    },
    open=_open,
)
