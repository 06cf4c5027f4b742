"""Files that can always be made again, one for each scope: bounded in number, the least recently used go first."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.db.engine import WriterLock
from server.records.feed import FeedScope
from sync.acts import encode

LOCK = ".lock"
"""Suffix of the empty files that lock others; they stay."""


def name_of(scope: FeedScope, epoch: str) -> str:
    """Return the file name, without suffix, of what is kept for a scope."""
    return hashlib.sha256(encode([epoch, scope.region, scope.department, list(scope.officers)])).hexdigest()[:32]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one program at a time work on a file; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with WriterLock(path.with_suffix(LOCK)).hold():
        yield


def tidy(folder: Path, pattern: str, most_files: int, most_bytes: int) -> int:
    """Remove the least recently used files beyond a number or a size; returns how many went.

    A file that is being read or written stays usable for whoever has it open.
    """
    found = []
    for path in folder.glob(pattern):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((status.st_mtime_ns, status.st_size, path))
    kept = kept_bytes = removed = 0
    for _, size_bytes, path in sorted(found, reverse=True):
        kept, kept_bytes = kept + 1, kept_bytes + size_bytes
        if kept > most_files or kept_bytes > most_bytes:
            for one in path.parent.glob(f"{path.stem}*"):
                if one.suffix != LOCK:  # somebody may hold it: a fresh one would let two work on the file at once
                    one.unlink(missing_ok=True)
            removed += 1
    return removed
