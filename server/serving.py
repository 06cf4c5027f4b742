"""Serving the application with gunicorn: threads in a few processes, each with its own runtime made after the fork."""

from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]  # gunicorn ships no types

from server.app import create_app
from server.config import Settings
from server.runtime import build_runtime

WORKERS = 2
THREADS = 8
REQUEST_TIMEOUT_S = 120
KEEPALIVE_S = 5
GRACE_S = 20
MAX_HEADER_LINE_BYTES = 8_190
MAX_HEADERS = 100


class Server(BaseApplication):  # type: ignore[misc]  # gunicorn ships no types
    """gunicorn, configured here and nowhere else."""

    def __init__(self, settings: Settings, bind: str, workers: int) -> None:
        """Serve on `bind` (host:port) with a number of worker processes."""
        self._settings = settings
        self._options: dict[str, Any] = {
            "bind": bind,
            "workers": workers,
            "worker_class": "gthread",
            "threads": THREADS,
            "timeout": REQUEST_TIMEOUT_S,
            "graceful_timeout": GRACE_S,
            "keepalive": KEEPALIVE_S,
            "limit_request_line": MAX_HEADER_LINE_BYTES,
            "limit_request_fields": MAX_HEADERS,
            "loglevel": "warning",
            "proc_name": "fieldproof",
        }
        super().__init__()

    def load_config(self) -> None:
        """Hand the options to gunicorn."""
        for name, value in self._options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Make the application, in the worker process."""
        return create_app(build_runtime(self._settings))
