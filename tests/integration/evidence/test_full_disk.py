"""A file system that is really full: 2 MB of memory mounted under the evidence folder, or under the whole home.

Uploads keep a reserve free, so a full disk is told before a byte is sent (`test_uploads`); here the reserve is taken
away, as if other programs had used it up in between.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.evidence import upload
from server.runtime import Runtime
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import Declare, Tus, problem_of

DISK_BYTES, HOME_BYTES = 2 * 1024 * 1024, 8 * 1024 * 1024
FILE = bytes(range(256)) * 3_000  # 768 kB
PIECE_BYTES = 100_000


@contextmanager
def mounted(folder: Path, size_bytes: int) -> Iterator[Path]:
    """A small file system in place of a folder, with what the folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as aside:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)]
        if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("not permitted: mounting a small file system")
        try:
            shutil.copytree(aside, folder, dirs_exist_ok=True)
            yield folder
        finally:
            subprocess.run(["umount", folder], check=True)


@pytest.fixture(autouse=True)
def no_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is kept free."""
    monkeypatch.setattr(upload, "FREE_RESERVE_BYTES", -(1 << 40))


@pytest.fixture
def disk(rt: Runtime) -> Iterator[Path]:
    """The small disk under the evidence folder."""
    with mounted(rt.settings.evidence_dir, DISK_BYTES) as folder:
        yield folder


@pytest.fixture
def small_home(rt: Runtime) -> Iterator[Path]:
    """The small disk under the whole home, the database on it."""
    rt.db.dispose()
    with mounted(rt.settings.home, HOME_BYTES) as folder:
        yield folder
        rt.db.dispose()


def fill(disk: Path, leaving_bytes: int) -> Path:
    """Let something else take the room, all but so many bytes."""
    filler = disk / "something-else"
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - leaving_bytes))
    return filler


def blobs(disk: Path) -> list[Path]:
    """What the store holds, whole or by half."""
    return [path for path in disk.rglob("*") if path.is_file() and path.parent.name not in ("uploads", disk.name)]


def test_whole_file_that_does_not_fit(rt: Runtime, tus: Tus, declared: Declare, disk: Path) -> None:
    """507, no byte and no row of it; what is there stays; with room again the same request is verified evidence."""
    declared(FILE)
    filler = fill(disk, leaving_bytes=len(FILE) // 2)
    response = tus.create(len(FILE), body=FILE)
    assert problem_of(response)[:2] == (507, "storage-full")
    assert (row(rt).status, actions(rt)) == ("declared", ["capture"])
    assert list((disk / "uploads").iterdir()) == blobs(disk) == []
    filler.unlink()
    assert tus.create(len(FILE), body=FILE).status_code == 201
    assert (row(rt).status, actions(rt)) == ("verified", ["capture", "upload", "verify"])


def test_file_in_pieces_that_does_not_fit(rt: Runtime, tus: Tus, declared: Declare, disk: Path) -> None:
    """507 at the piece that does not fit; the pieces before it count, and the upload goes on with room again."""
    declared(FILE)
    filler = fill(disk, leaving_bytes=len(FILE) // 2)
    location = tus.create(len(FILE)).headers["Location"]
    status, offset = 204, 0
    while status == 204:
        status = tus.patch(location, offset, FILE[offset : offset + PIECE_BYTES]).status_code
        counted = tus.offset(location)
        assert counted == offset + PIECE_BYTES if status == 204 else counted == offset
        offset = counted
    assert (status, 0 < offset < len(FILE)) == (507, True)
    assert (row(rt).status, blobs(disk)) == ("declared", [])
    filler.unlink()
    assert tus.patch(location, offset, FILE[offset:]).status_code == 204
    assert (row(rt).status, actions(rt)) == ("verified", ["capture", "upload", "verify"])


def test_database_that_does_not_fit(rt: Runtime, tus: Tus, declared: Declare, small_home: Path) -> None:
    """Where the file has room and its rows have not: 507, nothing of it; with room again it is taken."""
    declared(FILE)
    filler = fill(small_home, leaving_bytes=len(FILE) + 8_192)
    assert problem_of(tus.create(len(FILE), body=FILE))[:2] == (507, "storage-full")
    assert (row(rt).status, actions(rt)) == ("declared", ["capture"])
    assert list((rt.settings.evidence_dir / "uploads").iterdir()) == []
    filler.unlink()
    assert tus.create(len(FILE), body=FILE).status_code == 201
    assert (row(rt).status, actions(rt)) == ("verified", ["capture", "upload", "verify"])
