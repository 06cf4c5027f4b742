"""The real HTTP server as a program, which tests start and kill."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

PROGRAM = (
    "from server.config import load_settings; from server.serving import Server; import sys;"
    "sys.argv = ['server']; Server(load_settings(), 'fd://{fd}', 1).run()"
)
REQUEST_S = 60


@dataclass
class LiveServer:
    """The real server on a socket of ours: connections wait in its queue while the server is away."""

    home: Path
    listener: socket.socket = field(default_factory=socket.socket)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        """Listen on a free port of the loopback."""
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)

    @property
    def port(self) -> int:
        """The port."""
        port: int = self.listener.getsockname()[1]
        return port

    def start(self) -> None:
        """Start the server; requests queue until it is up."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(fd=self.listener.fileno())],
            env=os.environ | {"FIELDPROOF_HOME": str(self.home)},
            pass_fds=[self.listener.fileno()],
            start_new_session=True,
        )

    def kill(self) -> None:
        """Kill the server and its workers with SIGKILL, as a crash does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
