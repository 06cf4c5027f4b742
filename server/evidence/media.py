"""The parent's side of examining files: starts the child, hands it paths, survives whatever happens to it."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from server.evidence.facts import UNDECODABLE, UNKNOWN_TYPE, MediaFacts, facts_from_json

COMMAND = (sys.executable, "-I", "-m", "server.evidence.media_child")
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG")
"""Environment that the child gets; passwords are not among it."""
ANSWER_S = 75
"""How long the child may take for one file; longer than its own limits, so it normally answers itself."""


class MediaExaminer:
    """One running child process; examines files one after the other."""

    def __init__(self, command: tuple[str, ...] = COMMAND, answer_s: float = ANSWER_S) -> None:
        """Remember how to start the child; it starts at the first file."""
        self._command = command
        self._answer_s = answer_s
        self._child: subprocess.Popen[bytes] | None = None

    def examine(self, path: Path) -> MediaFacts:
        """Return the facts of one file; a child that dies or hangs makes it undecodable, and is replaced.

        Raises:
            OSError: the file cannot be read, or no child can be started.
        """
        value = self._work({"path": str(path)})
        if value is None:
            return MediaFacts(UNDECODABLE, UNKNOWN_TYPE, "the examination broke off")
        return facts_from_json(value)

    def draw(self, path: Path, drawing: dict[str, Any]) -> bool:
        """Draw a derivative of a picture (see `media_drawing.draw`); returns whether it was drawn.

        Raises:
            OSError: the file cannot be read, or no child can be started.
        """
        value = self._work({"path": str(path), "draw": drawing})
        return value is not None and value.get("drawn") is True

    def _work(self, job: dict[str, Any]) -> dict[str, Any] | None:
        answer = self._ask(job)
        if answer is None:
            self.close()
            return None
        value: dict[str, Any] = json.loads(answer)
        if "error" in value:
            raise OSError(value["error"])
        return value

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _ask(self, job: dict[str, Any]) -> bytes | None:
        if self._child is None:
            environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
            # a session of its own: Ctrl-C at the worker's terminal must not look like a file that kills decoders
            self._child = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
        child = self._child
        if child.stdin is None or child.stdout is None:
            return None
        try:
            child.stdin.write(json.dumps(job).encode() + b"\n")
            child.stdin.flush()
        except BrokenPipeError:
            return None
        ready, _, _ = select.select([child.stdout], [], [], self._answer_s)
        return (child.stdout.readline() or None) if ready else None


@contextmanager
def examiner() -> Iterator[MediaExaminer]:
    """Hand out an examiner and end its child afterwards."""
    instance = MediaExaminer()
    try:
        yield instance
    finally:
        instance.close()
