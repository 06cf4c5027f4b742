"""Files of uploads that are not evidence yet, below the evidence folder: unfinished, waiting, or in quarantine.

`uploads/<id>.part` holds the bytes of one upload. `uploads/<id>.lock` is locked (`flock`) around every change to the
upload and names the request that may write. A newer request takes the name over, so a device whose old connection
hangs can go on at once, and what the old one still delivers is refused. `quarantine/<id>` keeps bytes that are not
what was declared. Ids are made by the server; a name given by a client never becomes a path.
"""

import fcntl
import os
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

from server.evidence.store import make_folder, sync_file, sync_folder

FILE_MODE = 0o600
MAX_CLAIM_BYTES = 64


class Superseded(Exception):
    """A newer request has taken the upload over."""


class HeldPart:
    """One upload's file while its lock is held."""

    def __init__(self, path: Path, lock: int) -> None:
        """Wrap the part's path and the descriptor of the held lock file."""
        self.path = path
        self._lock = lock

    def claim(self, writer: str, offset_bytes: int) -> None:
        """Name the request that may write, and cut the file to the bytes that count.

        Raises:
            OSError: the file cannot be made, or is shorter than `offset_bytes`.
        """
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            if os.fstat(descriptor).st_size < offset_bytes:
                raise OSError("an upload's file is shorter than its counted bytes")
            os.ftruncate(descriptor, offset_bytes)
        finally:
            os.close(descriptor)
        self._name_writer(writer)

    def revoke(self) -> None:
        """Let no earlier request write any more."""
        self._name_writer("")

    def require(self, writer: str) -> None:
        """Check that `writer` may still write.

        Raises:
            Superseded: another request has taken over.
        """
        if os.pread(self._lock, MAX_CLAIM_BYTES, 0) != writer.encode():
            raise Superseded

    def write(self, writer: str, offset_bytes: int, data: bytes | bytearray) -> None:
        """Write bytes at an offset; they count only after :meth:`sync`.

        Raises:
            Superseded: another request has taken over.
            OSError: not all of it was written.
        """
        self.require(writer)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            view = memoryview(data)
            while view:
                written = os.pwrite(descriptor, view, offset_bytes)
                view, offset_bytes = view[written:], offset_bytes + written
        finally:
            os.close(descriptor)

    def sync(self) -> None:
        """Make the bytes written so far, and the file's name, durable."""
        sync_file(self.path)
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove the upload's files; what waits for the lock finds the upload ended."""
        self.revoke()
        self.path.unlink(missing_ok=True)
        self.path.with_suffix(".lock").unlink(missing_ok=True)

    def _name_writer(self, writer: str) -> None:
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, writer.encode(), 0)


class Parts:
    """All uploads' files below one evidence folder."""

    def __init__(self, root: Path) -> None:
        """Use the evidence folder; subfolders are made when needed."""
        self._uploads = root / "uploads"
        self._quarantine = root / "quarantine"

    @contextmanager
    def hold(self, upload_id: str, *, wait: bool = True) -> Iterator[HeldPart]:
        """Hold an upload's lock for the length of the block; the id must be one that the server made.

        Args:
            upload_id: the upload.
            wait: whether to wait for another holder.

        Raises:
            BlockingIOError: another one holds it, and `wait` is false.
            OSError: the lock file cannot be made.
        """
        make_folder(self._uploads)
        path = self._uploads / f"{upload_id}.part"
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield HeldPart(path, lock)
        finally:
            os.close(lock)

    def quarantine(self, held: HeldPart, upload_id: str) -> Path:
        """Move an upload's bytes to quarantine, durably; doing it again is harmless.

        Raises:
            OSError: not moved.
        """
        target = self.quarantine_path(upload_id)
        make_folder(self._quarantine)
        if held.path.exists():
            held.path.rename(target)
        sync_folder(self._quarantine)
        sync_folder(self._uploads)
        return target

    def quarantine_path(self, upload_id: str) -> Path:
        """Return where the bytes of a rejected upload are kept."""
        return self._quarantine / upload_id

    def clear_quarantine(self, keep: AbstractSet[str]) -> int:
        """Destroy quarantined bytes that no row speaks of any more; returns how many went."""
        if not self._quarantine.is_dir():
            return 0
        gone = [path for path in self._quarantine.iterdir() if path.name not in keep]
        for path in gone:
            path.unlink(missing_ok=True)
        return len(gone)

    def ids(self) -> set[str]:
        """Return the ids of all uploads that have a file."""
        if not self._uploads.is_dir():
            return set()
        return {name.stem for name in self._uploads.iterdir() if name.suffix in (".part", ".lock")}
