"""Bad pushes of every sort: each gets a verdict or a problem, and nothing that was acknowledged is lost or changed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from server.errors import PROBLEMS
from server.records.models import Act
from server.runtime import Runtime
from server.verifying import verify_everything
from sync.acts import ActParts
from tests.conftest import FakeClock
from tests.field_device import FieldDevice, World, encode_key, make_world

EXAMPLES = 60
VERDICTS = {"applied", "merged", "conflict", "held", "quarantined"}
UNKNOWN_DOT = "0198d9c0-4c00-7000-8000-0000000000a1"


@dataclass
class Fuzzed:
    """One platform and two handhelds, through all examples."""

    world: World
    devices: tuple[FieldDevice, FieldDevice]
    client: FlaskClient
    clock: FakeClock
    receipts: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def push(self, device: FieldDevice, body: bytes) -> int:
        """Push a body as a device; the answer must be receipts or a problem."""
        self.clock.advance(1)  # the rate of a device is limited
        reply = device.push(self.client, body)
        if reply.status_code == 200:
            for line in reply.data.splitlines()[1:]:
                receipt = json.loads(line)
                assert receipt["verdict"] in VERDICTS
                dot = (receipt["journal"], receipt["seq"])
                assert self.receipts.setdefault(dot, line) == line, "a receipt changed"
        else:
            assert 400 <= reply.status_code < 500, reply.text
            assert reply.content_type == "application/problem+json"
            assert json.loads(reply.data)["code"] in PROBLEMS
        return reply.status_code

    def check(self) -> None:
        """Whatever has a receipt is stored with it."""
        with self.world.rt.db.read() as session:
            stored = {(row.journal, row.seq): row.receipt for row in session.execute(
                select(Act.journal, Act.seq, Act.receipt).where(Act.device.is_not(None)))}  # fmt: skip
        assert stored == self.receipts


@pytest.fixture
def fuzzed(rt: Runtime, client: FlaskClient, clock: FakeClock) -> Iterator[Fuzzed]:
    """A platform for a whole test; in the end everything verifies."""
    world = make_world(rt)
    devices = (FieldDevice(rt, world.officers[0], seed=1), FieldDevice(rt, world.officers[1], seed=2))
    found = Fuzzed(world, devices, client, clock)
    yield found
    assert [check.findings for check in verify_everything(rt) if check.findings] == []


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    ["entity", "result", "officers", "signatures", "notes", "status", "contact", "position", "_x", "新"]
)
FIELDS = st.dictionaries(NAMES | st.text(max_size=10), JSON | st.text(min_size=4_001, max_size=4_001), max_size=4)
KINDS = st.sampled_from(["inspection", "answer", "evidence", "rectification", "task", "entity", "unheard-of", ""])
SEEN = st.lists(st.sampled_from([f"{UNKNOWN_DOT}:1", f"{UNKNOWN_DOT}:9007199254740991"]), max_size=2)
CLOCKS = st.sampled_from([0, 1, 2_051_222_400_000, 2**53 - 1])


@st.composite
def headers(draw: st.DrawFn) -> dict[str, Any]:
    """Members of a header that say something odd."""
    odd: dict[str, st.SearchStrategy[Any]] = {
        "wall_ms": CLOCKS, "mono_ms": CLOCKS, "schema": st.sampled_from([1, 2, 99]),
        "officer": st.sampled_from([UNKNOWN_DOT, ""]), "op": st.sampled_from(["put", "delete", "erase"]),
        "prev": st.sampled_from(["", "0" * 64]), "boot": st.just(UNKNOWN_DOT),
    }  # fmt: skip
    names = draw(st.lists(st.sampled_from(sorted(odd)), max_size=2, unique=True))
    return {name: draw(odd[name]) for name in names}


FUZZ = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip


@pytest.mark.slow
def test_acts_that_say_anything(fuzzed: Fuzzed) -> None:
    """Unknown kinds and fields, values past limits, contexts from the future: a verdict or a problem, never a fault."""

    @FUZZ
    @given(KINDS, FIELDS, SEEN, headers(), st.booleans())
    def run(kind: str, fields: dict[str, Any], seen: list[str], header: dict[str, Any], known: bool) -> None:
        device = fuzzed.devices[0]
        before = list(device.acts)
        record = fuzzed.world.inspection if known else device.rt.new_id()
        try:
            device.write(kind, record, fields, seen, **header)
        except (ValueError, TypeError):
            device.acts[:] = before  # cannot even be written down
            return
        if fuzzed.push(device, device.segment(len(before) + 1)) != 200:
            device.acts[:] = before  # refused whole: the number is free
        fuzzed.check()

    run()


def _flip(body: bytes, at: int) -> bytes:
    place = at % len(body)
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def _swap(body: bytes, at: int) -> bytes:
    lines = body.splitlines(keepends=True)
    place = 1 + at % (len(lines) - 1)
    lines[place], lines[-1] = lines[-1], lines[place]
    return b"".join(lines)


MUTATIONS: tuple[Callable[[bytes, int], bytes], ...] = (
    _flip,
    _swap,
    lambda body, at: body[: at % len(body)],
    lambda body, at: body + body[at % len(body) :],
    lambda body, at: b"".join(line for n, line in enumerate(body.splitlines(keepends=True)) if n != at % 4),
    lambda body, at: body.replace(b'"seq":', b'"seq":-' if at % 2 else b'"seq":1e'),
    lambda body, at: body.replace(b"\t", b"\t\t" if at % 2 else b" "),
)


@pytest.mark.slow
def test_bodies_that_were_forged_cut_or_reordered(fuzzed: Fuzzed) -> None:
    """A change to what was signed refuses a segment whole, and the true one is still taken; one to a part that its
    act's header commits to quarantines that act.
    """
    changed = [0]

    @FUZZ
    @given(st.integers(0, len(MUTATIONS) - 1), st.integers(0, 5_000), st.integers(1, 3), st.booleans())
    def run(how: int, at: int, acts: int, cross: bool) -> None:
        device, other = fuzzed.devices
        first = len(device.acts) + 1
        for number in range(acts):
            device.write("inspection", device.rt.new_id(), {"entity": fuzzed.world.entity, "notes": f"{at} {number}"})
        body = device.segment(first)
        forged = MUTATIONS[how](body, at)
        if forged != body and fuzzed.push(device, forged) == 200:
            # the head and the headers are whole: only a part was changed, and only its act is quarantined
            assert how == 0
            assert [json.loads(line)["verdict"] for line in fuzzed.receipts.values()].count("quarantined") > changed[0]
            changed[0] += 1
        if cross:
            assert fuzzed.push(other, body) >= 400
        fuzzed.check()
        assert fuzzed.push(device, body) == 200
        assert fuzzed.push(device, body) == 200
        fuzzed.check()

    run()


@pytest.mark.slow
def test_gaps_forks_and_replays(fuzzed: Fuzzed) -> None:
    """Pieces of a journal in any order, twice, too far ahead, and another history under a used number."""
    seeds = count(3)

    @FUZZ
    @given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=6), st.booleans())
    def run(pieces: list[tuple[int, int]], fork: bool) -> None:
        device = FieldDevice(fuzzed.world.rt, fuzzed.world.officers[0], seed=next(seeds))
        for _ in range(6):
            device.write("inspection", device.rt.new_id(), {"entity": fuzzed.world.entity})
        for one, other in pieces:
            first, last = min(one, other), max(one, other)
            assert fuzzed.push(device, device.segment(first, last)) == 200
        if fork:
            last = max(max(piece) for piece in pieces)
            divergent: list[ActParts] = device.acts[: last - 1]
            device.acts = list(divergent)
            device.write("inspection", device.rt.new_id(), {"entity": fuzzed.world.entity, "notes": "另"})
            assert fuzzed.push(device, device.segment(last)) == 409
        fuzzed.check()

    run()


@pytest.mark.slow
def test_bytes_that_are_no_segment(fuzzed: Fuzzed) -> None:
    """Anything else is refused as a problem."""
    head = {
        "v": 1, "journal": UNKNOWN_DOT, "parent": None, "first": 1, "last": 1, "head": "0" * 64,
        "boot": UNKNOWN_DOT, "wall_ms": 0, "mono_ms": 0, "signature": encode_key(bytes(64)),
    }  # fmt: skip

    @FUZZ
    @given(st.binary(max_size=200), st.dictionaries(st.sampled_from(sorted(head)), JSON, max_size=3), st.booleans())
    def run(rest: bytes, changed: dict[str, Any], bare: bool) -> None:
        line = b"" if bare else json.dumps(head | changed).encode() + b"\n"
        assert fuzzed.push(fuzzed.devices[0], line + rest) >= 400
        fuzzed.check()

    run()


@pytest.mark.slow
def test_cursors_of_any_sort(fuzzed: Fuzzed) -> None:
    """Cursors that were made up, changed, or belong to another device's scope: a problem, or a page of one's own."""
    own, other = fuzzed.devices
    reply = fuzzed.client.get("/api/v1/sync/pull?limit=1", headers=other.headers)
    foreign = json.loads(reply.data.splitlines()[0]).get("cursor", "")

    @FUZZ
    @given(
        st.text(max_size=40) | st.integers(0, 200).map(lambda at: _flip(foreign.encode() or b"x", at).decode("latin-1"))
    )
    def run(cursor: str) -> None:
        answer = fuzzed.client.get("/api/v1/sync/pull", query_string={"cursor": cursor}, headers=own.headers)
        assert answer.status_code in (200, 400, 410, 422), answer.text
        if answer.status_code != 200:
            assert json.loads(answer.data)["code"] in PROBLEMS

    run()
