"""Time stamps of heads by a real authority outside, and what is refused."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from schemas.proof_log import TimestampSchema
from server.config import TimestampSettings
from server.prooflog.models import Timestamp
from server.prooflog.timestamps import (
    RETRY_S,
    HeadStamper,
    StampRefused,
    load_roots,
    request_stamp,
    verify_stamp,
    verify_timestamps,
)
from server.runtime import Runtime
from sync.checkpoints import parse_checkpoint
from tests.conftest import FakeClock, SignIn
from tests.integration.prooflog.growing import grow, sequence, wait_in_line
from tests.time_authority import TimeAuthority, time_authority

EVERY_S = 600


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TimeAuthority]:
    """One authority for the module."""
    with time_authority(tmp_path_factory.mktemp("authority")) as found:
        yield found


@pytest.fixture
def stamped(rt: Runtime, authority: TimeAuthority) -> Runtime:
    """A runtime that has its heads stamped."""
    return replace(
        rt, settings=replace(rt.settings, timestamps=TimestampSettings(authority.url, authority.roots, EVERY_S))
    )


def stamps(rt: Runtime) -> list[tuple[int, datetime]]:
    """Sizes and times of the stored stamps."""
    with rt.db.read() as session:
        rows = session.execute(select(Timestamp.size, Timestamp.stamped_at).order_by(Timestamp.size))
        return [(size, stamped_at) for size, stamped_at in rows]


def more(rt: Runtime, first: int) -> None:
    """Append one leaf under a head of its own."""
    wait_in_line(rt, first, 1)
    sequence(rt)


def test_nothing_is_asked_unless_configured(rt: Runtime, authority: TimeAuthority) -> None:
    """Without settings, and without a head, nobody is asked."""
    asked = authority.asked
    grow(rt, 1)
    assert HeadStamper()(rt) == 0
    assert authority.asked == asked


def test_the_newest_head_is_stamped_as_often_as_configured(stamped: Runtime, clock: FakeClock) -> None:
    """One stamp for each interval, for the head that is then the newest; an unchanged log is not stamped again."""
    stamper = HeadStamper()
    assert stamper(stamped) == 0
    grow(stamped, 3)
    assert [stamper(stamped), stamper(stamped)] == [1, 0]
    ((size, stamped_at),) = stamps(stamped)
    assert size == 3
    clock.instant = stamped_at + timedelta(seconds=EVERY_S - 1)
    more(stamped, 3)
    assert stamper(stamped) == 0
    clock.advance(1)
    assert [stamper(stamped), stamper(stamped)] == [1, 0]
    assert [size for size, _ in stamps(stamped)] == [3, 4]
    with stamped.db.read() as session:
        assert verify_timestamps(session, stamped) == (2, [])


def test_an_outsider_can_check_a_stamp(stamped: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """The answer is over the checkpoint's body and verifies against the root alone."""
    grow(stamped, 2, 3)
    HeadStamper()(stamped)
    headers = sign_in("auditor")
    found = TimestampSchema().load(client.get("/api/v1/proof-log/timestamps?size=4", headers=headers).get_json())
    assert found["size"] == 5
    note = client.get("/api/v1/proof-log/checkpoint?size=5", headers=headers).data
    assert parse_checkpoint(note)[0].body() == found["message"].encode()
    settings = stamped.settings.timestamps
    assert settings is not None
    answer = base64.b64decode(found["answer"])
    assert verify_stamp(answer, found["message"].encode(), load_roots(settings.roots)) == found["stamped_at"]
    assert client.get("/api/v1/proof-log/timestamps?size=6", headers=headers).status_code == 404
    assert client.get("/api/v1/proof-log/checkpoint?size=4", headers=headers).status_code == 404


def test_a_stamp_proves_only_what_was_stamped(stamped: Runtime, tmp_path: Path) -> None:
    """Another message, a changed answer and other roots are all refused."""
    settings = stamped.settings.timestamps
    assert settings is not None
    roots = load_roots(settings.roots)
    answer, _ = request_stamp(settings, b"message")
    with pytest.raises(StampRefused):
        verify_stamp(answer, b"another message", roots)
    with pytest.raises(StampRefused):
        verify_stamp(answer[:-1] + bytes([answer[-1] ^ 1]), b"message", roots)
    with time_authority(tmp_path) as other, pytest.raises(StampRefused):
        verify_stamp(answer, b"message", load_roots(other.roots))


def test_an_authority_that_fails_is_asked_again_later(
    stamped: Runtime, authority: TimeAuthority, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong answer is not kept and said once; after a pause the next one is."""
    grow(stamped, 1)
    stamper = HeadStamper()
    authority.broken = True
    try:
        assert [stamper(stamped), stamper(stamped)] == [0, 0]
    finally:
        authority.broken = False
    assert len([record for record in caplog.records if "no time stamp for head 1" in record.message]) == 1
    clock.advance(RETRY_S)
    assert stamper(stamped) == 1


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(200, content=bytes(70_000)), None])
def test_what_is_no_answer_is_refused(stamped: Runtime, answer: httpx.Response | None) -> None:
    """An error, too much, and nobody there."""

    def respond(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ConnectError("nobody there", request=request)
        return answer

    settings = stamped.settings.timestamps
    assert settings is not None
    with pytest.raises(StampRefused):
        request_stamp(settings, b"message", httpx.MockTransport(respond))


def test_damage_is_named(stamped: Runtime, rt: Runtime) -> None:
    """A changed time, a stamp of another head, and missing roots are each said."""
    grow(stamped, 1)
    HeadStamper()(stamped)
    with rt.db.read() as session:
        assert "cannot be checked" in verify_timestamps(session, rt)[1][0]
    ((_, stamped_at),) = stamps(rt)
    with rt.db.write() as session:
        session.execute(update(Timestamp).values(stamped_at=stamped_at + timedelta(seconds=1)))
    with stamped.db.read() as session:
        assert "stored time" in verify_timestamps(session, stamped)[1][0]
    with rt.db.write() as session:
        session.execute(update(Timestamp).values(answer=b"no"))
    with stamped.db.read() as session:
        assert "not an answer" in verify_timestamps(session, stamped)[1][0]
    settings = stamped.settings.timestamps
    assert settings is not None
    answer, _ = request_stamp(settings, b"message")
    missing = TimestampSettings("http://127.0.0.1:9/", Path("/nowhere/root.pem"), EVERY_S)
    with pytest.raises(StampRefused, match="root.pem"):
        request_stamp(missing, b"message", httpx.MockTransport(lambda _: httpx.Response(200, content=answer)))
