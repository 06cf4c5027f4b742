"""The peers of `bench sync`: what inspectors' handhelds could sync with instead, given the same records.

A peer is sent the records as its own protocol has it: whole documents, in requests of as many as the product's
segments hold acts. Whatever else the product does (signatures, chains, checks, merging, receipts) no peer does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote, urlsplit

from device_sim.bench.frame import BenchFailed
from device_sim.bench.light_client import Answer, LightClient
from device_sim.bench.peer_install import cache_folder, kinto_programs, pouchdb_server
from device_sim.bench.stores import postgresql
from device_sim.demo.programs import Program, ProgramFailed, Programs, answers, free_port

HOST = "127.0.0.1"
JSON = {"Content-Type": "application/json"}
READY_TIMEOUT_S = 120.0
MAX_BATCH = 500
PLEASE_RETRY = b'"status":409'
KINTO_WORKERS, KINTO_THREADS = 2, 4


class Record(NamedTuple):
    """One record: its id and its fields."""

    id: str
    fields: Mapping[str, Any]


class Request(NamedTuple):
    """One request body, and how many records it carries."""

    method: str
    path: str
    body: bytes
    records: int


class Page(NamedTuple):
    """What a reader was given: the answer, the ids in it, where to go on, and whether to go on at once."""

    answer: Answer
    ids: list[str]
    after: str
    more: bool


class Peer(Protocol):
    """A running peer."""

    system: str
    durability: str
    url: str
    headers: Mapping[str, str]
    pid: int

    def inserts(self, records: Sequence[Record]) -> Request:
        """Return the request that stores new records."""

    def updates(self, records: Sequence[Record], changes: Mapping[str, Any]) -> Request:
        """Return the request that sets some fields of stored records."""

    def must_repeat(self, answer: Answer) -> bool:
        """Tell whether the answer asks for the same request once more."""

    def accept(self, request: Request, answer: Answer) -> None:
        """Look at an answer after the clock has stopped. Raises `BenchFailed` if not everything was stored."""

    def read(self, client: LightClient, after: str, limit: int) -> Page:
        """Return what has changed since `after`; empty: everything."""


def _encoded(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class PouchDbServer:
    """pouchdb-server with LevelDB."""

    url: str
    pid: int
    system: str = "pouchdb-server"
    durability: str = "not durable: LevelDB, acknowledged before it is synced to disk"
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    revisions: dict[str, str] = field(default_factory=dict)

    def inserts(self, records: Sequence[Record]) -> Request:
        """Documents with ids of our own."""
        return self._bulk([{"_id": one.id, **one.fields} for one in records])

    def updates(self, records: Sequence[Record], changes: Mapping[str, Any]) -> Request:
        """Whole documents with their revisions: it knows no partial change."""
        return self._bulk([{"_id": one.id, "_rev": self.revisions[one.id], **one.fields, **changes} for one in records])

    def _bulk(self, documents: list[dict[str, Any]]) -> Request:
        return Request("POST", "/bench/_bulk_docs", _encoded({"docs": documents}), len(documents))

    def must_repeat(self, answer: Answer) -> bool:  # noqa: ARG002 - what any peer may look at
        """Never."""
        return False

    def accept(self, request: Request, answer: Answer) -> None:
        """Every document has its new revision."""
        results = json.loads(answer.body)
        if len(results) != request.records or not all(one.get("ok") for one in results):
            raise BenchFailed(f"pouchdb-server: not all were stored: {answer.body[:300]!r}")
        self.revisions |= {one["id"]: one["rev"] for one in results}

    def read(self, client: LightClient, after: str, limit: int) -> Page:
        """A page of the changes feed, with documents."""
        answer = client.send("GET", f"/bench/_changes?include_docs=true&limit={limit}&since={after or 0}")
        found = json.loads(answer.body)
        ids = [one["id"] for one in found["results"]]
        return Page(answer, ids, str(found["last_seq"]), len(ids) == limit)


@dataclass
class Kinto:
    """Kinto on PostgreSQL."""

    url: str
    pid: int
    system: str = "kinto"
    durability: str = "durable: PostgreSQL, synchronous commit; one transaction for each request"
    headers: Mapping[str, str] = field(default_factory=lambda: {**JSON, "Authorization": "Basic YmVuY2g6YmVuY2g="})
    records: str = "/v1/buckets/bench/collections/inspections/records"

    def inserts(self, records: Sequence[Record]) -> Request:
        """A batch of creations, which may be repeated."""
        return self._batch("PUT", [(f"{self.records}/{one.id}", one.fields) for one in records])

    def updates(self, records: Sequence[Record], changes: Mapping[str, Any]) -> Request:
        """A batch of partial changes."""
        return self._batch("PATCH", [(f"{self.records}/{one.id}", changes) for one in records])

    def _batch(self, method: str, single: Sequence[tuple[str, Mapping[str, Any]]]) -> Request:
        requests = [{"method": method, "path": path, "body": {"data": data}} for path, data in single]
        return Request("POST", "/v1/batch", _encoded({"requests": requests}), len(requests))

    def must_repeat(self, answer: Answer) -> bool:
        """Whether two writers took the same timestamp: Kinto then says "please retry"."""
        return PLEASE_RETRY in answer.body

    def accept(self, request: Request, answer: Answer) -> None:
        """Every single request of the batch went well."""
        results = json.loads(answer.body)["responses"]
        bad = next((one for one in results if one["status"] not in (200, 201)), None)
        if bad is not None or len(results) != request.records:
            raise BenchFailed(f"kinto: not all of {request.records} were stored: {bad}")

    def read(self, client: LightClient, after: str, limit: int) -> Page:
        """Pages by `_since` in the order of change, which is how Kinto's own clients sync."""
        path = after if after.startswith("/") else f"{self.records}?_sort=last_modified&_limit={limit}"
        if after and not after.startswith("/"):
            path += f"&_since={quote(after)}"
        answer = client.send("GET", path)
        found = json.loads(answer.body)["data"]
        further = answer.headers.get("Next-Page")
        if further:
            address = urlsplit(further)
            return Page(answer, [one["id"] for one in found], f"{address.path}?{address.query}", more=True)
        newest = str(max(one["last_modified"] for one in found)) if found else answer.headers["ETag"].strip('"')
        return Page(answer, [one["id"] for one in found], newest, more=False)


