"""The content-addressed store: a small port, and its directory form (its S3 form is `s3`).

A blob's name is the SHA-256 of its bytes. A blob appears whole or not at all, is never overwritten, and is durable
before anything in the database speaks of it.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

BLOB_MODE = 0o440
"""Originals are read-only from the moment they are stored."""
FOLDER_MODE = 0o700
NAME = re.compile(r"[0-9a-f]{64}")
NO_LINK_ERRNOS = frozenset({errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK})
"""Answers of file systems that cannot give a file a second name."""


class BlobStore(Protocol):
    """Where originals live."""

    def put(self, source: Path, sha256: str) -> bool:
        """Store the file `source` as the blob `sha256`, durably; its content was hashed by the caller.

        Returns:
            True if it was stored now, False if the same blob was there already. `source` stays where it is.

        Raises:
            OSError: not stored; nothing of it is visible.
        """

    def open(self, sha256: str) -> BinaryIO:
        """Open a blob for reading (seekable).

        Raises:
            FileNotFoundError: there is no such blob.
        """

    def size_bytes(self, sha256: str) -> int | None:
        """Return a blob's length, or None if there is no such blob.

        Raises:
            OSError: the store does not answer.
        """

    def remove(self, sha256: str) -> None:
        """Destroy a blob, durably: lawful erasure and nothing else. Harmless if there is none.

        Raises:
            OSError: it may still be there.
        """

    def local(self, sha256: str) -> AbstractContextManager[Path]:
        """Hand out a file with a blob's bytes for the length of the block; it must not be changed.

        Raises:
            OSError: there is no such blob, or no place for a copy.
        """


class DirectoryStore:
    """Blobs as files: `<root>/ab/<sha256>`, on one file system with the uploads."""

    def __init__(self, root: Path) -> None:
        """Use a folder; it is made at the first blob."""
        self._root = root

    def path(self, sha256: str) -> Path:
        """Return where a blob is or would be.

        Raises:
            ValueError: not 64 lower-case hex digits.
        """
        if not NAME.fullmatch(sha256):
            raise ValueError("a blob is named by 64 lower-case hex digits")
        return self._root / sha256[:2] / sha256

    def put(self, source: Path, sha256: str) -> bool:
        """See :meth:`BlobStore.put`: sync the bytes, link them under their name, sync the folder."""
        target = self.path(sha256)
        make_folder(target.parent)
        sync_file(source)
        stored = _link(source, target)
        if not stored and target.stat().st_size != source.stat().st_size:
            raise OSError(f"blob {sha256} is damaged: its length is not that of its content")
        target.chmod(BLOB_MODE)
        sync_folder(target.parent)
        return stored

    def open(self, sha256: str) -> BinaryIO:
        """See :meth:`BlobStore.open`."""
        return self.path(sha256).open("rb")

    def size_bytes(self, sha256: str) -> int | None:
        """See :meth:`BlobStore.size_bytes`."""
        try:
            return self.path(sha256).stat().st_size
        except FileNotFoundError:
            return None

    def remove(self, sha256: str) -> None:
        """See :meth:`BlobStore.remove`."""
        path = self.path(sha256)
        if path.parent.is_dir():
            path.unlink(missing_ok=True)
            sync_folder(path.parent)

    @contextmanager
    def local(self, sha256: str) -> Iterator[Path]:
        """See :meth:`BlobStore.local`: the blob itself."""
        yield self.path(sha256)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each entry durable.

    Raises:
        OSError: one cannot be made.
    """
    missing = []
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for each in reversed(missing):
        each.mkdir(mode=FOLDER_MODE, exist_ok=True)
        sync_folder(each.parent)


def sync_file(path: Path) -> None:
    """Make a file's bytes durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make a folder's entries durable: a rename or link is lost at power failure without it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _link(source: Path, target: Path) -> bool:
    """Give the file a second name, which fails rather than overwrites; copy first where links are not offered."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_LINK_ERRNOS:
            raise
        return _copy(source, target)
    return True


def _copy(source: Path, target: Path) -> bool:
    """Copy beside the target, sync, rename. Two at once write the same bytes, so the last rename changes nothing."""
    if target.exists():
        return False
    beside = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        shutil.copyfile(source, beside)
        sync_file(beside)
        beside.rename(target)
    finally:
        beside.unlink(missing_ok=True)
    return True
