"""Uploads against the real HTTP server: connections cut in the middle, and the server killed in the middle."""

import base64
import hashlib
import random
import socket
import time
from collections.abc import Callable
from select import select

import httpx
import pytest
import sqlalchemy as sa

from server.evidence.models import Blob, CustodyEntry, Evidence, Upload
from server.evidence.service import declare
from server.evidence.settlement import reconcile_step
from server.evidence.stores import open_store
from server.evidence.upload import CHECKPOINT_BYTES
from server.runtime import Runtime
from tests.integration.evidence.live_server import REQUEST_S, LiveServer
from tests.integration.evidence.sending import OFFSET_TYPE, UPLOADS, fields_of, metadata


def create(http: httpx.Client, evidence: str, length: int) -> str:
    """Create an upload; returns its path."""
    response = http.post(UPLOADS, headers={"Upload-Length": str(length), "Upload-Metadata": metadata(evidence)})
    assert response.status_code == 201, response.text
    return str(response.headers["Location"])


def offset_of(http: httpx.Client, location: str) -> int:
    """Ask for the counted bytes."""
    response = http.head(location)
    assert response.status_code == 200, response.status_code
    return int(response.headers["Upload-Offset"])


def send_and_cut(http: httpx.Client, location: str, offset: int, data: bytes, sent_bytes: int) -> socket.socket:
    """Announce all of `data`, send a part of it, and leave the connection open."""
    head = [f"PATCH {location} HTTP/1.1", f"Host: {http.base_url.host}", f"Content-Length: {len(data)}"]
    head += [f"{name}: {http.headers[name]}" for name in ("Authorization", "Tus-Resumable")]
    head += [f"Upload-Offset: {offset}", *(f"{name}: {value}" for name, value in OFFSET_TYPE.items()), "", ""]
    connection = socket.create_connection(("127.0.0.1", http.base_url.port or 0), timeout=REQUEST_S)
    connection.sendall("\r\n".join(head).encode() + data[:sent_bytes])
    return connection