@contextmanager
def pouchdb(folder: Path) -> Iterator[PouchDbServer]:
    """Run pouchdb-server on a folder of its own."""
    port, data = free_port(), folder / "pouchdb"
    data.mkdir()
    command = [*pouchdb_server(cache_folder()), "--port", str(port), "--host", HOST, "--dir", str(data)]
    with _running(folder, "pouchdb-server", [*command, "--config", str(data / "config.json")], port, "/") as program:
        peer = PouchDbServer(f"http://{HOST}:{port}", program.process.pid)
        with LightClient(peer.url, peer.headers) as client:
            client.send("PUT", "/bench")
        yield peer


@contextmanager
def kinto(folder: Path) -> Iterator[Kinto]:
    """Run Kinto with two worker processes, as the product has, on a PostgreSQL server of its own."""
    programs, port, ini = kinto_programs(cache_folder()), free_port(), folder / "kinto.ini"
    with postgresql(folder) as store:
        ini.write_text(KINTO_INI.format(url=store.address.replace("%", "%%"), batch=MAX_BATCH), "utf-8")
        _run_once(folder, [str(programs / "kinto"), "migrate", "--ini", str(ini)])
        command = [
            str(programs / "gunicorn"), "--paste", str(ini), "--bind", f"{HOST}:{port}", "--workers",
            str(KINTO_WORKERS), "--worker-class", "gthread", "--threads", str(KINTO_THREADS), "--timeout", "600",
        ]  # fmt: skip
        with _running(folder, "kinto", command, port, "/v1/") as program:
            peer = Kinto(f"http://{HOST}:{port}", program.process.pid)
            with LightClient(peer.url, peer.headers) as client:
                client.send("PUT", "/v1/buckets/bench", b"{}")
                client.send("PUT", "/v1/buckets/bench/collections/inspections", b"{}")
            yield peer


KINTO_INI = """[app:main]
use = egg:kinto
kinto.storage_backend = kinto.core.storage.postgresql
kinto.storage_url = {url}
kinto.permission_backend = kinto.core.permission.postgresql
kinto.permission_url = {url}
kinto.cache_backend = kinto.core.cache.memory
kinto.userid_hmac_secret = benchmark
multiauth.policies = basicauth
kinto.bucket_create_principals = system.Authenticated
kinto.batch_max_requests = {batch}
"""
"""Kinto's own defaults, but for larger batches and callers who need no account."""
PEERS: dict[str, Callable[[Path], Any]] = {"pouchdb-server": pouchdb, "kinto": kinto}


@contextmanager
def _running(folder: Path, name: str, command: Sequence[str], port: int, path: str) -> Iterator[Program]:
    programs = Programs(folder, {})
    try:
        program = programs.launch(name, command, cwd=folder)
        programs.wait_for(name, answers(f"http://{HOST}:{port}{path}"), READY_TIMEOUT_S)
        yield program
    except ProgramFailed as error:
        raise BenchFailed(str(error)) from error
    finally:
        programs.stop_all()


def _run_once(folder: Path, command: Sequence[str]) -> None:
    programs = Programs(folder, {})
    try:
        program = programs.launch(Path(command[0]).name, command)
        if program.wait(READY_TIMEOUT_S):
            raise BenchFailed(f"{program.name} failed: {program.log.read_text('utf-8', 'replace')[-400:]}")
    except ProgramFailed as error:
        raise BenchFailed(str(error)) from error
    finally:
        programs.stop_all()
