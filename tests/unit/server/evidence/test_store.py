"""The directory store: what it promises beyond the contract of all stores."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from server.evidence.store import DirectoryStore

DATA = b"original bytes"
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A finished file beside the store."""
    path = tmp_path / "finished"
    path.write_bytes(DATA)
    return path


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    """An empty store."""
    return DirectoryStore(tmp_path / "blobs")


def read(store: DirectoryStore, name: str = NAME) -> bytes:
    """All bytes of a blob."""
    with store.open(name) as stream:
        return stream.read()


def test_blob_is_read_only(store: DirectoryStore, source: Path, tmp_path: Path) -> None:
    """Nobody writes to an original by accident; the same bytes again share the file."""
    store.put(source, NAME)
    status = store.path(NAME).stat()
    assert status.st_mode & 0o777 == 0o440
    again = tmp_path / "again"
    again.write_bytes(DATA)
    assert store.put(again, NAME) is False
    assert store.path(NAME).stat().st_ino == status.st_ino


def test_file_system_without_links_gets_a_copy(
    store: DirectoryStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a second name is not offered, the bytes are copied beside and renamed."""

    def no_links(_source: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    assert store.put(source, NAME) is True
    assert store.put(source, NAME) is False
    assert read(store) == DATA
    assert [path.name for path in store.path(NAME).parent.iterdir()] == [NAME]


def test_full_disk_leaves_nothing(store: DirectoryStore, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused link raises and shows nothing of the blob."""

    def full(_source: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="no space"):
        store.put(source, NAME)
    assert store.size_bytes(NAME) is None


def test_everything_is_synced_before_put_returns(
    store: DirectoryStore, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes are synced before the name appears, the folder after."""
    steps: list[str] = []
    real_fsync, real_link = os.fsync, os.link

    def fsync(descriptor: int) -> None:
        steps.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real_fsync(descriptor)

    def link(source: Path, target: Path) -> None:
        steps.append("link")
        real_link(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "link", link)
    store.put(source, NAME)
    assert steps.index("finished") < steps.index("link") < len(steps) - 1
    assert steps[-1] == NAME[:2]
