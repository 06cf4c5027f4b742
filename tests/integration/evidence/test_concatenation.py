"""Files put together from parts: in their order, once, by their device only, and never by half."""

import errno
import hashlib
import os

import pytest
from sqlalchemy import select
from werkzeug.test import TestResponse

from server.evidence import concatenation, settlement
from server.evidence.models import Upload
from server.evidence.tus import MAX_PARTS
from server.evidence.upload import OPEN_LIFETIME
from server.runtime import Runtime
from tests.conftest import FakeClock
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import (
    EVIDENCE,
    OFFSET_TYPE,
    PHOTO,
    UPLOADS,
    Declare,
    MakeHeaders,
    Tus,
    json_of,
    metadata,
    problem_of,
)

THIRD = len(PHOTO) // 3
PIECES = (PHOTO[:THIRD], PHOTO[THIRD : 2 * THIRD], PHOTO[2 * THIRD :])


def part(tus: Tus, data: bytes, length: int | None = None) -> str:
    """Create a partial upload with these bytes; returns its location."""
    headers = {"Upload-Concat": "partial", "Upload-Length": str(len(data) if length is None else length)}
    response = tus.client.post(UPLOADS, headers=tus.headers | headers | OFFSET_TYPE, data=data)
    assert response.status_code == 201, response.get_data(as_text=True)
    assert response.headers["Upload-Concat"] == "partial"
    return str(response.headers["Location"])


def final(tus: Tus, *locations: str, evidence: str = EVIDENCE) -> TestResponse:
    """Ask for the parts to be put together."""
    headers = {"Upload-Concat": "final;" + " ".join(locations), "Upload-Metadata": metadata(evidence)}
    return tus.client.post(UPLOADS, headers=tus.headers | headers)


def test_parts_become_evidence(tus: Tus, rt: Runtime, declared: Declare) -> None:
    """Parts sent in any order, one of them in two pieces, are the file in the order that is named."""
    declared()
    last, first = part(tus, PIECES[2]), part(tus, PIECES[0])
    middle = part(tus, PIECES[1][:7], len(PIECES[1]))
    assert problem_of(final(tus, first, middle, last)) == (409, "conflict", "Upload-Concat")
    assert tus.patch(middle, 7, PIECES[1][7:]).status_code == 204
    assert "GMT" in tus.client.head(middle, headers=tus.headers).headers["Upload-Expires"]
    made = final(tus, f"http://elsewhere.example{first}", middle, last)
    assert (made.status_code, made.headers["Upload-Offset"]) == (201, str(len(PHOTO)))
    assert (row(rt).status, actions(rt)) == ("verified", ["capture", "upload", "verify"])
    shown = tus.client.head(made.headers["Location"], headers=tus.headers)
    assert shown.headers["Upload-Concat"] == f"final;{first} {middle} {last}"
    assert tus.client.head(first, headers=tus.headers).status_code == 404
    assert list((rt.settings.evidence_dir / "uploads").iterdir()) == []


def test_other_order_is_another_file(tus: Tus, rt: Runtime, declared: Declare) -> None:
    """What was put together wrongly is not what was declared."""
    declared()
    locations = [part(tus, piece) for piece in PIECES]
    assert final(tus, *reversed(locations)).status_code == 201
    assert row(rt).status == "rejected"


def test_lost_reply_finds_the_file_again(tus: Tus, rt: Runtime) -> None:
    """Asking again for the same parts returns the same upload, though the parts have ended."""
    locations = [part(tus, piece) for piece in PIECES]
    first = final(tus, *locations)
    assert final(tus, *locations).headers["Location"] == first.headers["Location"]
    with rt.db.read() as session:
        assert session.scalars(select(Upload.sha256)).one() == hashlib.sha256(PHOTO).hexdigest()


def test_final_upload_takes_no_bytes(tus: Tus) -> None:
    """Only parts are written to."""
    made = final(tus, part(tus, b"ab"), part(tus, b""))
    assert problem_of(tus.patch(made.headers["Location"], 2, b"c"))[:2] == (403, "forbidden")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("partially", (400, "bad-request")),
        ("final;", (400, "bad-request")),
        ("final;/uploads/../../etc/passwd", (400, "bad-request")),
        (f"final;{UPLOADS}/{EVIDENCE} {UPLOADS}/{EVIDENCE}", (400, "bad-request")),
        (f"final;{UPLOADS}/{EVIDENCE}", (404, "not-found")),
        ("final;" + " ".join(f"{UPLOADS}/{EVIDENCE[:-5]}{n:05x}" for n in range(10_000)), (422, "limit-exceeded")),
    ],
    ids=["word", "none", "path", "twice", "unknown", "10,000"],
)
def test_bad_parts_are_named(tus: Tus, value: str, expected: tuple[int, str]) -> None:
    """Each fault is a problem with the header's name."""
    response = tus.client.post(UPLOADS, headers=tus.headers | {"Upload-Concat": value, "Upload-Metadata": metadata()})
    assert problem_of(response) == (*expected, "Upload-Concat")
    if expected[1] == "limit-exceeded":
        assert json_of(response)["limit"] == MAX_PARTS


def test_parts_of_others_are_not_there(tus: Tus, device_headers: MakeHeaders) -> None:
    """A device puts together what it sent itself, and only parts."""
    mine, whole = part(tus, b"ab"), tus.send(b"cd")
    other = Tus(tus.client, device_headers("d2"))
    assert problem_of(final(other, mine))[:2] == (404, "not-found")
    assert problem_of(final(tus, mine, whole))[:2] == (404, "not-found")


def test_full_disk_keeps_the_parts(tus: Tus, rt: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the copy fails, the parts are as they were and the next attempt works."""
    locations = [part(tus, piece) for piece in PIECES]

    def full(*_args: int) -> int:
        raise OSError(errno.ENOSPC, "full")

    class Os:
        sendfile = staticmethod(full)

    with monkeypatch.context() as broken:
        broken.setattr(concatenation, "os", Os)
        assert problem_of(final(tus, *locations))[:2] == (507, "storage-full")
    assert {path.suffix for path in (rt.settings.evidence_dir / "uploads").iterdir()} == {".part"} | {".lock"}
    assert len(list((rt.settings.evidence_dir / "uploads").glob("*.part"))) == len(PIECES)
    assert final(tus, *locations).status_code == 201


def test_lost_part_is_told(tus: Tus, rt: Runtime) -> None:
    """A part whose bytes the disk has lost cannot be put into a file."""
    locations = [part(tus, piece) for piece in PIECES]
    name = f"{locations[1].rpartition('/')[2]}.part"
    os.truncate(rt.settings.evidence_dir / "uploads" / name, 3)
    assert problem_of(final(tus, *locations))[:2] == (404, "not-found")


def test_forgotten_parts_end(tus: Tus, rt: Runtime, clock: FakeClock) -> None:
    """Finished parts that nobody puts together go after their time; a device may also end them itself."""
    part(tus, PIECES[0])
    assert tus.client.delete(part(tus, PIECES[1]), headers=tus.headers).status_code == 204
    clock.advance(OPEN_LIFETIME.total_seconds() + 1)
    assert settlement.sweep_step(rt) == 1
    assert list((rt.settings.evidence_dir / "uploads").iterdir()) == []
