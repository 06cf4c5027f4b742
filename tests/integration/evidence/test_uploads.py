"""tus over HTTP: create, send, resume, finish; and every way a client can get it wrong."""

import base64
import errno
import hashlib
import io
import os
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select

from server.errors import Problem
from server.evidence import parts as parts_module
from server.evidence import settlement, tus_api, upload
from server.evidence.models import Upload
from server.evidence.parts import HeldPart
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.integration.evidence.sending import (
    EVIDENCE,
    OFFSET_TYPE,
    UPLOADS,
    Headers,
    MakeHeaders,
    Tus,
    json_of,
    metadata,
    problem_of,
)


def state_of(rt: Runtime, location: str) -> str | None:
    """The state of an upload."""
    with rt.db.read() as session:
        return session.scalar(select(Upload.state).where(Upload.id == location.rpartition("/")[2]))


def test_options_tell_what_is_offered(client: FlaskClient, device_headers: MakeHeaders) -> None:
    """Version, extensions, size limit and checksum algorithms."""
    response = client.options(UPLOADS, headers=device_headers("d1"))
    assert response.status_code == 204
    assert response.headers["Tus-Version"] == "1.0.0"
    assert (
        response.headers["Tus-Extension"]
        == "creation,creation-with-upload,checksum,concatenation,expiration,termination"
    )
    assert response.headers["Tus-Max-Size"] == str(200 * 1024 * 1024)
    assert response.headers["Tus-Checksum-Algorithm"] == "sha1,sha256,md5"


def test_upload_in_pieces(tus: Tus, rt: Runtime) -> None:
    """Create, send two pieces, and the offset follows."""
    created = tus.create(11, filename="../../etc/passwd")
    assert created.status_code == 201
    location = created.headers["Location"]
    assert created.headers["Upload-Offset"] == "0"
    assert "GMT" in created.headers["Upload-Expires"]
    first = tus.patch(location, 0, b"hello ")
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, "6")
    assert first.headers["Tus-Resumable"] == "1.0.0"
    assert tus.offset(location) == 6
    last = tus.patch(location, 6, b"world")
    assert (last.status_code, last.headers["Upload-Offset"]) == (204, "11")
    assert "Upload-Expires" not in last.headers
    assert tus.offset(location) == 11
    assert state_of(rt, location) == "waiting"


def test_head_is_never_cached(tus: Tus) -> None:
    """An offset in a cache would lose bytes."""
    location = tus.create(5).headers["Location"]
    response = tus.client.head(location, headers=tus.headers)
    assert (response.headers["Cache-Control"], response.headers["Upload-Length"]) == ("no-store", "5")


def test_creation_with_first_bytes(tus: Tus, rt: Runtime) -> None:
    """The creating request may carry bytes, even all of them."""
    partial = tus.create(10, body=b"12345")
    assert (partial.status_code, partial.headers["Upload-Offset"]) == (201, "5")
    whole = tus.create(4, evidence=EVIDENCE[:-1] + "2", body=b"1234")
    assert (whole.status_code, whole.headers["Upload-Offset"]) == (201, "4")
    assert state_of(rt, whole.headers["Location"]) == "waiting"


def test_empty_file_is_finished_at_once(tus: Tus, rt: Runtime) -> None:
    """Nothing to send is everything sent."""
    created = tus.create(0)
    assert created.status_code == 201
    assert state_of(rt, created.headers["Location"]) == "waiting"


def test_lost_creation_reply_finds_its_upload(tus: Tus) -> None:
    """Creating again after a lost reply returns the same upload, untouched or finished; a begun one is left alone."""
    first = tus.create(5).headers["Location"]
    assert tus.create(5).headers["Location"] == first
    assert tus.create(6).headers["Location"] != first
    tus.patch(first, 0, b"12")
    second = tus.create(5).headers["Location"]
    assert second != first
    tus.patch(first, 2, b"345")
    again = tus.create(5, body=b"12345")
    assert again.headers["Upload-Offset"] == "5"
    assert again.headers["Location"] in (first, second)


def test_repeated_last_request_is_harmless(tus: Tus) -> None:
    """A client that did not see the last reply may send an empty piece at the end."""
    location = tus.create(3, body=b"abc").headers["Location"]
    assert tus.patch(location, 3, b"").status_code == 204
    assert problem_of(tus.patch(location, 0, b"abc"))[:2] == (409, "offset-mismatch")


