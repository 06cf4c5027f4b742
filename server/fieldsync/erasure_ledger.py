"""The ledger of executed erasure orders: a file apart from the database, so that no restored backup undoes an erasure.

One JSON object a line, each naming the SHA-256 of the line before; it holds ids, dots and names of fields, and nothing
of what was erased. It is written and synced before the erasure commits, and replayed after every restore.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from server.db.engine import WriterLock
from sync.acts import encode


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add an order to the ledger, durably; one that is there already is not added again."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with WriterLock(path.with_name(f".{path.name}.lock")).hold():
        prev = ""
        for line in _lines(path):
            prev = hashlib.sha256(line).hexdigest()
            if json.loads(line)["order"] == entry["order"]:
                return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as out:
            out.write(encode({**entry, "prev": prev}) + b"\n")
            out.flush()
            os.fsync(out.fileno())
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: Path) -> list[dict[str, Any]]:
    """Return all orders of the ledger, oldest first; none if there is no file. A torn last line does not count.

    Raises:
        ValueError: the ledger was changed: a line does not name the one before it.
    """
    entries: list[dict[str, Any]] = []
    prev = ""
    for line in _lines(path):
        entry: dict[str, Any] = json.loads(line)
        if entry.pop("prev") != prev:
            raise ValueError(f"{path}: line {len(entries) + 1} does not follow from the one before it")
        entries.append(entry)
        prev = hashlib.sha256(line).hexdigest()
    return entries


def _lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        yield from path.read_bytes().split(b"\n")[:-1]