def declare_all(rt: Runtime, contents: dict[str, bytes]) -> None:
    """Declare records for contents, as fieldsync does."""
    with rt.db.write() as session:
        for record, data in contents.items():
            declare(session, rt, record, fields_of(data), device="d1", act_hash="ac" * 32, region="420106")


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll until something that is on its way has happened."""
    deadline = time.monotonic() + REQUEST_S
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def wait_for_end(rt: Runtime, location: str, length: int, connection: socket.socket) -> None:
    """Poll until all bytes of an upload count, or the server has answered.

    It may answer 409: a request that was cut by the kill before may have waited in the queue and been counted since.
    """
    upload_id = location.rpartition("/")[2]
    wait_until(lambda: counted(rt, upload_id) == length or bool(select([connection], [], [], 0)[0]))


def record_id(number: int) -> str:
    """An evidence id."""
    return f"0190a0b0-0000-7000-8000-{number:012x}"


def test_cut_upload_resumes_where_it_ended(live: LiveServer, http: httpx.Client, home_rt: Runtime) -> None:
    """Every orderly cut keeps every byte that arrived; the sum of the pieces is the file."""
    data = random.Random(1).randbytes(700_001)
    declare_all(home_rt, {record_id(1): data})
    location = create(http, record_id(1), len(data))
    offset = 0
    for piece in (1, 16_384, 300_000, 99):
        connection = send_and_cut(http, location, offset, data[offset:], piece)
        connection.shutdown(socket.SHUT_WR)
        reply = connection.recv(65_536)
        connection.close()
        assert b" 400 " in reply.split(b"\r\n")[0]
        offset += piece
        assert offset_of(http, location) == offset
    rest = http.patch(location, content=data[offset:], headers=OFFSET_TYPE | {"Upload-Offset": str(offset)})
    assert rest.status_code == 204
    with home_rt.db.read() as session:
        assert session.get_one(Evidence, record_id(1)).status == "verified"
    with open_store(home_rt.settings).open(hashlib.sha256(data).hexdigest()) as stream:
        assert stream.read() == data


def test_hanging_connection_does_not_stop_the_device(live: LiveServer, http: httpx.Client, home_rt: Runtime) -> None:
    """While an old connection still hangs, a new one takes over; what the old one delivers later is refused."""
    data = random.Random(2).randbytes(600_000)
    declare_all(home_rt, {record_id(1): data})
    location = create(http, record_id(1), len(data))
    hanging = send_and_cut(http, location, 0, bytes(len(data)), 300_000)
    part = home_rt.settings.evidence_dir / "uploads" / f"{location.rpartition('/')[2]}.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0)
    response = http.patch(location, content=data, headers=OFFSET_TYPE | {"Upload-Offset": "0"})
    assert response.status_code == 204
    hanging.sendall(bytes(300_000))
    assert b" 409 " in hanging.recv(65_536).split(b"\r\n")[0]
    hanging.close()
    with home_rt.db.read() as session:
        assert session.get_one(Evidence, record_id(1)).status == "verified"


def test_chunked_body_is_taken(live: LiveServer, http: httpx.Client, home_rt: Runtime) -> None:
    """A client that does not say how long its body is may send it in chunks; a broken chunk is a cut."""
    data = b"0123456789" * 10_000
    location = create(http, record_id(1), len(data))
    chunks = iter([data[:50_000], data[50_000:]])
    response = http.patch(location, content=chunks, headers=OFFSET_TYPE | {"Upload-Offset": "0"})
    assert (response.status_code, response.headers["Upload-Offset"]) == (204, str(len(data)))
    second = create(http, record_id(2), 100)
    with socket.create_connection(("127.0.0.1", live.port), timeout=REQUEST_S) as connection:
        lines = [f"PATCH {second} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", "Upload-Offset: 0"]
        lines += [f"{name}: {http.headers[name]}" for name in ("Authorization", "Tus-Resumable")]
        lines += [*(f"{name}: {value}" for name, value in OFFSET_TYPE.items()), "", "zz", ""]
        connection.sendall("\r\n".join(lines).encode())
        assert b" 400 " in connection.recv(65_536).split(b"\r\n")[0]
    assert offset_of(http, second) == 0


def test_kill_in_the_middle_keeps_what_counted(live: LiveServer, http: httpx.Client, home_rt: Runtime) -> None:
    """After kill -9 in mid-request the offset stands at the last sync, and the upload goes on from there."""
    data = random.Random(3).randbytes(2 * CHECKPOINT_BYTES + 100_000)
    declare_all(home_rt, {record_id(1): data})
    location = create(http, record_id(1), len(data))
    upload_id = location.rpartition("/")[2]
    connection = send_and_cut(http, location, 0, data, CHECKPOINT_BYTES + 1_000_000)
    part = home_rt.settings.evidence_dir / "uploads" / f"{upload_id}.part"
    wait_until(lambda: counted(home_rt, upload_id) > 0)
    live.kill()
    connection.close()
    offset = counted(home_rt, upload_id)
    assert CHECKPOINT_BYTES <= offset <= part.stat().st_size
    live.start()
    assert offset_of(http, location) == offset
    rest = http.patch(location, content=data[offset:], headers=OFFSET_TYPE | {"Upload-Offset": str(offset)})
    assert rest.status_code == 204
    with home_rt.db.read() as session:
        assert session.get_one(Evidence, record_id(1)).status == "verified"


def counted(rt: Runtime, upload_id: str) -> int:
    """The counted bytes in the database."""
    with rt.db.read() as session:
        return session.scalar(sa.select(Upload.offset_bytes).where(Upload.id == upload_id)) or 0


@pytest.mark.slow
def test_many_kills_lose_and_double_nothing(live: LiveServer, http: httpx.Client, home_rt: Runtime) -> None:
    """Photos uploaded while the server is killed again and again: each is attached exactly once."""
    source = random.Random(4)
    contents = {record_id(number): source.randbytes(source.randint(1, 400_000)) for number in range(1, 13)}
    contents[record_id(99)] = contents[record_id(1)]
    declare_all(home_rt, dict(list(contents.items())[:8]))
    kills = 0
    for record, data in contents.items():
        location, offset = "", 0
        while not location or offset < len(data):
            try:
                location = location or create(http, record, len(data))
                offset = offset_of(http, location)
                if kills < 12:
                    missing = len(data) - offset
                    sent = missing if kills % 2 else source.randint(0, missing)
                    with send_and_cut(http, location, offset, data[offset:], sent) as connection:
                        if sent == missing:  # kill while the finished upload is being settled
                            wait_for_end(home_rt, location, len(data), connection)
                        live.kill()
                    kills += 1
                    live.start()
                    offset = offset_of(http, location)
                rest = data[offset:]
                headers = OFFSET_TYPE | {"Upload-Offset": str(offset)}
                response = http.patch(location, content=rest, headers=headers)
                offset = int(response.headers["Upload-Offset"]) if response.status_code == 204 else offset
            except httpx.TransportError:
                continue
    declare_all(home_rt, contents)
    while reconcile_step(home_rt):
        pass
    with home_rt.db.read() as session:
        rows = {row.id: row for row in session.scalars(sa.select(Evidence))}
        assert {row.status for row in rows.values()} == {"verified"}
        assert rows.keys() == contents.keys()
        bodies = list(session.scalars(sa.select(CustodyEntry.body)))
        assert sum(b'"action":"verify"' in body for body in bodies) == len(contents)
        assert len(session.scalars(sa.select(Blob)).all()) == len(set(contents.values()))
    for data in contents.values():
        with open_store(home_rt.settings).open(hashlib.sha256(data).hexdigest()) as stream:
            assert stream.read() == data
    assert kills == 12


def test_creation_with_upload_and_checksum(live: LiveServer, http: httpx.Client, home_rt: Runtime) -> None:
    """One request may do it all, and guard itself with a checksum."""
    data = b"one request"
    declare_all(home_rt, {record_id(1): data})
    checksum = base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode()
    headers = OFFSET_TYPE | {"Upload-Length": str(len(data)), "Upload-Metadata": metadata(record_id(1))}
    response = http.post(UPLOADS, content=data, headers=headers | {"Upload-Checksum": f"sha1 {checksum}"})
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, str(len(data)))
    assert http.get(f"/api/v1/evidence/{record_id(1)}/receipt").json()["status"] == "verified"


def test_oversized_request_is_refused_at_once(live: LiveServer, http: httpx.Client) -> None:
    """A body longer than the rest of the file is refused before it is read, and the server keeps serving."""
    location = create(http, record_id(1), 10)
    with send_and_cut(http, location, 0, bytes(500_000_000), 0) as connection:
        assert b" 413 " in connection.recv(65_536).split(b"\r\n")[0]
    assert offset_of(http, location) == 0
