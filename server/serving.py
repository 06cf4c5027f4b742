"""Serving the application with gunicorn: threads in a few processes, each with its own runtime made after the fork."""

import ctypes
import gc
from contextlib import suppress
from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]  # gunicorn ships no types

from server.app import create_app
from server.config import Settings
from server.fair_worker import FairWorker, Seating
from server.runtime import build_runtime

WORKERS = 2
THREADS = 8
REQUEST_TIMEOUT_S = 120
KEEPALIVE_S = 5
GRACE_S = 20
MAX_HEADER_LINE_BYTES = 8_190
MAX_HEADERS = 100
GARBAGE_THRESHOLD = 50_000
"""So many more objects made than freed, and the youngest are looked through for cycles."""


M_ARENA_MAX, ARENAS = -8, 2
"""What glibc calls the number of heaps (malloc.h), and how many a worker has. By default each of its threads has one,
and keeps there what the bodies it once took in needed: two workers hold 300 MB then, and not 272."""


class _Places(Seating):
    """What the master does around each worker."""

    def pre_fork(self, server: Any, worker: Any) -> None:  # noqa: ANN401 - gunicorn ships no types
        """Leave what all workers share out of every search for garbage, which writes to all that it looks at.

        Master and two fresh workers together then hold 156 MB and not 225.
        """
        super().pre_fork(server, worker)
        gc.freeze()


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, configured here and nowhere else."""

    def __init__(self, settings: Settings, bind: str, workers: int) -> None:
        """Serve on `bind` (host:port) with a number of worker processes."""
        self._settings, places = settings, _Places(workers)
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "worker_class": FairWorker,
            "threads": THREADS,
            "timeout": REQUEST_TIMEOUT_S,
            "graceful_timeout": GRACE_S,
            "keepalive": KEEPALIVE_S,
            "limit_request_line": MAX_HEADER_LINE_BYTES,
            "limit_request_fields": MAX_HEADERS,
            "loglevel": "warning",
            "pre_fork": places.pre_fork,
            "child_exit": places.child_exit,
            "proc_name": "fieldproof",
        }
        super().__init__()

    def load_config(self) -> None:
        """Hand the options to gunicorn."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application, in the worker process.

        What it is made of stays for as long as the process does, and a push makes many objects that hold no cycles:
        looking for garbage among all of them again and again took a fifth of its time.
        """
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)
        app = create_app(build_runtime(self._settings))
        gc.collect()
        gc.freeze()
        gc.set_threshold(GARBAGE_THRESHOLD)
        return app
