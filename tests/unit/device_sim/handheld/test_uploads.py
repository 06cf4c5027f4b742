"""Evidence: hashed at capture, uploaded by tus, resumed after any cut."""

import hashlib

import httpx
import pytest
from cryptography.hazmat.primitives import hashes

from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Refused, Unreachable
from device_sim.handheld.picture import Picture
from device_sim.handheld.uploads import Uploader
from tests.unit.device_sim.handheld.conftest import (
    INSPECTION,
    FakePlatform,
    OpenHandheld,
    lost,
    passed,
    problem,
)

UPLOADS = "/api/v1/evidence/uploads"
POSITION = {"lat": 30.5, "lon": 114.3, "datum": "WGS-84"}


def capture(handheld: Handheld, content: bytes = b"0123456789") -> str:
    """Keep a picture as evidence."""
    picture = Picture(content, "photo.JPG", "image/jpeg", "2016-01-01T00:00:00+00:00", POSITION, "样例")
    return handheld.capture(INSPECTION, picture)


def uploader(handheld: Handheld, chunk_bytes: int = 4) -> Uploader:
    """The handheld's uploader with small chunks."""
    made = Uploader(handheld.store, handheld.link)
    made.chunk_bytes = chunk_bytes
    return made


def test_evidence_is_hashed_at_capture_and_declared_in_the_journal(handheld: Handheld) -> None:
    """Both hashes and the size stand in the act; the file has exactly those bytes."""
    content = b"picture bytes"
    evidence = capture(handheld, content)
    form = handheld.open("evidence", evidence)
    sm3 = hashes.Hash(hashes.SM3())
    sm3.update(content)
    assert form.value("sha256") == hashlib.sha256(content).hexdigest()
    assert form.value("sm3") == sm3.finalize().hex()
    assert form.value("size_bytes") == len(content)
    (kept,) = handheld.store.evidence()
    assert (handheld.store.evidence_folder / kept.file_name).read_bytes() == content
    assert kept.file_name == f"{evidence}.jpg"


def test_sm3_is_the_published_function() -> None:
    """The vector of GB/T 32905-2016, appendix A.1."""
    sm3 = hashes.Hash(hashes.SM3())
    sm3.update(b"abc")
    assert sm3.finalize().hex() == "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"


def test_files_are_uploaded_in_chunks(handheld: Handheld, platform: FakePlatform) -> None:
    """All bytes arrive once, and a finished file is not touched again."""
    capture(handheld)
    capture(handheld, b"")
    assert uploader(handheld).upload() == 2
    assert sorted(bytes(content) for content in platform.uploads.values()) == [b"", b"0123456789"]
    assert [len(body) for body in platform.sent("PATCH", UPLOADS)] == [4, 4, 2]
    assert uploader(handheld).upload() == 0
    assert len(handheld.store.evidence(uploaded=True)) == 2


def test_a_cut_upload_resumes_where_the_platform_is(handheld: Handheld, platform: FakePlatform) -> None:
    """A lost answer to a chunk does not make its bytes go up twice."""
    capture(handheld)
    platform.after = [passed, passed, lost]  # creation, HEAD, then the first PATCH arrives but its answer is lost
    uploader(handheld).upload()
    (content,) = platform.uploads.values()
    assert bytes(content) == b"0123456789"
    assert [len(body) for body in platform.sent("PATCH", UPLOADS)] == [4, 4, 2]
    assert handheld.counts["uploads_resumed"] == 1


def test_a_killed_handheld_resumes_the_same_upload(
    open_handheld: OpenHandheld, handheld: Handheld, platform: FakePlatform
) -> None:
    """The upload's address is remembered."""
    capture(handheld)
    platform.after = [passed, passed, passed] + [lost] * 12
    with pytest.raises(Unreachable):
        uploader(handheld).upload()
    platform.after = []
    restarted = open_handheld()
    assert restarted.store.evidence(uploaded=False)[0].offset_bytes > 0
    uploader(restarted).upload()
    assert [bytes(content) for content in platform.uploads.values()] == [b"0123456789"]


