"""Writing files that a power cut cannot leave half written."""

import os
from pathlib import Path


def write_durably(path: Path, content: bytes) -> None:
    """Write a new file so that it is whole after a power cut: content synced, then its name, then the folder."""
    partial = path.with_name(path.name + ".part")
    with partial.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
