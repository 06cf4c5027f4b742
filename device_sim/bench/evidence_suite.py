"""`bench evidence`: eight devices upload files by tus, they are read back, exported as one bundle and proved.

The limits are one process that handles the same bytes with the same hashes.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from device_sim.bench.bundle_check import check_bundle, script_path
from device_sim.bench.frame import BenchFailed, Case, Options, Suite
from device_sim.bench.installation import Device, Installation, new_id, running
from device_sim.bench.light_client import LightClient, run_crew
from device_sim.bench.measurement import PRODUCT, RAW, Measurement
from device_sim.bench.own_process import in_own_process
from device_sim.bench.process_figures import cpu_s, peak_rss_mb, proportional_mb, reset_peak
from device_sim.bench.prove_suite import ProveBench
from device_sim.bench.raw_evidence import MB, both_hashes, raw_copy, raw_hash, raw_read
from device_sim.bench.raw_sync import connect
from device_sim.bench.segments import JournalBuilder
from device_sim.bench.shares import shares
from sync.journal import MAX_SEGMENT_ACTS, SEGMENT_TYPE

DEVICES = 8
FILES = 200
BUNDLE_FILES = 1_000
LOG_LEAVES = 1_000_000
CONNECTIONS = 100
PER_DEVICE = -(-CONNECTIONS // DEVICES)
MAX_SERVER_MB = 400
FILE_BYTES = 200_000
"""A photo from a handheld's camera, scaled down as handhelds do."""
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
    bundled: list[File] = field(default_factory=list)
    """Files of one inspection, uploaded before its bundle is written."""
    case: str = ""
    """That inspection."""
    prover: ProveBench = field(init=False)

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
        self.bundled = [_make_file(sources / new_id()) for _ in range(self.options.size(BUNDLE_FILES))]
        self.case = self._declare(self.platform.devices[0], self.bundled)

    def _declare(self, device: Device, files: list[File]) -> str:
        """Declare files as evidence of a new inspection; returns its id."""
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
        return inspection

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

    def read(self) -> Measurement:
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

    def verify(self) -> Measurement:
        """Let the stand-alone script check the bundle of one inspection with many files."""
        with LightClient(self.platform.url, self._devices[0].headers) as client:
            for file in self.bundled:
                self._upload(client, file)
        self._wait_verified()
        bundle = self._export()
        key = self.platform.home / "keys" / "proof-log.pub"
        note = f"{len(self.bundled):,} files of {FILE_BYTES // 1000} kB in one bundle of "
        note += f"{bundle.stat().st_size / MB:.0f} MB, with their acts, chains and proofs; nothing written"
        return in_own_process(check_bundle, script_path(), bundle, key, len(self.bundled), note)

    def _export(self) -> Path:
        """Write the bundle, once the proof log covers everything in it."""
        worker = self.platform.programs.start("worker", ["worker"])
        database = connect(self.platform.database)
        try:
            deadline = time.monotonic() + SETTLE_TIMEOUT_S
            while database.execute("SELECT count(*) FROM proof_pending").fetchone()[0]:
                worker.check()
                if time.monotonic() > deadline:
                    raise BenchFailed("leaves still wait for their places")
                time.sleep(POLL_S)
        finally:
            database.close()
        bundle = self.folder / "case.zip"
        self.platform.programs.run("export", ["export", self.case, "--out", str(bundle)])
        self.prover = ProveBench(self.platform, worker, self.options)
        return bundle

    def raw_verify(self) -> Measurement:
        """Read and hash the same files in one process."""
        return in_own_process(raw_hash, [file.path for file in self.bundled])

    def prove(self) -> Measurement:
        """Ask for proofs in a log of a million leaves."""
        self.prover.append_on_top(self.options.size(LOG_LEAVES))
        return self.prover.prove()

    def raw_prove(self) -> Measurement:
        """Hash as many nodes as checking the proofs takes."""
        return self.prover.raw_prove()

    def raw_upload(self) -> Measurement:
        """Copy the same files in one process."""
        return in_own_process(raw_copy, [file.path for file in self.uploaded], self.folder / new_id())

    def raw_read(self) -> Measurement:
        """Hash the same files in one process."""
        declared = {file.path: (file.sha256, file.sm3) for file in self.uploaded}
        return in_own_process(raw_read, declared)


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
            Case(PRODUCT, "read", "MB", bench.read),
            Case(RAW, "read", "MB", bench.raw_read),
            Case(PRODUCT, "verify", "files", bench.verify),
            Case(RAW, "verify", "files", bench.raw_verify),
            Case(PRODUCT, "prove", "proofs", bench.prove),
            Case(RAW, "prove", "proofs", bench.raw_prove),
        ]


EVIDENCE = Suite(
    name="evidence",
    about="8 devices upload declared files of 200 kB by tus; limit: one process, the same bytes, SHA-256 and SM3",
    cases={
        "upload": "upload until the server has verified everything; limit: copy with both hashes, synced",
        "upload-100-parallel": f"over {CONNECTIONS} connections at once; the server stays below {MAX_SERVER_MB} MB",
        "read": "read the originals back over HTTP, compare both hashes; limit: read and hash from disk",
        "verify": f"check the bundle of {BUNDLE_FILES:,} files with the stand-alone script; limit: read and hash them",
        "prove": f"inclusion proofs over HTTP in a log of {LOG_LEAVES:,} leaves; limit: as many node hashes",
    },
    open=_open,
)
