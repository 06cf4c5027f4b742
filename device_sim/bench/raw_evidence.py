"""The limits of `bench evidence`: one process that copies, reads or hashes the same files."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from device_sim.bench.frame import BenchFailed
from device_sim.bench.measurement import Measurement

MB = 1_000_000


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


def raw_read(declared: Mapping[Path, tuple[str, str]]) -> Measurement:
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


def raw_hash(paths: list[Path]) -> Measurement:
    """Read files and hash them with SHA-256, as their bundle is hashed."""
    started = time.perf_counter()
    for path in paths:
        hashlib.sha256(path.read_bytes())
    seconds = time.perf_counter() - started
    note = f"{len(paths):,} files read and hashed once, one process; nothing written"
    return Measurement(len(paths), seconds, [seconds], 0.0, note)


def both_hashes(content: bytes) -> tuple[str, str]:
    """Return SHA-256 and SM3 as lower-case hex; SM3 from `cryptography` where this OpenSSL build has none."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        return sha256, hashlib.new("sm3", content).hexdigest()
    except ValueError:
        sm3 = hashes.Hash(hashes.SM3())
        sm3.update(content)
        return sha256, sm3.finalize().hex()
