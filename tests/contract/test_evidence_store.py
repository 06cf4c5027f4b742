"""What every store of originals promises, asked of a directory and of a real S3 service."""

import hashlib
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from server.config import S3Settings
from server.evidence.s3 import S3Store
from server.evidence.store import BlobStore, DirectoryStore

DATA = random.Random(3).randbytes(700_000)
NAME = hashlib.sha256(DATA).hexdigest()
EMPTY = hashlib.sha256(b"").hexdigest()
WRITERS = 6


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """An empty store."""
    if request.param == "s3":
        return S3Store(request.getfixturevalue("s3_settings"))
    return DirectoryStore(tmp_path / "blobs")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A finished file beside the store."""
    path = tmp_path / "finished"
    path.write_bytes(DATA)
    return path


def read(store: BlobStore, name: str = NAME) -> bytes:
    """All bytes of a blob."""
    with store.open(name) as stream:
        return stream.read()


def test_blob_is_found_by_its_hash(store: BlobStore, source: Path) -> None:
    """What was put comes back, and the source stays; the same bytes again change nothing."""
    assert store.size_bytes(NAME) is None
    assert store.put(source, NAME) is True
    assert (read(store), store.size_bytes(NAME)) == (DATA, len(DATA))
    assert store.put(source, NAME) is False
    assert source.read_bytes() == DATA


def test_empty_blob(store: BlobStore, tmp_path: Path) -> None:
    """A file of no bytes is a file."""
    (tmp_path / "empty").touch()
    assert store.put(tmp_path / "empty", EMPTY) is True
    assert (read(store, EMPTY), store.size_bytes(EMPTY)) == (b"", 0)


def test_blob_is_never_overwritten(store: BlobStore, source: Path, tmp_path: Path) -> None:
    """Other bytes under a taken name are refused; the original stays."""
    store.put(source, NAME)
    other = tmp_path / "other"
    other.write_bytes(b"something else")
    with pytest.raises(OSError):  # noqa: PT011 - each store says it in its own words
        store.put(other, NAME)
    assert read(store) == DATA


def test_many_writers_store_once(store: BlobStore, source: Path) -> None:
    """Devices that finish the same content at once: one stores it, the others find it."""
    with ThreadPoolExecutor(WRITERS) as pool:
        stored = list(pool.map(lambda _: store.put(source, NAME), range(WRITERS)))
    assert sorted(stored) == [False] * (WRITERS - 1) + [True]
    assert read(store) == DATA


def test_any_range_can_be_read(store: BlobStore, source: Path) -> None:
    """Streams seek, from either end, and read short at the end."""
    store.put(source, NAME)
    with store.open(NAME) as stream:
        assert stream.seekable()
        stream.seek(300_000)
        assert stream.read(10) == DATA[300_000:300_010]
        stream.seek(-5, 2)
        assert stream.tell() == len(DATA) - 5
        assert stream.read(100) == DATA[-5:]
        stream.seek(0)
        assert stream.read(3) == DATA[:3]


def test_local_file_has_the_bytes(store: BlobStore, source: Path) -> None:
    """Programs that need a file get one."""
    store.put(source, NAME)
    with store.local(NAME) as path:
        assert path.read_bytes() == DATA


def test_removed_blob_is_gone(store: BlobStore, source: Path) -> None:
    """Lawful erasure destroys the bytes; asking again is harmless, and so is erasing what never was."""
    store.remove(NAME)
    store.put(source, NAME)
    store.remove(NAME)
    store.remove(NAME)
    assert store.size_bytes(NAME) is None


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "AB" * 32, "ab" * 31, "ab" * 32 + "\n", "zz" * 32])
def test_only_a_hash_is_a_name(store: BlobStore, source: Path, name: str) -> None:
    """No name leads out of the store."""
    actions: tuple[Callable[[], object], ...] = (
        lambda: store.put(source, name), lambda: store.open(name), lambda: store.remove(name),
        lambda: store.size_bytes(name),
    )  # fmt: skip
    for action in actions:
        with pytest.raises(ValueError, match="hex digits"):
            action()


def test_missing_blob_is_told(store: BlobStore) -> None:
    """Opening what is not there fails clearly."""
    with pytest.raises(FileNotFoundError):
        store.open(NAME)
    with pytest.raises(OSError), store.local(NAME) as path:  # noqa: PT011 - a directory says it when the file is read
        path.read_bytes()


def test_s3_refuses_damaged_bytes(s3_settings: S3Settings, tmp_path: Path) -> None:
    """The request names the hash: what was damaged on the way is not stored."""
    damaged = tmp_path / "damaged"
    damaged.write_bytes(DATA[:-1] + b"!")
    store = S3Store(s3_settings)
    with pytest.raises(OSError, match="S3 refused"):
        store.put(damaged, NAME)
    assert store.size_bytes(NAME) is None


def test_s3_that_is_away_is_an_operating_system_error(
    s3_settings: S3Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No service, or the wrong key: nothing is stored, and the caller may try again."""
    monkeypatch.setattr("server.evidence.s3.MAX_ATTEMPTS", 1)
    for settings in (
        replace(s3_settings, endpoint_url="http://127.0.0.1:9"),
        replace(s3_settings, secret_key="wrong"),
    ):
        with pytest.raises(OSError, match="S3"):
            S3Store(settings).put(source, NAME)
