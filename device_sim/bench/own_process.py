"""Running a limit in a process of its own, so that its memory and its interpreter are nobody else's."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

from device_sim.bench.measurement import Measurement
from device_sim.bench.process_figures import peak_rss_mb


def in_own_process(work: Callable[..., Measurement], *arguments: Any) -> Measurement:  # noqa: ANN401 - passed on
    """Run a module-level function in a fresh interpreter and return its result with that process's peak memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, work, arguments).result()


def _run(work: Callable[..., Measurement], arguments: tuple[Any, ...]) -> Measurement:
    measured = work(*arguments)
    return replace(measured, peak_rss_mb=peak_rss_mb(os.getpid()))