@pytest.mark.parametrize("offset", [0, 4, 6, 10**17])
def test_wrong_offset_names_the_right_one(tus: Tus, offset: int) -> None:
    """Bytes are only taken where the last ones ended."""
    location = tus.create(10, body=b"12345").headers["Location"]
    response = tus.patch(location, offset, b"")
    assert problem_of(response)[:2] == (409, "offset-mismatch") or offset > 10
    if offset <= 10:
        assert json_of(response)["offset"] == 5
    assert tus.offset(location) == 5


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Upload-Length": "-1"}, (400, "bad-request", "Upload-Length")),
        ({"Upload-Length": "NaN"}, (400, "bad-request", "Upload-Length")),
        ({"Upload-Length": ""}, (400, "bad-request", "Upload-Length")),
        ({"Upload-Length": str(200 * 1024 * 1024 + 1)}, (413, "too-large", "Upload-Length")),
        ({"Upload-Length": "9" * 40}, (400, "bad-request", "Upload-Length")),
        ({"Upload-Defer-Length": "1"}, (400, "bad-request", "Upload-Defer-Length")),
        ({"Upload-Metadata": "evidence ***"}, (400, "bad-request", "Upload-Metadata.evidence")),
        ({"Upload-Metadata": ""}, (400, "bad-request", "Upload-Metadata.evidence")),
        ({"Tus-Resumable": "0.2.2"}, (412, "unsupported-tus-version", "Tus-Resumable")),
    ],
    ids=["negative", "nan", "empty", "huge", "digits", "defer", "base64", "none", "version"],
)
def test_bad_creation_is_named(tus: Tus, rt: Runtime, headers: Headers, expected: tuple[int, str, str]) -> None:
    """Each fault is a problem that names the header, and nothing is made."""
    good = {"Upload-Length": "5", "Upload-Metadata": metadata()}
    response = tus.client.post(UPLOADS, headers=tus.headers | good | headers)
    assert problem_of(response) == expected
    assert response.headers["Tus-Resumable"] == "1.0.0"
    with rt.db.read() as session:
        assert session.scalar(select(func.count()).select_from(Upload)) == 0


def test_bad_patch_is_named(tus: Tus) -> None:
    """Content type, offset, version, method override."""
    location = tus.create(5).headers["Location"]
    plain = tus.client.patch(location, headers=tus.headers | {"Upload-Offset": "0"}, data=b"x")
    assert problem_of(plain) == (415, "unsupported-media-type", "Content-Type")
    assert problem_of(tus.patch(location, "zero", b"x")) == (400, "bad-request", "Upload-Offset")
    assert problem_of(tus.patch(location, 0, b"x", **{"Tus-Resumable": "2.0"}))[0] == 412
    assert problem_of(tus.client.post(location, headers=tus.headers))[0] == 405
    assert tus.offset(location) == 0


def test_more_bytes_than_announced_are_refused(tus: Tus) -> None:
    """A body beyond the length changes nothing."""
    location = tus.create(5).headers["Location"]
    assert problem_of(tus.patch(location, 0, b"123456"))[:2] == (413, "too-large")
    assert tus.offset(location) == 0


