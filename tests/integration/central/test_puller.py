"""The central system against the platform in one process, and against servers that lie to it or fail it."""

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from flask import Flask

from device_sim.central.link import MAX_PAGE_BYTES, CentralLink
from device_sim.central.proving import NotTrusted
from device_sim.central.puller import MAX_FINDINGS_SHOWN, Puller
from device_sim.central.store import CentralStore
from device_sim.handheld.link import Backoff, Refused, Unreachable
from device_sim.handheld.outside import Outside
from server.accounts.service import NewAccount, add_account
from server.behaviors.service import correct_behavior
from server.prooflog.keys import load_key
from server.prooflog.service import sequence_step
from server.records.models import ServerState
from server.runtime import Runtime
from sync.checkpoints import Checkpoint
from sync.merkle import leaf_hash, root_of
from tests.conftest import FakeClock
from tests.integration.exchange.behaviors import add_behavior, sample_content

PASSWORD = "sample password of the central system"
FEED = "/api/v1/central/behaviors"
ATTEMPTS = 10

Tamper = Callable[[httpx.Request, httpx.Response], httpx.Response]


class Between(httpx.BaseTransport):
    """What stands between: passes requests on to the application, and may change or refuse the answers."""

    def __init__(self, app: Flask) -> None:
        self.inner = httpx.WSGITransport(app)
        self.tamper: Tamper = lambda _request, response: response
        self.paths: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass one request on."""
        self.paths.append(request.url.path)
        answer = self.inner.handle_request(request)
        answer.read()
        whole = httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        return self.tamper(request, whole)


@dataclass
class World:
    """The platform, and the central system's means to reach it."""

    rt: Runtime
    between: Between
    store: CentralStore
    link: CentralLink
    puller: Puller
    waits_s: list[float] = field(default_factory=list)

    def write(self, count: int) -> list[str]:
        """Write behaviors and sign over them."""
        with self.rt.db.write() as session:
            made = [add_behavior(session, self.rt) for _ in range(count)]
        self.sequence()
        return made

    def sequence(self) -> None:
        """Run the sequencer once."""
        with self.rt.db.write() as session:
            sequence_step(session, self.rt)

    def pull(self) -> int:
        """Pull everything signed; returns how many lines came."""
        lines: list[int] = []
        self.puller.pull_once(lines.append)
        return sum(lines)


@pytest.fixture
def world(rt: Runtime, app: Flask, tmp_path: Path) -> Iterator[World]:
    """A platform with an account for the central system."""
    with rt.db.write() as session:
        add_account(session, rt, NewAccount("central", PASSWORD, "central", "国家平台样例", "420000"), actor="test")
    between = Between(app)
    waits_s: list[float] = []
    outside = Outside(sleep=waits_s.append, jitter=random.Random(1).random)
    with httpx.Client(transport=between, base_url="http://platform.example") as client:
        link = CentralLink(client, "central", PASSWORD, outside, Backoff(attempts=ATTEMPTS))
        store = CentralStore(tmp_path / "central.db")
        yield World(rt, between, store, link, Puller(link, store, lambda: load_key(rt.settings).verifier), waits_s)
        store.close()


