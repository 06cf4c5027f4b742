"""The programs of the demonstration: subprocesses with their own logs, each ended by its own process id."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

import httpx

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
POLL_S = 0.1
LOG_TAIL_LINES = 15


class ProgramFailed(Exception):
    """A program of the demonstration ended or did not start; the message holds the end of its log."""


def program_path() -> str:
    """Return the path of the installed `fieldproof` command, beside this Python."""
    return str(Path(sys.executable).with_name("fieldproof"))


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Program:
    """A running subprocess."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise `ProgramFailed` if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise ProgramFailed(f"{self.name} ended with {code}:\n{tail(self.log)}")

    def wait(self, timeout_s: float) -> int:
        """Wait for its end and return the exit code. Raises `ProgramFailed` past the time limit."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProgramFailed(f"{self.name} did not end within {timeout_s:.0f} s:\n{tail(self.log)}") from error

    def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL when it does not listen."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_TIMEOUT_S)


def tail(log: Path) -> str:
    """Return the last lines of a log."""
    lines = log.read_text("utf-8", "replace").splitlines() if log.exists() else []
    return "\n".join(lines[-LOG_TAIL_LINES:])


@dataclass
class Programs:
    """All programs of one run, below one home."""

    home: Path
    environment: Mapping[str, str]
    running: list[Program] = field(default_factory=list)

    def _environment(self) -> dict[str, str]:
        """The caller's environment without its settings of the platform: a demonstration never touches live data."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("FIELDPROOF_")}
        return {**inherited, "FIELDPROOF_HOME": str(self.home), "PYTHONUNBUFFERED": "1", **self.environment}

    def start(self, name: str, arguments: Sequence[str]) -> Program:
        """Start `fieldproof ARGUMENTS` in the background; its output goes to `logs/NAME.log`."""
        return self.launch(name, [program_path(), *arguments])

    def launch(self, name: str, command: Sequence[str], cwd: Path | None = None) -> Program:
        """Start any program in the background, in a folder or else here; its output goes to `logs/NAME.log`."""
        log = self._log(name)
        with log.open("ab") as out:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=self._environment(), cwd=cwd
            )
        program = Program(name, process, log)
        self.running.append(program)
        return program

    def run(self, name: str, arguments: Sequence[str], *, ok: tuple[int, ...] = (0,)) -> str:
        """Run `fieldproof ARGUMENTS` to its end and return what it printed.

        Raises:
            ProgramFailed: it ended with an exit code that is not in `ok`.
        """
        lines = list(self.stream(name, arguments, ok=ok))
        return "\n".join(lines)

    def stream(self, name: str, arguments: Sequence[str], *, ok: tuple[int, ...] = (0,)) -> Iterator[str]:
        """Run `fieldproof ARGUMENTS` and yield its output line by line.

        Raises:
            ProgramFailed: it ended with an exit code that is not in `ok`.
        """
        log = self._log(name)
        with log.open("ab") as errors:
            process = subprocess.Popen(
                [program_path(), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                env=self._environment(),
            )  # fmt: skip
        program = Program(name, process, log)
        self.running.append(program)
        last = ""
        with cast(IO[bytes], process.stdout) as output:
            for raw in output:
                last = raw.decode("utf-8", "replace").rstrip("\n")
                yield last
        code = process.wait()
        self.running.remove(program)
        if code not in ok:
            raise ProgramFailed(f"{name} ended with {code}: {last[:400]}\n{tail(log)}")

    def stop(self, program: Program) -> None:
        """End one program."""
        program.stop()
        self.running.remove(program)

    def stop_all(self) -> None:
        """End all programs, the last started first."""
        while self.running:
            self.running.pop().stop()

    def check(self) -> None:
        """Raise `ProgramFailed` if any background program has ended."""
        for program in self.running:
            program.check()

    def wait_for(self, what: str, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until something is so, while all programs stay alive.

        Raises:
            ProgramFailed: a program ended, or the time ran out.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ProgramFailed(f"waited {timeout_s:.0f} s for: {what}")
            time.sleep(POLL_S)

    def _log(self, name: str) -> Path:
        folder = self.home / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.log"


def answers(url: str) -> Callable[[], bool]:
    """Return a check whether a server answers 200 at a URL."""

    def ready() -> bool:
        try:
            return httpx.get(url, timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    return ready


def last_json(lines: str) -> dict[str, Any]:
    """Return the last line of an output as a JSON object.

    Raises:
        ProgramFailed: it is none.
    """
    text = lines.strip().splitlines()[-1] if lines.strip() else ""
    try:
        decoded = json.loads(text)
    except ValueError as error:
        raise ProgramFailed(f"expected a JSON line, got {text[:200]!r}") from error
    if not isinstance(decoded, dict):
        raise ProgramFailed(f"expected a JSON object, got {text[:200]!r}")
    return decoded
