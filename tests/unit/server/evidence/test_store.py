"""The directory store: whole or not at all, never overwritten, never outside its folder."""

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


def test_blob_is_found_by_its_hash(store: DirectoryStore, source: Path) -> None:
    """What was put comes back, read-only, and the source stays."""
    assert store.size_bytes(NAME) is None
    assert store.put(source, NAME) is True
    assert (read(store), store.size_bytes(NAME)) == (DATA, len(DATA))
    assert store.path(NAME).stat().st_mode & 0o777 == 0o440
    assert source.exists()


def test_second_put_shares_the_blob(store: DirectoryStore, source: Path, tmp_path: Path) -> None:
    """The same bytes again change nothing."""
    store.put(source, NAME)
    inode = store.path(NAME).stat().st_ino
    again = tmp_path / "again"
    again.write_bytes(DATA)
    assert store.put(again, NAME) is False
    assert store.path(NAME).stat().st_ino == inode


def test_blob_is_never_overwritten(store: DirectoryStore, source: Path, tmp_path: Path) -> None:
    """Other bytes under a taken name are refused; the original stays."""
    store.put(source, NAME)
    other = tmp_path / "other"
    other.write_bytes(b"something longer than the original")
    with pytest.raises(OSError, match="damaged"):
        store.put(other, NAME)
    assert read(store) == DATA


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "zz" * 32])
def test_names_cannot_leave_the_folder(store: DirectoryStore, source: Path, name: str) -> None:
    """Only a lower-case SHA-256 is a name."""
    for action in (lambda: store.path(name), lambda: store.put(source, name), lambda: store.open(name)):
        with pytest.raises(ValueError, match="hex digits"):
            action()


def test_missing_blob_is_told(store: DirectoryStore) -> None:
    """Opening what is not there fails clearly."""
    with pytest.raises(FileNotFoundError):
        store.open(NAME)


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