def test_method_override(tus: Tus) -> None:
    """POST may stand for PATCH, HEAD and DELETE."""
    location = tus.create(5).headers["Location"]
    headers = tus.headers | OFFSET_TYPE | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert tus.client.post(location, headers=headers, data=b"12").status_code == 204
    assert tus.offset(location) == 2
    assert tus.client.post(location, headers=tus.headers | {"X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert tus.client.head(location, headers=tus.headers).status_code == 404


def test_uploads_of_others_do_not_exist(tus: Tus, client: FlaskClient, device_headers: MakeHeaders) -> None:
    """Another device's upload answers like none at all, for every method."""
    location = tus.create(5).headers["Location"]
    other = Tus(client, device_headers("d2"))
    missing = f"{UPLOADS}/0190a0b0-0000-7000-8000-00000000ffff"
    for target in (location, missing):
        assert other.client.head(target, headers=other.headers).status_code == 404
        assert problem_of(other.patch(target, 0, b"1"))[:2] == (404, "not-found")
        assert problem_of(other.client.delete(target, headers=other.headers))[:2] == (404, "not-found")
    assert tus.offset(location) == 0


def test_ids_cannot_leave_the_folder(tus: Tus, rt: Runtime) -> None:
    """An id that is a path is just an unknown id, and touches no file."""
    for name in ("..%2F..%2Fpasswd", "..", "a%00b", "x" * 300):
        assert tus.patch(f"{UPLOADS}/{name}", 0, b"1").status_code in (404, 405)
    assert not (rt.settings.evidence_dir / "uploads").exists()


def test_only_devices_upload(client: FlaskClient, sign_in: MakeHeaders) -> None:
    """Accounts and strangers get nothing."""
    assert problem_of(client.post(UPLOADS, headers=sign_in("operator")))[0] == 403
    assert problem_of(client.post(UPLOADS))[0] == 401
    assert client.options(UPLOADS).status_code == 401


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "md5"])
def test_checksum_guards_a_piece(tus: Tus, algorithm: str) -> None:
    """A piece with its checksum counts; one without it does not."""
    location = tus.create(10).headers["Location"]
    digest = base64.b64encode(hashlib.new(algorithm, b"12345").digest()).decode()
    wrong = tus.patch(location, 0, b"1234!", **{"Upload-Checksum": f"{algorithm} {digest}"})
    assert problem_of(wrong)[:2] == (460, "checksum-mismatch")
    assert tus.offset(location) == 0
    assert tus.patch(location, 0, b"12345", **{"Upload-Checksum": f"{algorithm} {digest}"}).status_code == 204
    assert tus.offset(location) == 5
    unknown = tus.patch(location, 5, b"67890", **{"Upload-Checksum": "crc32 AAAA"})
    assert problem_of(unknown) == (400, "bad-request", "Upload-Checksum")


def test_checksum_mismatch_leaves_no_bytes_behind(tus: Tus, rt: Runtime) -> None:
    """What failed its checksum is cut off before anything else is written."""
    location = tus.create(10).headers["Location"]
    tus.patch(location, 0, b"garbage", **{"Upload-Checksum": f"sha1 {base64.b64encode(bytes(20)).decode()}"})
    assert tus.patch(location, 0, b"0123456789").status_code == 204
    with rt.db.read() as session:
        assert session.scalars(select(Upload.sha256)).one() == hashlib.sha256(b"0123456789").hexdigest()


def test_termination_frees_the_space(tus: Tus, rt: Runtime) -> None:
    """An unfinished upload can be given up; a finished one is kept."""
    location = tus.create(5, body=b"12").headers["Location"]
    assert tus.client.delete(location, headers=tus.headers).status_code == 204
    assert list((rt.settings.evidence_dir / "uploads").iterdir()) == []
    finished = tus.create(5, body=b"12345").headers["Location"]
    assert problem_of(tus.client.delete(finished, headers=tus.headers))[:2] == (409, "conflict")


