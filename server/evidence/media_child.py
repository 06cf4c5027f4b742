"""The child process that looks at hostile bytes and draws derivatives of them, under hard limits.

It imports nothing of the server but what does this work. It reads one JSON object per line, `{"path"}` to examine a
file or `{"path", "draw"}` to draw, and answers one JSON object per line. For each it forks: the fork sets its own
limits on memory, processor time and written bytes, does the work and ends; so a file that kills the decoder kills one
fork.
"""

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pillow_heif

from server.evidence.media_drawing import MAX_DRAWN_BYTES, draw
from server.evidence.media_reading import UNKNOWN_TYPE, examine, reason_of

MEMORY_BYTES = 1536 * 1024 * 1024
"""Address space of one fork."""
CPU_S = 30
"""Processor time of one fork."""
WALL_S = 60
"""Time after which a fork is ended."""
MAX_ANSWER_BYTES = 64 * 1024


def failed(reason: str, outcome: str = "undecodable") -> dict[str, Any]:
    """Return the facts of a file whose examination did not end by itself."""
    return {"outcome": outcome, "media_type": UNKNOWN_TYPE, "reason": reason, "width": None, "height": None, "exif": {}}


def work_limited(job: dict[str, Any], wall_s: float = WALL_S) -> dict[str, Any]:
    """Examine or draw one file in a fork with limits, and return the facts or why there are none."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(job, writer)
    os.close(writer)
    try:
        answer = _read_until(reader, time.monotonic() + wall_s)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if answer is None:
        return failed(f"took longer than {wall_s} s")
    if not answer:
        return failed("the decoder crashed or used up its processor time")
    facts: dict[str, Any] = json.loads(answer)
    return facts


def _work(job: dict[str, Any], writer: int) -> None:
    """The fork: set limits, work, answer, end without returning."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        written = MAX_DRAWN_BYTES if "draw" in job else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (written, written))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            path = Path(job["path"])
            facts = draw(path, **job["draw"]) if "draw" in job else examine(path)
        except MemoryError:
            facts = failed("decoding takes more memory than allowed", "decompression-bomb")
        except OSError as error:
            facts = {"error": reason_of(error)}
        os.write(writer, json.dumps(facts).encode())
    finally:
        os._exit(0)


def _read_until(descriptor: int, deadline: float) -> bytes | None:
    """Read to the end of a pipe; None when the deadline passes first."""
    answer = b""
    while len(answer) <= MAX_ANSWER_BYTES:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return None
        piece = os.read(descriptor, MAX_ANSWER_BYTES)
        if not piece:
            return answer
        answer += piece
    return b""


def main() -> None:
    """Answer each line of standard input until it ends."""
    pillow_heif.register_heif_opener()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(work_limited(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
