"""Running a limit in a process of its own, so that its memory and its interpreter are nobody else's.

The standard library's process pools import the starting program again, the whole platform in our case; this starts a
bare interpreter. What goes in and out is pickled: both ends are ours.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import Any

from device_sim.bench.frame import BenchFailed
from device_sim.bench.measurement import Measurement
from device_sim.bench.process_figures import peak_rss_mb

TIMEOUT_S = 600.0
ERROR_CHARS = 600


def in_own_process(work: Callable[..., Measurement], *arguments: Any) -> Measurement:  # noqa: ANN401 - passed on
    """Run a module-level function in a fresh interpreter and return its result with that process's peak memory.

    Raises:
        BenchFailed: it failed, or took too long.
    """
    request = pickle.dumps((work.__module__, work.__name__, arguments))
    command = [sys.executable, "-m", "device_sim.bench.own_process"]
    try:
        done = subprocess.run(command, input=request, capture_output=True, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise BenchFailed(f"{work.__name__} did not end within {TIMEOUT_S:.0f} s") from error
    if done.returncode:
        raise BenchFailed(f"{work.__name__} failed: {done.stderr.decode('utf-8', 'replace')[-ERROR_CHARS:]}")
    measured: Measurement = pickle.loads(done.stdout)  # noqa: S301 - written by our own child
    return measured


def main() -> None:
    """Do what standard input asks for, and write the result to standard output."""
    module, name, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by our own parent
    measured: Measurement = getattr(import_module(module), name)(*arguments)
    pickle.dump(replace(measured, peak_rss_mb=peak_rss_mb(os.getpid())), sys.stdout.buffer)


if __name__ == "__main__":
    main()
