"""A stand-in for the platform that speaks just enough of the protocol, and handhelds in front of it."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from device_sim.handheld.client import DEVICE, Handheld
from device_sim.handheld.link import Backoff
from device_sim.handheld.outside import Outside
from device_sim.handheld.served import ServedRecord
from device_sim.handheld.sharing import OFFICER
from sync.acts import split_line
from sync.digest import digest_of, range_key, record_pair
from sync.ids import uuid7

Answer = Callable[[httpx.Request], httpx.Response | None]


def an_id(number: int) -> str:
    """A well-formed id that a test can tell by its number."""
    return uuid7(number, bytes(10))


DEVICE_ID, OFFICER_ID, OTHER_OFFICER = an_id(1), an_id(2), an_id(3)
INSPECTION, ENTITY, OFFICE_EPOCH = an_id(10), an_id(11), an_id(12)


@dataclass
class FakePlatform:
    """Answers like the platform; `before` may spoil a request, `after` a reply that the platform has already made."""

    epoch: str = OFFICE_EPOCH
    stored: dict[tuple[str, int], bytes] = field(default_factory=dict)
    hashes: dict[tuple[str, int], str] = field(default_factory=dict)
    records: list[dict[str, object]] = field(default_factory=list)
    statuses: list[dict[str, object]] = field(default_factory=list)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)
    before: list[Answer] = field(default_factory=list)
    after: list[Answer] = field(default_factory=list)
    page: int = 2
    unsure: bool = False
    """Whether leaves may have been forgotten."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        body = request.read()
        self.requests.append((request.method, request.url.path, body))
        if self.before and (spoiled := self.before.pop(0)(request)) is not None:
            return spoiled
        answer = self._answer(request, body)
        if self.after and request.url.path != "/api/v1/sign-in/device":
            spoiled = self.after.pop(0)(request)
            return spoiled if spoiled is not None else answer
        return answer

    def client(self) -> httpx.Client:
        """A client that reaches this stand-in."""
        return httpx.Client(transport=httpx.MockTransport(self), base_url="http://platform.example")

    def sent(self, method: str, path: str) -> list[bytes]:
        """Bodies of the requests that came to a path beginning so."""
        return [body for m, p, body in self.requests if m == method and p.startswith(path)]

    def _answer(self, request: httpx.Request, body: bytes) -> httpx.Response:
        path = request.url.path
        if path == "/api/v1/sign-in/device":
            return httpx.Response(200, json={"token": "sample-token"})
        if path == "/api/v1/sync/push":
            return self._push(body)
        if path == "/api/v1/sync/pull":
            return self._pull(request.url.params.get("cursor", ""))
        if path == "/api/v1/sync/snapshot":
            return httpx.Response(204)
        if path == "/api/v1/sync/digest":
            return self._digest(request.url.params)
        if path == "/api/v1/sync/lines":
            return self._lines(body)
        if path == "/api/v1/sync/status":
            after = int(request.url.params["after"])
            lines = [line for line in self.statuses if int(str(line["position"])) > after]
            head_seq = max((seq for _, seq in self.stored), default=0)
            last = max((int(str(line["position"])) for line in lines), default=after)
            return ndjson({"journal": "", "head_seq": head_seq, "after": last}, *lines)
        return self._tus(request, body)

    def _push(self, body: bytes) -> httpx.Response:
        head, *lines = body.splitlines(keepends=True)
        members = json.loads(head)
        receipts = []
        first = (members["journal"], members["first"])
        before = self.hashes.get((first[0], first[1] - 1), "")
        if before and json.loads(split_line(lines[0]).header)["prev"] != before:
            return problem(409, "journal-fork", last_common_seq=first[1] - 2)
        for seq, line in enumerate(lines, start=members["first"]):
            key = (members["journal"], seq)
            digest = split_line(line).hash()
            if self.hashes.setdefault(key, digest) != digest:
                common = next((n for n in range(seq - 1, 0, -1) if (key[0], n) in self.hashes), 0)
                return problem(409, "journal-fork", last_common_seq=common)
            receipt = {"journal": key[0], "seq": seq, "act": digest, "verdict": "applied", "epoch": self.epoch}
            receipts.append(self.stored.setdefault(key, json.dumps(receipt | {"position": 50 + seq}).encode()))
        answer = json.dumps({"epoch": self.epoch, "journal": members["journal"]}).encode()
        return httpx.Response(200, content=b"\n".join([answer, *receipts]) + b"\n")

    def _pull(self, cursor: str) -> httpx.Response:
        start = int(cursor or 0)
        page = self.records[start : start + self.page]
        end = start + len(page)
        mark = {"cursor": str(end), "position": end, "more": end < len(self.records)}
        return ndjson({"epoch": self.epoch, "position": start, "reconcile": self.unsure}, *page, mark)

    def _digest(self, params: httpx.QueryParams) -> httpx.Response:
        pairs = sorted(record_pair(str(one["kind"]), str(one["id"]), line_of(one)) for one in self.records)
        end = str(len(self.records))
        answer: dict[str, object] = {
            "epoch": self.epoch, "position": len(self.records), "cursor": end, "behind": params.get("cursor") != end,
        }  # fmt: skip
        if "range" in params:
            inside = [pair for pair in pairs if range_key(pair[0]).startswith(params["range"])]
            return httpx.Response(200, json=answer | {"pairs": [[name, content.hex()] for name, content in inside]})
        digest = digest_of(pairs)
        return httpx.Response(200, json=answer | {"count": digest.count, "digest": digest.hex()})

    def _lines(self, body: bytes) -> httpx.Response:
        wanted = json.loads(body)["records"]
        known = {(one["kind"], one["id"]): one for one in self.records}
        return ndjson(*(known[one["kind"], one["id"]] for one in wanted))

    def _tus(self, request: httpx.Request, body: bytes) -> httpx.Response:
        path = request.url.path
        if request.method == "POST":
            location = f"/api/v1/evidence/uploads/{len(self.uploads) + 1}"
            self.uploads[location], self.lengths[location] = bytearray(body), int(request.headers["Upload-Length"])
            headers = {"Location": f"http://elsewhere.example{location}", "Upload-Offset": str(len(body))}
            return httpx.Response(201, headers=headers)
        if path not in self.uploads:
            return problem(404, "not-found")
        if request.method == "PATCH":
            if int(request.headers["Upload-Offset"]) != len(self.uploads[path]):
                return problem(409, "offset-mismatch")
            self.uploads[path] += body
        return httpx.Response(204, headers={"Upload-Offset": str(len(self.uploads[path]))})


