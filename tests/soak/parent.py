"""The process that forks servers for a soak, from the outside: start one, kill it, start the next."""

import os
import signal
import socket
import subprocess
import sys
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, cast

from tests.soak.load import SoakFailed

READY_S = 120.0
"""Seconds for a start, even on a machine that does much else: only a server that never comes is a fault."""


class Parent:
    """One port, and one server on it at a time."""

    def __init__(self, home: Path) -> None:
        """Load the server's code; nothing listens yet."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.soak.server_process", str(home), str(self.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        self._server = 0

    def start(self) -> None:
        """Start a server and wait until it answers.

        Raises:
            SoakFailed: it does not.
        """
        self._server = int(self._ask("start"))
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            connection = HTTPConnection("127.0.0.1", self.port, timeout=READY_S)
            try:
                connection.request("GET", "/ready")
                if connection.getresponse().status == 200:
                    return
            except (OSError, HTTPException):
                time.sleep(0.005)
            finally:
                connection.close()
        raise SoakFailed("the server did not come up again")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send the server and its workers a signal, and wait until all are gone."""
        if self._server:
            os.killpg(self._server, number)
            self._ask("wait")
            self._server = 0

    def close(self) -> None:
        """End every process."""
        self.kill()
        cast("IO[str]", self._process.stdin).close()
        self._process.wait()
        cast("IO[str]", self._process.stdout).close()

    def _ask(self, command: str) -> str:
        parent_in, parent_out = cast("IO[str]", self._process.stdin), cast("IO[str]", self._process.stdout)
        parent_in.write(f"{command}\n")
        parent_in.flush()
        return parent_out.readline().strip()
