"""The connection: tokens, retries, waiting, and answers that were spoiled on the way."""

import httpx
import pytest

from device_sim.handheld.client import Handheld
from device_sim.handheld.link import Again, Backoff, Refused, Unreachable, decoded, lines_of, problem_of
from tests.unit.device_sim.handheld.conftest import FakePlatform, OpenHandheld, lost, passed, problem


def test_tokens_are_fetched_once_and_renewed_when_refused(handheld: Handheld, platform: FakePlatform) -> None:
    """One sign-in serves many requests; a refused token leads to a new sign-in and another attempt."""
    handheld.pull()
    handheld.pull()
    assert handheld.counts["sign_ins"] == 1
    platform.before = [lambda _request: problem(401, "unauthenticated")]
    handheld.pull()
    assert handheld.counts["sign_ins"] == 2
    assert handheld.counts["tokens_refused"] == 1


def test_a_clock_that_is_off_is_corrected_from_the_refusal(handheld: Handheld, platform: FakePlatform) -> None:
    """The platform's time in the refusal is used for the next sign-in; the device's own clock stays as it is."""
    platform.before = [lambda _request: problem(401, "unauthenticated", server_ms=4_000_000_000_000)]
    handheld.pull()
    first, second = (int(decoded(body)["at_ms"]) for body in platform.sent("POST", "/api/v1/sign-in/device"))
    assert first < 2_000_000_000_000
    assert abs(second - 4_000_000_000_000) < 100
    assert handheld.counts["clock_corrections"] == 1


def test_a_revoked_device_is_told_so(handheld: Handheld, platform: FakePlatform) -> None:
    """A refused sign-in without a time is final."""
    platform.before = [lambda _request: problem(401, "unauthenticated", detail="no active device")]
    with pytest.raises(Refused, match="401 unauthenticated: no active device"):
        handheld.pull()


@pytest.mark.parametrize("answer", [httpx.Response(200, text="no json"), httpx.Response(200, json=[])])
def test_an_unreadable_token_is_asked_for_again(
    handheld: Handheld, platform: FakePlatform, answer: httpx.Response
) -> None:
    """A sign-in whose answer was spoiled is repeated."""
    platform.before = [lambda _request: answer]
    handheld.pull()
    assert handheld.counts["retries"] == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_passing_faults_are_tried_again(handheld: Handheld, platform: FakePlatform, status: int) -> None:
    """Statuses that say nothing about the request are retried, at sign-in and elsewhere."""
    platform.before = [
        lambda _request: httpx.Response(status, headers={"Retry-After": "7"}),
        passed,
        lambda _request: problem(status, "any"),
    ]
    handheld.pull()
    assert handheld.counts["retries"] == 2


def test_a_wish_to_wait_is_honoured(platform: FakePlatform, open_handheld: OpenHandheld) -> None:
    """Retry-After sets the least time before the next attempt."""
    waits: list[float] = []
    handheld = open_handheld()
    link = handheld.link
    object.__setattr__(link.outside, "sleep", waits.append)
    platform.before = [lambda _request: httpx.Response(503, headers={"Retry-After": "7"}), lost]
    handheld.pull()
    assert waits == [7.0, 1.0]


def test_giving_up_says_so_and_loses_nothing(handheld: Handheld, platform: FakePlatform) -> None:
    """When no attempt comes through, the sync ends with a plain error and the next one continues."""
    platform.before = [lost] * 12
    with pytest.raises(Unreachable, match="12 attempts"):
        handheld.pull()
    handheld.pull()


def test_considered_refusals_are_not_repeated(handheld: Handheld, platform: FakePlatform) -> None:
    """A 4xx with a problem is raised with its code, at the first answer."""
    platform.before = [passed, lambda _request: problem(403, "forbidden", detail="not yours")]
    with pytest.raises(Refused) as refusal:
        handheld.pull()
    assert (refusal.value.status, refusal.value.code) == (403, "forbidden")
    assert handheld.counts["retries"] == 0


def test_backoff_doubles_up_to_its_cap() -> None:
    """Waiting doubles with each failure, never beyond the cap, and is spread by the draw."""
    backoff = Backoff(base_s=1.0, cap_s=10.0)
    assert [backoff.wait_s(n, 1.0) for n in (0, 1, 2, 3, 4, 500)] == [1, 2, 4, 8, 10, 10]
    assert backoff.wait_s(3, 0.25) == 2.0


def test_lines_split_at_line_feeds_only() -> None:
    """Separators that JSON strings may hold do not cut a line, wherever the chunks are cut."""
    text = '{"a": "one\u2028two\x85"}\n{"b": 1}\n'.encode()
    for size in range(1, len(text) + 1):
        chunks = [text[start : start + size] for start in range(0, len(text), size)]
        response = httpx.Response(200, content=iter(chunks))
        assert [decoded(line) for line in lines_of(response)] == [{"a": "one\u2028two\x85"}, {"b": 1}]


def test_a_line_without_its_end_was_cut() -> None:
    """A stream that ends inside a line is spoiled."""
    with pytest.raises(Again, match="cut"):
        list(lines_of(httpx.Response(200, content=b'{"a": 1}\n{"b"')))


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[1]", b"\xff"])
def test_what_is_no_object_is_spoiled(line: bytes) -> None:
    """Any other line counts as spoiled on the way."""
    with pytest.raises(Again):
        decoded(line)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b""])
def test_answers_without_a_problem_object_have_an_empty_one(content: bytes) -> None:
    """A proxy's own error page is no problem object."""
    assert problem_of(httpx.Response(418, content=content)) == {}
