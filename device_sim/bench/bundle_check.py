"""Checking a bundle in `bench evidence`: the stand-alone script, run as itself in a process of its own."""

import io
import runpy
import time
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

from device_sim.bench.frame import BenchFailed
from device_sim.bench.measurement import Measurement

SAID_CHARS = 300


def script_path() -> str:
    """Return where the stand-alone script lies that checks bundles.

    Raises:
        BenchFailed: it is not installed.
    """
    found = find_spec("server.casefile.verify_bundle")
    if found is None or found.origin is None:
        raise BenchFailed("the script that checks bundles is not installed")
    return found.origin


def check_bundle(script: str, bundle: Path, key: Path, files: int, note: str) -> Measurement:
    """Let the script check a bundle with so many files; what it imports counts, the start of the interpreter does not.

    Raises:
        BenchFailed: the bundle does not verify.
    """
    said, started = io.StringIO(), time.perf_counter()
    with redirect_stdout(said):
        findings = runpy.run_path(script)["main"](str(bundle), str(key))
    seconds = time.perf_counter() - started
    if findings:
        raise BenchFailed(f"the bundle does not verify: {said.getvalue()[:SAID_CHARS]}")
    return Measurement(files, seconds, [seconds], 0.0, note)
