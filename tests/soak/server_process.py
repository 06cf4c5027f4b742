"""The server that is killed: the real one, forked from a process that has loaded its code already.

Run as a program with a home folder and a port. It reads commands from standard input: `start` forks a server in a
process group of its own and answers with its id; `wait` answers when every process of that group is gone.
"""

import ctypes
import os
import sys
import warnings
from typing import cast

from flask import Flask

from server.app import create_app
from server.config import Settings, load_settings
from server.runtime import Runtime, build_runtime
from server.serving import WORKERS, Server

PR_SET_CHILD_SUBREAPER = 36
"""Linux: the workers of a killed server become children of this process, so that it can wait for them."""


class LoadedServer(Server):
    """The server, over an application that was made before the fork: a start takes milliseconds."""

    def __init__(self, app: Flask, settings: Settings, bind: str) -> None:
        """Serve an application made without a runtime."""
        self._app = app
        super().__init__(settings, bind, WORKERS)

    def load(self) -> Flask:
        """Give the application the runtime that a start makes."""
        self._app.extensions["fieldproof"] = build_runtime(self._settings)
        return self._app


def _start(app: Flask, settings: Settings, bind: str) -> int:
    child = os.fork()
    if child:
        return child
    os.setsid()
    os.close(sys.stdin.fileno())
    sys.argv = ["fieldproof"]
    LoadedServer(app, settings, bind).run()
    os._exit(0)


def _wait() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def main(home: str, port: str) -> None:
    """Serve commands until standard input ends."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with warnings.catch_warnings(action="ignore"):
        app = create_app(cast(Runtime, None))
    settings = load_settings({"FIELDPROOF_HOME": home, "FIELDPROOF_DEVICE_REQUESTS_PER_S": "0"})
    while command := sys.stdin.readline().strip():
        if command == "start":
            answer = str(_start(app, settings, f"127.0.0.1:{port}"))
        else:
            _wait()
            answer = "gone"
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