def ndjson(*lines: dict[str, object]) -> httpx.Response:
    """An answer of JSON lines."""
    return httpx.Response(200, content=b"".join(line_of(line) + b"\n" for line in lines))


def line_of(record: dict[str, object]) -> bytes:
    """A line as this stand-in serves it."""
    return json.dumps(record, ensure_ascii=False).encode()


def problem(status: int, code: str, **members: object) -> httpx.Response:
    """A problem answer."""
    return httpx.Response(status, json={"code": code, "status": status, **members})


def lost(request: httpx.Request) -> httpx.Response:
    """The connection breaks."""
    raise httpx.ReadError("cut", request=request)


def passed(_request: httpx.Request) -> None:
    """This one goes through."""


def served(kind: str, record: str, position: int, **fields: object) -> dict[str, object]:
    """A served record whose values the office wrote at `position`."""
    act = {"dot": f"{OFFICE_EPOCH}:{position}", "at_ms": position, "fields": fields}
    return {"kind": kind, "id": record, "position": position, "region": "420102", "department": "", "acts": [act]}


@pytest.fixture
def platform() -> FakePlatform:
    """The stand-in."""
    return FakePlatform()


OpenHandheld = Callable[..., Handheld]


@pytest.fixture
def open_handheld(platform: FakePlatform, tmp_path: Path) -> Iterator[OpenHandheld]:
    """Open a handheld in a folder of its own, enrolled without asking; opening it again continues."""
    opened: list[Handheld] = []
    ticks = iter(range(1_000_000_000_000, 2_000_000_000_000))
    waits: list[float] = []

    def make(name: str = "handheld", *, enrolled: bool = True, attempts: int = 12) -> Handheld:
        outside = Outside(
            wall_ms=lambda: next(ticks), mono_ms=lambda: next(ticks), jitter=lambda: 0.5, sleep=waits.append
        )
        made = Handheld(tmp_path / name, platform.client(), outside=outside, backoff=Backoff(1.0, 8.0, attempts))
        if enrolled:
            made.store.put(DEVICE, DEVICE_ID)
            made.store.put(OFFICER, OFFICER_ID)
        opened.append(made)
        return made

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def handheld(open_handheld: OpenHandheld) -> Handheld:
    """An enrolled handheld that knows one inspection."""
    made = open_handheld()
    record = served("inspection", INSPECTION, 5, entity=ENTITY, officers=[OFFICER_ID, OTHER_OFFICER], status="open")
    keep(made, record)
    return made


def keep(handheld: Handheld, *records: dict[str, object]) -> None:
    """Put served records into a handheld's store as a pull would."""
    rows = (ServedRecord(str(one["kind"]), str(one["id"]), int(str(one["position"])), line_of(one)) for one in records)
    with handheld.saving():
        handheld.store.records.keep(rows)