def test_unfinished_uploads_are_limited(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device cannot open uploads without end, nor reserve bytes without end."""
    monkeypatch.setattr(upload, "MAX_OPEN_UPLOADS", 2)
    tus.create(1)
    tus.create(2)
    response = tus.create(3)
    assert (*problem_of(response)[:2], json_of(response)["limit"]) == (422, "limit-exceeded", 2)
    monkeypatch.setattr(upload, "MAX_OPEN_UPLOADS", 9)
    monkeypatch.setattr(upload, "MAX_PENDING_BYTES", 5)
    response = tus.create(3)
    assert (*problem_of(response)[:2], json_of(response)["limit"]) == (422, "limit-exceeded", 5)


def test_full_store_is_told_before_a_byte_is_sent(tus: Tus, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload that cannot fit is refused at its creation."""
    monkeypatch.setattr(upload, "FREE_RESERVE_BYTES", 1 << 62)
    assert problem_of(tus.create(5))[:2] == (507, "storage-full")


@pytest.mark.parametrize(("number", "status"), [(errno.ENOSPC, 507), (errno.EIO, 503)], ids=["full", "broken"])
def test_disk_error_keeps_what_counted(tus: Tus, monkeypatch: pytest.MonkeyPatch, number: int, status: int) -> None:
    """A disk that refuses is told honestly; the upload goes on when it works again."""
    location = tus.create(10, body=b"12345").headers["Location"]

    full = broken_for_good = False

    def write(descriptor: int, data: bytes | memoryview, offset: int) -> int:
        nonlocal full
        if isinstance(data, memoryview):  # the upload's bytes; the small notes beside them still fit
            full = True
            raise OSError(number, os.strerror(number))
        return os.pwrite(descriptor, data, offset)

    def cut(descriptor: int, length: int) -> None:
        if full and broken_for_good:
            raise OSError(number, os.strerror(number))
        os.ftruncate(descriptor, length)

    for worse in (False, True):
        full, broken_for_good = False, worse
        with monkeypatch.context() as broken:
            broken.setattr(parts_module, "os", _OsWith(pwrite=write, ftruncate=cut))
            assert problem_of(tus.patch(location, 5, b"67890"))[0] == status
        assert full
    assert tus.offset(location) == 5
    assert tus.patch(location, 5, b"67890").status_code == 204


def test_disk_error_while_settling_is_not_the_devices_problem(
    tus: Tus, rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes that count are safe: the reply is a success and the worker settles them."""

    def refuse(*_args: object) -> str:
        raise OSError(errno.EIO, "broken")

    with monkeypatch.context() as broken:
        broken.setattr(tus_api, "settle_upload", refuse)
        location = tus.send_apart(b"12345")
    assert state_of(rt, location) == "received"
    assert settlement.reconcile_step(rt) == 1
    assert state_of(rt, location) == "waiting"


class _OsWith:
    """The os module with some functions replaced."""

    def __init__(self, **replaced: object) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)


class _Body(io.RawIOBase):
    """A request body that ends or breaks after some bytes."""

    def __init__(self, data: bytes, error: Exception | None) -> None:
        self.data, self.error = data, error

    def readable(self) -> bool:
        """It can be read."""
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]  # simpler than the protocol
        """Give at most 1,000 bytes at a time."""
        if not self.data and self.error is not None:
            raise self.error
        size = min(len(buffer), 1_000, len(self.data))
        buffer[:size], self.data = self.data[:size], self.data[size:]
        return size


def _environ(body: _Body, length: int | None, *, terminated: bool = True) -> dict[str, Any]:
    """What a WSGI server passes on: a raw body, with a length or in chunks."""
    environ: dict[str, Any] = {"wsgi.input": io.BufferedReader(body)}
    if length is not None:
        environ["CONTENT_LENGTH"] = str(length)
    if terminated:
        environ["wsgi.input_terminated"] = True
    return environ


@pytest.mark.parametrize(
    "error", [None, ConnectionResetError(), RuntimeError("server's own")], ids=["eof", "rst", "own"]
)
@pytest.mark.parametrize("terminated", [True, False])
def test_cut_connection_keeps_what_arrived(tus: Tus, rt: Runtime, error: Exception | None, terminated: bool) -> None:
    """However the connection ends, the bytes before the end count, but for a piece that the server still held back."""
    data = bytes(range(256)) * 1_200
    location = tus.create(len(data)).headers["Location"]
    response = tus.client.patch(
        location,
        headers=tus.headers | OFFSET_TYPE | {"Upload-Offset": "0"},
        environ_overrides=_environ(_Body(data[:270_000], error), len(data), terminated=terminated),
    )
    assert problem_of(response)[:2] == (400, "bad-request")
    offset = tus.offset(location)
    assert json_of(response)["offset"] == offset
    assert offset == 270_000 if error is None else 270_000 - upload.READ_BYTES < offset <= 270_000
    assert tus.patch(location, offset, data[offset:]).headers["Upload-Offset"] == str(len(data))
    with rt.db.read() as session:
        assert session.scalars(select(Upload.sha256)).one() == hashlib.sha256(data).hexdigest()


def test_cut_of_a_checksummed_piece_counts_nothing(tus: Tus) -> None:
    """Bytes that cannot be checked any more do not count."""
    location = tus.create(5_000).headers["Location"]
    digest = base64.b64encode(hashlib.sha1(bytes(5_000), usedforsecurity=False).digest()).decode()
    response = tus.client.patch(
        location,
        headers=tus.headers | OFFSET_TYPE | {"Upload-Offset": "0", "Upload-Checksum": f"sha1 {digest}"},
        environ_overrides=_environ(_Body(bytes(3_000), None), 5_000, terminated=False),
    )
    assert problem_of(response)[0] == 460
    assert tus.offset(location) == 0


def test_body_without_length_is_bounded(tus: Tus) -> None:
    """A chunked body is taken up to the upload's length and refused beyond it."""
    location = tus.create(1_500).headers["Location"]
    headers = tus.headers | OFFSET_TYPE | {"Upload-Offset": "0"}
    too_long = tus.client.patch(location, headers=headers, environ_overrides=_environ(_Body(bytes(2_000), None), None))
    assert problem_of(too_long)[:2] == (413, "too-large")
    assert tus.offset(location) == 0
    right = tus.client.patch(location, headers=headers, environ_overrides=_environ(_Body(bytes(1_500), None), None))
    assert right.headers["Upload-Offset"] == "1500"


def test_long_piece_is_counted_in_between(tus: Tus, rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long request counts every few bytes, so a crash costs little."""
    monkeypatch.setattr(upload, "CHECKPOINT_BYTES", 300_000)
    monkeypatch.setattr(upload, "BLOCK_BYTES", 100_000)
    seen: list[int] = []
    real = upload._record_offset

    def spy(rt: Runtime, upload_id: str, offset: int, held: HeldPart) -> Upload:
        seen.append(offset)
        return real(rt, upload_id, offset, held)

    monkeypatch.setattr(upload, "_record_offset", spy)
    location = tus.create(900_000).headers["Location"]
    assert tus.patch(location, 0, bytes(900_000)).status_code == 204
    assert len(seen) >= 3
    assert seen[-1] == 900_000
    assert state_of(rt, location) == "waiting"


def test_newer_request_takes_over(tus: Tus, rt: Runtime) -> None:
    """A request on a hanging connection is shut out by the one that resumed; its late bytes go nowhere."""
    location = tus.create(6).headers["Location"]
    known = upload.read_upload(rt, location.rpartition("/")[2], "d1")
    late = iter([b"lat", b"e!!", b""])

    def slow(_size: int) -> bytes:
        piece = next(late)
        if piece == b"lat":
            assert tus.patch(location, 0, b"newer!").status_code == 204
        return piece

    with pytest.raises(Problem) as caught:
        upload.receive(rt, known, offset_bytes=0, body=slow)
    assert caught.value.code == "conflict"
    with rt.db.read() as session:
        assert session.scalars(select(Upload.sha256)).one() == hashlib.sha256(b"newer!").hexdigest()


def test_expired_uploads_end(tus: Tus, rt: Runtime, clock: FakeClock, device_headers: MakeHeaders) -> None:
    """What nothing declares goes after its time; younger uploads stay."""
    old = tus.create(5, body=b"12").headers["Location"]
    clock.advance((upload.OPEN_LIFETIME - timedelta(hours=1)).total_seconds())
    tus.headers |= device_headers("d1")
    young = tus.create(6, body=b"12").headers["Location"]
    clock.advance(7_200)
    tus.headers |= device_headers("d1")
    assert settlement.sweep_step(rt) == 1
    assert tus.client.head(old, headers=tus.headers).status_code == 404
    assert tus.offset(young) == 2
    assert len(list((rt.settings.evidence_dir / "uploads").glob("*.part"))) == 1


def test_files_without_an_upload_go(tus: Tus, rt: Runtime) -> None:
    """A crash between the rows and the files leaves files that the sweep removes."""
    kept = tus.create(5, body=b"12").headers["Location"]
    folder = rt.settings.evidence_dir / "uploads"
    (folder / "0190a0b0-0000-7000-8000-00000000ffff.part").write_bytes(b"orphan")
    (folder / "0190a0b0-0000-7000-8000-00000000fffe.lock").write_bytes(b"")
    assert settlement.sweep_step(rt) == 2
    assert {path.stem for path in folder.iterdir()} == {kept.rpartition("/")[2]}
    assert tus.offset(kept) == 2
