"""A bare handheld for tests: builds acts and segments byte by byte, so that tests can also build them wrongly."""

import base64
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from schemas.identifiers import make_uscc
from schemas.kinds import KINDS, personal_fields
from server.devices.models import Device
from server.directory.models import Checklist, SupervisionItem
from server.directory.service import add_checklist, add_item
from server.entities.models import Entity
from server.entities.service import add_entities
from server.inspections.service import DispatchOrder, dispatch
from server.officers.models import Officer
from server.officers.service import add_officers
from server.records.models import SyncedRecord
from server.runtime import Runtime
from server.web.auth import issue_token
from sync.acts import ActParts, Header, encode_act, encode_fields
from sync.dots import Dot, parse_dot
from sync.journal import SEGMENT_TYPE, SegmentHead

DEPARTMENT = "market"
REGION = "420106"


def encode_key(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


@dataclass
class World:
    """A seeded platform: one entity, one checklist, two officers, and a dispatched task with its inspection."""

    rt: Runtime
    entity: str
    checklist: str
    officers: tuple[str, str]
    task: str
    inspection: str


def make_world(rt: Runtime) -> World:
    """Enter what a first inspection needs."""
    officers = (rt.new_id(), rt.new_id())
    entity, item, checklist = rt.new_id(), rt.new_id(), rt.new_id()
    body = make_uscc("91", "420106", "00000001")
    with rt.db.write() as session:
        add_officers(
            session, rt,
            [
                Officer(
                    id=officer, name=name, certificate_number=f"HB-{index:04}", region=REGION, department=DEPARTMENT,
                    certificate_valid_until=rt.now() + timedelta(days=365),
                )
                for index, (officer, name) in enumerate(zip(officers, ("张样例", "李样例"), strict=True))
            ],
            author="test",
        )  # fmt: skip
        add_item(
            session, rt,
            SupervisionItem(id=item, code="42010000000001", name="食品经营检查", basis="样例", department=DEPARTMENT),
            author="test",
        )  # fmt: skip
        sub_items = [{"number": str(n), "text": f"样例事项 {n}"} for n in range(1, 4)]
        add_checklist(
            session, rt,
            Checklist(id=checklist, code=f"{body}1001", version=1, name="样例清单", item=item, sub_items=sub_items),
            author="test",
        )  # fmt: skip
        add_entities(
            session, rt,
            [
                Entity(
                    id=entity, name="样例食品店", nature="2", uscc=body, registered_address="样例路 1 号",
                    operating_address="样例路 1 号", region="420106001", lat=30.55, lon=114.31, datum="WGS-84",
                )
            ],
            author="test",
        )  # fmt: skip
        order = DispatchOrder("plan", entity, checklist, officers, rt.now() + timedelta(days=5), "样例任务", plan="P1")
        task = dispatch(session, rt, [order], author="test")[0]
    with rt.db.read() as session:
        row = session.get_one(SyncedRecord, ("task", task))
        inspection = by_field(json.loads(row.line))["fields"]["inspection"][0]["value"]
    return World(rt, entity, checklist, officers, task, inspection)


@dataclass
class FieldDevice:
    """A handheld with its key and journal; `acts` is all it ever wrote."""

    rt: Runtime
    officer: str
    seed: int = 1
    id: str = ""
    journal: str = ""
    boot: str = ""
    acts: list[ActParts] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Enrol straight into the database, approved."""
        self.random = random.Random(f"device {self.seed}")
        self.key = Ed25519PrivateKey.from_private_bytes(self.random.randbytes(32))
        self.id, self.boot = self.rt.new_id(), self.rt.new_id()
        self.journal = self.journal or self.rt.new_id()
        public = self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        with self.rt.db.write() as session:
            session.add(
                Device(
                    id=self.id, name="样例终端", public_key=public,
                    officer=self.officer, region=REGION, department=DEPARTMENT, status="active",
                    enrolled_at=self.rt.now(), pending_acts=0,
                )
            )  # fmt: skip

    @property
    def headers(self) -> dict[str, str]:
        """Headers with a fresh token."""
        return {"Authorization": f"Bearer {issue_token(self.rt, 'device', self.id, 900).text}"}

    def write(
        self,
        kind: str,
        record: str,
        fields: Mapping[str, Any],
        seen: Sequence[str] | frozenset[Dot] = (),
        *,
        op: str = "put",
        **header: Any,  # noqa: ANN401 - any member of a header
    ) -> ActParts:
        """Append an act to the journal; `header` replaces members of its header."""
        personal = personal_fields(KINDS[kind].schema) if kind in KINDS else frozenset()
        salt = encode_key(self.random.randbytes(16))
        open_part = encode_fields(salt, {name: value for name, value in fields.items() if name not in personal})
        closed = {name: value for name, value in fields.items() if name in personal}
        now_ms = self.rt.now_ms()
        values: dict[str, Any] = {
            "journal": self.journal,
            "seq": len(self.acts) + 1,
            "prev": self.acts[-1].hash() if self.acts else "",
            "kind": kind,
            "record": record,
            "op": op,
            "seen": frozenset(parse_dot(dot) if isinstance(dot, str) else dot for dot in seen),
            "schema": 1,
            "wall_ms": now_ms,
            "mono_ms": 1_000,
            "boot": self.boot,
            "officer": self.officer,
            "body": "",
            "personal": None,
        }
        parts = encode_act(Header(**values | header), open_part, encode_fields(salt, closed) if closed else b"")
        self.acts.append(parts)
        return parts

    def segment(
        self, first: int = 1, last: int | None = None, acts: list[ActParts] | None = None, *, wall_ms: int | None = None
    ) -> bytes:
        """Return a signed segment of the journal (or of other acts in its place), by a right or another wall clock."""
        chosen = acts if acts is not None else self.acts[first - 1 : last]
        head = SegmentHead(
            journal=self.journal, first=first, last=first + len(chosen) - 1, head=chosen[-1].hash(), boot=self.boot,
            wall_ms=self.rt.now_ms() if wall_ms is None else wall_ms, mono_ms=1_000,
        )  # fmt: skip
        signature = encode_key(self.key.sign(head.statement()))
        signed = SegmentHead(**{**vars(head), "signature": signature})
        return signed.line() + b"".join(act.line() for act in chosen)

    def push(self, client: FlaskClient, body: bytes | None = None) -> TestResponse:
        """Push a segment (default: the whole journal)."""
        data = self.segment() if body is None else body
        return client.post("/api/v1/sync/push", data=data, headers=self.headers, content_type=SEGMENT_TYPE)

    def verdicts(self, client: FlaskClient, body: bytes | None = None) -> list[str]:
        """Push and return the verdicts."""
        reply = self.push(client, body)
        assert reply.status_code == 200, reply.text
        return [receipt["verdict"] for receipt in lines(reply)[1:]]

    def pull(self, client: FlaskClient, cursor: str = "") -> list[dict[str, Any]]:
        """Pull everything from a cursor on; returns the record lines."""
        records: list[dict[str, Any]] = []
        while True:
            reply = client.get("/api/v1/sync/pull", query_string={"cursor": cursor, "limit": 500}, headers=self.headers)
            assert reply.status_code == 200, reply.text
            head, *page = lines(reply)
            records += [by_field(record) for record in page if "acts" in record]
            cursor = head["cursor"]
            if not head["more"]:
                return records


def lines(reply: TestResponse) -> list[dict[str, Any]]:
    """Return the decoded lines of an NDJSON reply."""
    return [json.loads(line) for line in reply.data.splitlines()]


def by_field(record: dict[str, Any]) -> dict[str, Any]:
    """Return a served record with its live values by field added to it: `fields: {name: [{dot, value, at_ms}]}`."""
    fields: dict[str, list[dict[str, Any]]] = {}
    for act in record["acts"]:
        for name, value in act["fields"].items():
            fields.setdefault(name, []).append({"dot": act["dot"], "value": value, "at_ms": act["at_ms"]})
    return record | {"fields": fields}


def body(reply: TestResponse) -> dict[str, Any]:
    """Return the decoded JSON object of a reply."""
    decoded = json.loads(reply.data)
    assert isinstance(decoded, dict)
    return decoded


def live_dots(record: Mapping[str, Any]) -> list[str]:
    """Return the dots of all live values of a pulled record."""
    return sorted(act["dot"] for act in record["acts"])