def changed(change: Callable[[list[dict[str, Any]]], None]) -> Tamper:
    """Change the lines of each page; the rest passes."""

    def tamper(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != FEED or response.status_code != 200:
            return response
        lines = [json.loads(line) for line in response.content.splitlines()]
        change(lines)
        return httpx.Response(200, content=b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    return tamper


def test_everything_arrives_and_is_proved(world: World) -> None:
    """Several rounds end with the server's digest, each head checked once, each proof verified."""
    for count in (3, 1, 5):
        world.write(count)
        assert world.pull() == count
    assert world.pull() == 0
    result = world.puller.result()
    assert (result.pulled, result.proofs_verified, result.heads_checked) == (9, 9, 3)
    assert (result.missed, result.duplicated, result.findings, result.ok) == (0, 0, [], True)
    assert result.digest_central == result.digest_server
    assert world.between.paths.count("/api/v1/proof-log/consistency") == 2
    assert result.as_dict()["restarts"] == 0


def test_many_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages smaller than what is there follow one another in one round."""
    monkeypatch.setattr("device_sim.central.puller.MAX_PAGE_LINES", 4)
    world.write(10)
    assert world.pull() == 10
    assert world.between.paths.count(FEED) == 3
    assert world.puller.result().ok


def test_corrections_continue_their_behavior(world: World) -> None:
    """A corrected version arrives beside the first one and is checked to continue it."""
    (behavior,) = world.write(1)
    world.pull()
    with world.rt.db.write() as session:
        correct_behavior(session, world.rt, behavior, sample_content(world.rt.now()) | {"result": "02"})
    world.sequence()
    assert world.pull() == 1
    result = world.puller.result()
    assert (result.pulled, result.findings, result.ok) == (2, [], True)


def test_until_nothing_waits(world: World) -> None:
    """After the sign to stop it goes on while behaviors are written that no head covers yet."""
    with world.rt.db.write() as session:
        add_behavior(session, world.rt)
    pauses: list[int] = []

    def pause() -> None:
        pauses.append(1)
        if len(pauses) == 3:
            world.sequence()

    world.puller.pull_until(lambda: True, pause, lambda _lines: None)
    assert len(pauses) == 3
    assert world.puller.result().pulled == 1


def test_it_goes_on_until_told_to_stop(world: World) -> None:
    """Without the sign it polls on although nothing waits; what was written before the sign is there at the end."""
    signs = iter([False, False, True])

    def pause() -> None:
        world.write(1)

    world.puller.pull_until(lambda: next(signs), pause, lambda _lines: None)
    assert world.puller.result().pulled == 2


def test_a_restored_server_is_pulled_again(world: World) -> None:
    """A new epoch retires the cursor: the feed starts again, and what comes again is not counted twice."""
    world.write(3)
    world.pull()
    with world.rt.db.write() as session:
        state = session.get(ServerState, 1)
        assert state is not None
        state.epoch = world.rt.new_id()
    world.write(1)
    assert world.pull() == 4
    result = world.puller.result()
    assert (result.pulled, result.missed, result.duplicated, result.restarts, result.ok) == (4, 0, 0, 1, True)


def test_connection_failures_are_waited_out(world: World, clock: FakeClock) -> None:
    """Dropped connections, overload, cut and unreadable answers and expired tokens are tried again, with waiting."""
    world.write(4)
    troubles = iter(["drop", "503", "cut", "rubbish", "array", "empty", "expire"])

    def tamper(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path != FEED:
            return response
        match next(troubles, ""):
            case "drop":
                raise httpx.ReadError("dropped", request=request)
            case "503":
                return httpx.Response(503, headers={"Retry-After": "2"})
            case "cut":
                return httpx.Response(200, content=response.content[:-9])
            case "rubbish":
                return httpx.Response(200, content=b"\x00\n")
            case "array":
                return httpx.Response(200, content=b"[]\n")
            case "empty":
                return httpx.Response(200, content=b"")
            case "expire":
                clock.advance(40_000)
                return httpx.Response(502)
        return response

    world.between.tamper = tamper
    assert world.pull() == 4
    result = world.puller.result()
    assert (result.pulled, result.duplicated, result.ok) == (4, 0, True)
    assert result.retries == len(world.waits_s) == 8
    assert world.waits_s[1] == 2.0  # the server asked for as much
    assert world.between.paths.count("/api/v1/sign-in") == 2


def test_a_server_that_stays_away(world: World) -> None:
    """When every attempt fails, nothing is lost, and the caller hears of it."""
    world.write(1)

    def tamper(request: httpx.Request, _response: httpx.Response) -> httpx.Response:
        raise httpx.ConnectError("away", request=request)

    world.between.tamper = tamper
    with pytest.raises(Unreachable, match=f"{ATTEMPTS} attempts"):
        world.pull()


@pytest.mark.parametrize("answer", [b"[]", b"{}", b"\xff", b'{"token"'])
def test_an_unreadable_sign_in(world: World, answer: bytes) -> None:
    """An unreadable token is asked for again."""
    world.between.tamper = lambda _request, _response: httpx.Response(200, content=answer)
    with pytest.raises(Unreachable):
        world.pull()


def test_refusals_are_passed_on(world: World) -> None:
    """A wrong password and an answer past its limit are not tried again."""
    wrong = CentralLink(world.link.client, "central", "not the right password", world.link.outside)
    with pytest.raises(Refused, match="login or password is wrong"):
        Puller(wrong, world.store, lambda: load_key(world.rt.settings).verifier).pull_page()
    world.between.tamper = lambda request, response: (
        httpx.Response(200, content=b" " * (MAX_PAGE_BYTES + 1) + b"\n") if request.url.path == FEED else response
    )
    with pytest.raises(Refused, match="too long"):
        world.pull()
    assert world.waits_s == []


Lines = list[dict[str, Any]]


def other_content(lines: Lines) -> None:
    """Other content under the same leaf."""
    lines[2]["content"] = lines[2]["content"].replace("示例食品店", "另一食品店")


def other_leaf(lines: Lines) -> None:
    """Other content, and a leaf that fits it."""
    other_content(lines)
    lines[2]["leaf"] = lines[1]["leaf"]


def other_identity(lines: Lines) -> None:
    """The line claims another id."""
    lines[2]["id"] = lines[2]["id"][::-1]


def no_proof(lines: Lines) -> None:
    """A line without its proof."""
    del lines[2]["proof"]


def broken_proof(lines: Lines) -> None:
    """A proof with a changed hash."""
    lines[2]["proof"][0] = "00" * 32


def swapped_place(lines: Lines) -> None:
    """A line that says it stands elsewhere."""
    lines[2]["leaf_index"] += 1


def disorder(lines: Lines) -> None:
    """Lines out of order."""
    lines[1:] = lines[:0:-1]


def invented_version(lines: Lines) -> None:
    """A first version shown as the second of something nobody has seen."""
    lines[2]["version"] = 2
    lines[2]["leaf"] = lines[2]["leaf"].replace('"version":1', '"version":2')


def no_object(lines: Lines) -> None:
    """A leaf that is no object, and one that is no JSON."""
    lines[2]["leaf"], lines[3]["leaf"] = "[]", "rubbish"


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (other_content, "content is not what its leaf commits to"),
        (other_leaf, "inclusion proof does not verify"),
        (other_identity, "leaf is of another behavior"),
        (no_proof, "inclusion proof does not verify"),
        (broken_proof, "inclusion proof does not verify"),
        (swapped_place, "position is not that of its leaf"),
        (disorder, "came out of order"),
        (invented_version, "inclusion proof does not verify"),
        (no_object, "leaf is of another behavior"),
    ],
)
def test_changed_lines_are_found(world: World, change: Callable[[Lines], None], finding: str) -> None:
    """Whatever is changed on the way is a finding, and the line does not count as proved."""
    world.write(3)
    world.between.tamper = changed(change)
    world.pull()
    result = world.puller.result()
    assert any(finding in found for found in result.findings), result.findings
    assert not result.ok
    assert result.proofs_verified < 3


def test_a_version_that_continues_nothing_is_found(world: World) -> None:
    """A second version must name the leaf of the first; when the first never came, that is found."""
    (behavior,) = world.write(1)
    with world.rt.db.write() as session:
        correct_behavior(session, world.rt, behavior, sample_content(world.rt.now()))
    world.sequence()
    world.between.tamper = changed(lambda lines: lines.__delitem__(1))
    world.pull()
    result = world.puller.result()
    assert result.missed == 1
    assert any("does not continue" in found for found in result.findings)


def test_left_out_lines_are_missed(world: World) -> None:
    """A line that never comes shows in the count and in the digest."""
    world.write(5)
    world.between.tamper = changed(lambda lines: lines.__delitem__(3))
    assert world.pull() == 4
    result = world.puller.result()
    assert (result.pulled, result.missed, result.proofs_verified, result.findings) == (4, 1, 4, [])
    assert result.digest_central != result.digest_server
    assert not result.ok


def test_lines_that_come_twice_are_counted(world: World) -> None:
    """A line that comes again is kept once and counted."""
    world.write(2)
    world.between.tamper = changed(lambda lines: lines.append(lines[1]))
    world.pull()
    result = world.puller.result()
    assert (result.pulled, result.duplicated, result.missed, result.ok) == (2, 1, 0, False)


def test_another_leaf_for_the_same_version_is_found(world: World) -> None:
    """After a restart of the feed, a version that comes with another leaf is a finding."""
    world.write(1)
    world.pull()
    world.puller._start_again()

    def change(lines: Lines) -> None:
        lines[1]["leaf"] = lines[1]["leaf"].replace('"previous":null', '"previous" :null')

    world.between.tamper = changed(change)
    world.pull()
    assert any("came before with another leaf" in found for found in world.puller.result().findings)


def test_findings_shown_have_a_limit(world: World) -> None:
    """A feed that is wrong throughout does not flood the result."""

    def change(lines: Lines) -> None:
        for line in lines[1:]:
            line["content"] = "{}"

    world.write(MAX_FINDINGS_SHOWN + 5)
    world.between.tamper = changed(change)
    world.pull()
    assert len(world.puller.result().findings) == MAX_FINDINGS_SHOWN
    assert len(world.store.findings()) == MAX_FINDINGS_SHOWN + 5


def rewritten(world: World) -> Callable[[Lines], None]:
    """A page under a head that the real key has signed for another history of the same length."""
    key = load_key(world.rt.settings)

    def change(lines: Lines) -> None:
        head = lines[0]["head"]
        root = root_of([leaf_hash(b"forged")] * head["size"])
        body = Checkpoint(head["origin"], head["size"], root, head["at_ms"]).body()
        signature = base64.urlsafe_b64encode(key.sign(body)).rstrip(b"=").decode()
        head.update(root=root.hex(), signature=signature)

    return change


def unsigned(lines: Lines) -> None:
    """A head with a signature of zeros."""
    lines[0]["head"]["signature"] = "A" * 86


def other_log(lines: Lines) -> None:
    """A head of another log."""
    lines[0]["head"]["origin"] = "fieldproof/other"


def headless(lines: Lines) -> None:
    """Lines without a head."""
    lines[0]["head"] = None


def unreadable(lines: Lines) -> None:
    """A line that the protocol does not know."""
    lines[1]["operation"] = "x"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (unsigned, "signature does not verify"),
        (other_log, "not of the trusted log"),
        (headless, "without a signed head"),
        (unreadable, "not what the protocol says"),
    ],
)
def test_untrusted_pages_end_the_pull(world: World, change: Callable[[Lines], None], reason: str) -> None:
    """Nothing of a page that cannot be trusted is kept, and the result says why."""
    world.write(2)
    world.between.tamper = changed(change)
    with pytest.raises(NotTrusted, match=reason) as caught:
        world.pull()
    result = world.puller.distrusted(caught.value)
    assert (result.pulled, result.heads_checked, result.digest_server, result.ok) == (0, 0, "", False)
    assert reason in result.findings[0]


def test_a_rewritten_past_is_found(world: World) -> None:
    """Even the log's own key cannot sign another past: consistency fails."""
    world.write(2)
    world.pull()
    world.write(2)
    world.between.tamper = changed(rewritten(world))
    with pytest.raises(NotTrusted, match="no prefix"):
        world.pull()
    assert world.store.counts(0) == (2, 2)


def test_two_heads_of_one_size_are_found(world: World) -> None:
    """Another root for the same number of leaves is another log."""
    world.write(2)
    world.pull()
    world.between.tamper = changed(rewritten(world))
    with pytest.raises(NotTrusted, match="no prefix"):
        world.pull()


def test_a_log_that_shrank_is_found(world: World) -> None:
    """A head over fewer leaves than one that was checked before is refused."""
    world.write(2)
    saved: list[bytes] = []

    def save(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        if request.url.path == FEED and not saved:
            saved.append(response.content)
        return response

    world.between.tamper = save
    world.pull()
    world.write(1)
    world.pull()
    world.between.tamper = lambda request, response: (
        httpx.Response(200, content=saved[0]) if request.url.path == FEED else response
    )
    with pytest.raises(NotTrusted, match="shrank from 3 to 2"):
        world.pull()