def test_an_upload_the_platform_has_forgotten_begins_anew(handheld: Handheld, platform: FakePlatform) -> None:
    """404 on a known upload leads to a new creation."""
    capture(handheld)
    platform.after = [passed, passed, passed] + [lost] * 12
    with pytest.raises(Unreachable):
        uploader(handheld).upload()
    platform.after = []
    platform.uploads.clear()
    assert uploader(handheld).upload() == 1
    assert [bytes(content) for content in platform.uploads.values()] == [b"0123456789"]


def test_uploads_that_vanish_at_once_are_given_up(handheld: Handheld, platform: FakePlatform) -> None:
    """Creating again has a limit, and the file stays pending."""
    capture(handheld)
    answer = platform._tus

    def forgetful(request: httpx.Request, body: bytes) -> httpx.Response:
        made = answer(request, body)
        platform.uploads.clear()
        return made

    platform._tus = forgetful  # type: ignore[method-assign]
    with pytest.raises(Refused, match="vanish"):
        uploader(handheld).upload()
    assert len(handheld.store.evidence(uploaded=False)) == 1


@pytest.mark.parametrize("status", [400, 409, 423, 460])
def test_a_chunk_that_arrived_otherwise_is_sorted_out_by_asking(
    handheld: Handheld, platform: FakePlatform, status: int
) -> None:
    """Offsets that do not fit any more lead to a question, not to an end."""
    capture(handheld)
    platform.before = [passed, passed, passed, lambda _request: problem(status, "any")]
    assert uploader(handheld).upload() == 1
    assert handheld.counts["retries"] == 1


def test_other_refusals_end_the_upload(handheld: Handheld, platform: FakePlatform) -> None:
    """A file the platform does not take is reported and stays pending."""
    capture(handheld)
    platform.before = [passed, passed, passed, lambda _request: problem(413, "too-large")]
    with pytest.raises(Refused, match="too-large"):
        uploader(handheld).upload()
    platform.before = [lambda _request: problem(403, "forbidden")]
    with pytest.raises(Refused, match="forbidden"):
        uploader(handheld).upload()


def test_one_bad_file_does_not_keep_the_others_waiting(handheld: Handheld, platform: FakePlatform) -> None:
    """A refused file and one that is gone stay pending; all others are uploaded, and the first fault is raised."""
    capture(handheld, b"refused")
    gone = capture(handheld, b"gone")
    capture(handheld, b"good")
    (handheld.store.evidence_folder / f"{gone}.jpg").unlink()
    platform.before = [passed, lambda _request: problem(413, "too-large")]
    with pytest.raises(Refused, match="too-large"):
        uploader(handheld).upload()
    assert len(handheld.store.evidence(uploaded=True)) == 1
    assert handheld.counts["uploads_failed"] == 2
    with pytest.raises(FileNotFoundError):
        uploader(handheld).upload()
    assert len(handheld.store.evidence(uploaded=False)) == 1


def test_small_files_go_whole(handheld: Handheld, platform: FakePlatform) -> None:
    """One request creates the upload and carries the file; a lost or cut one is repeated."""
    capture(handheld)
    platform.before = [passed, lambda _request: problem(400, "bad-request")]
    platform.after = [passed, passed, lost]
    assert uploader(handheld, chunk_bytes=100).upload() == 1
    assert platform.sent("PATCH", UPLOADS) == []
    assert platform.sent("POST", UPLOADS)[-1] == b"0123456789"
    assert handheld.store.evidence()[0].offset_bytes == 10


def test_half_taken_file_is_sent_again(handheld: Handheld, platform: FakePlatform) -> None:
    """A creation that says it took less is not believed to be finished."""
    capture(handheld)
    cut = httpx.Response(201, headers={"Location": f"{UPLOADS}/x", "Upload-Offset": "3"})
    platform.before = [passed, lambda _request: cut]
    assert uploader(handheld, chunk_bytes=100).upload() == 1
    assert handheld.counts["retries"] == 1


def test_answers_without_location_or_offset_are_not_followed(handheld: Handheld, platform: FakePlatform) -> None:
    """A creation without an address is refused, a state without an offset is asked for again."""
    capture(handheld)
    platform.before = [passed, lambda _request: httpx.Response(201)]
    with pytest.raises(Refused, match="Location"):
        uploader(handheld).upload()
    platform.before = [passed, lambda _request: httpx.Response(200)]
    assert uploader(handheld).upload() == 1
