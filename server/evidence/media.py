"""The parent's side of examining files: starts the child, hands it paths, survives whatever happens to it."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.evidence.facts import UNDECODABLE, UNKNOWN_TYPE, MediaFacts, facts_from_json

CHILD = Path(__file__).with_name("media_child.py")
COMMAND = (sys.executable, "-I", str(CHILD))
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
        answer = self._ask(path)
        if answer is None:
            self.close()
            return MediaFacts(UNDECODABLE, UNKNOWN_TYPE, "the examination broke off")
        value = json.loads(answer)
        if "error" in value:
            raise OSError(value["error"])
        return facts_from_json(value)

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()

    def _ask(self, path: Path) -> bytes | None:
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
            child.stdin.write(json.dumps(str(path)).encode() + b"\n")
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
