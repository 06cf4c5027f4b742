"""What clients, disks and files get wrong: a clear answer each time, no evidence by half, nothing left behind."""

import errno
import io
import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from server.evidence import whole
from server.evidence.commits import CommitGroup
from server.evidence.examination import inspect_step
from server.evidence.models import Blob, CustodyEntry, Evidence, Upload
from server.evidence.service import custody
from server.prooflog.service import sequence_step
from server.runtime import Runtime
from tests.integration.evidence.reading import actions, row
from tests.integration.evidence.sending import (
    EVIDENCE,
    OFFSET_TYPE,
    PHOTO,
    UPLOADS,
    Declare,
    MakeHeaders,
    Tus,
    metadata,
    problem_of,
)

OTHER = EVIDENCE[:-1] + "2"
DEVICES = 4


def nothing_left(rt: Runtime) -> bool:
    """No file of an upload, and no row."""
    folder = rt.settings.evidence_dir / "uploads"
    with rt.db.read() as session:
        return not list(folder.iterdir()) and not session.scalars(select(Upload.id)).all()


def polyglot() -> bytes:
    """A picture that is an archive as well."""
    out = io.BytesIO(PHOTO)
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("hidden.txt", "hidden")
    return out.getvalue()


def bomb() -> bytes:
    """A PNG of a few bytes that claims 3,600 megapixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(64))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "codes"),
    [(polyglot(), ["second-type"]), (bomb(), ["decompression-bomb", "type-differs"]), (b"", ["not-a-picture"])],
    ids=["polyglot", "bomb", "empty"],
)
def test_odd_files_are_evidence_with_flags(
    rt: Runtime, tus: Tus, declared: Declare, data: bytes, codes: list[str]
) -> None:
    """What was captured is kept as it is; a person is told."""
    declared(data)
    tus.send(data)
    assert inspect_step(rt) == 1
    assert row(rt).status == "verified"
    assert [
        flag["code"] for flag in row(rt).flags if flag["code"] != "type-differs" or "type-differs" in codes
    ] == codes


@pytest.mark.parametrize(("number", "expected"), [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 503)])
@pytest.mark.parametrize("place", ["write", "sync"])
def test_disk_that_refuses_a_whole_file(
    rt: Runtime, tus: Tus, declared: Declare, monkeypatch: pytest.MonkeyPatch, place: str, number: int, expected: int
) -> None:
    """An honest answer, nothing left, and the same request works when the disk does."""
    if place == "write":
        declared()

    def refuse(*_args: object) -> None:
        raise OSError(number, "refused")

    with monkeypatch.context() as broken:
        broken.setattr(whole, "_write" if place == "write" else "sync_file", refuse)
        assert tus.create(len(PHOTO), body=PHOTO).status_code == expected
    assert nothing_left(rt)
    assert tus.create(len(PHOTO), body=PHOTO).status_code == 201


def test_whole_file_with_a_wrong_checksum_leaves_nothing(tus: Tus, rt: Runtime) -> None:
    """The promise is checked before anything is recorded."""
    headers = {"Upload-Length": "5", "Upload-Metadata": metadata(), "Upload-Checksum": "sha256 " + "A" * 43 + "="}
    response = tus.client.post(UPLOADS, headers=tus.headers | OFFSET_TYPE | headers, data=b"12345")
    assert problem_of(response)[:2] == (460, "checksum-mismatch")
    assert nothing_left(rt)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "C:\\windows\\system32", "a/b\nc", "\u202egpj.exe", "x" * 255])
def test_names_are_only_names(tus: Tus, rt: Runtime, declared: Declare, name: str) -> None:
    """Whatever a file is called, it lies under its hash."""
    declared(file_name=name)
    response = tus.create(len(PHOTO), body=PHOTO, filename=name)
    assert response.status_code == 201
    stored = [path for path in rt.settings.evidence_dir.rglob("*") if path.is_file()]
    assert [path.parent.parent.name for path in stored] == ["blobs"]


def test_devices_that_send_the_same_content_at_once(
    client: FlaskClient, rt: Runtime, declared: Declare, device_headers: MakeHeaders
) -> None:
    """Each record gets its bytes from its own device; the store keeps them once."""
    names = [f"d{number}" for number in range(DEVICES)]
    records = {name: f"{EVIDENCE[:-1]}{number}" for number, name in enumerate(names)}
    clients = {name: Tus(client.application.test_client(), device_headers(name)) for name in names}
    for name in names:
        declared(record=records[name], device=name)
    started = threading.Barrier(DEVICES)

    def send(name: str) -> str:
        started.wait()
        return clients[name].send(PHOTO, records[name])

    with ThreadPoolExecutor(DEVICES) as pool:
        assert len(set(pool.map(send, names))) == DEVICES
    for name in names:
        assert row(rt, records[name]).status == "verified"
        assert actions(rt, records[name]) == ["capture", "upload", "verify"]
    with rt.db.read() as session:
        assert len(session.scalars(select(Blob.sha256)).all()) == 1


def test_same_request_twice_at_once(client: FlaskClient, rt: Runtime, tus: Tus, declared: Declare) -> None:
    """A client that repeats itself too soon attaches its file once."""
    declared()
    twins = [Tus(client.application.test_client(), tus.headers) for _ in range(DEVICES)]
    with ThreadPoolExecutor(DEVICES) as pool:
        list(pool.map(lambda one: one.send(PHOTO), twins))
    assert actions(rt).count("verify") == 1
    with rt.db.read() as session:
        assert custody(session, session.get_one(Evidence, EVIDENCE))[1] == []


def test_one_item_that_fails_does_not_fail_the_others(rt: Runtime) -> None:
    """Requests share a commit, not their faults."""
    waiting = threading.Event()

    def record(session: Session, rt: Runtime, items: Sequence[str]) -> list[str]:
        if items == ["first"]:
            waiting.wait()
        if "bad" in items:
            raise ValueError("bad")
        return [item.upper() for item in items]

    group = CommitGroup(record)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(group.run, rt, "first")
        others = {item: pool.submit(group.run, rt, item) for item in ("bad", "good", "fine")}
        waiting.set()
        assert first.result() == "FIRST"
        assert [others[item].result() for item in ("good", "fine")] == ["GOOD", "FINE"]
        with pytest.raises(ValueError, match="bad"):
            others["bad"].result()


def test_interrupted_commit_reaches_everyone(rt: Runtime) -> None:
    """When the leader is interrupted, whoever shares its commit learns of it and nobody waits for ever."""

    def record(session: Session, rt: Runtime, items: Sequence[str]) -> list[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CommitGroup(record).run(rt, "item")


def test_rewritten_chain_is_found_by_the_proof_log(rt: Runtime, tus: Tus, declared: Declare) -> None:
    """Cutting the chain and mending count and head hides nothing: the log names the entry that is gone."""
    declared()
    tus.send(PHOTO)
    with rt.db.write() as session:
        assert sequence_step(session, rt) == 1
    with rt.db.write() as session:
        evidence = session.get_one(Evidence, EVIDENCE)
        session.execute(delete(CustodyEntry).where(CustodyEntry.seq == 3))
        last = session.scalars(select(CustodyEntry).where(CustodyEntry.seq == 2)).one()
        evidence.custody_count, evidence.custody_head = 2, last.hash
    with rt.db.read() as session:
        (fault,) = custody(session, session.get_one(Evidence, EVIDENCE))[1]
    assert "proof log" in fault.reason
