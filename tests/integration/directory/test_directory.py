"""The directory over HTTP: drafts, review by another, publication to handhelds, history, differences, files."""

import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from schemas.identifiers import make_uscc
from server.audit.models import AuditEvent
from server.errors import Problem
from server.inspections.models import Inspection
from server.inspections.service import DispatchOrder, dispatch
from server.records.service import OfficeChange, get_view, office_write_many
from server.runtime import Runtime
from tests.conftest import FakeClock, SignIn
from tests.field_device import World, body, make_world

AT = "/api/v1/directory"
OFFICE = make_uscc("11", "420000", "FX000001")
ITEM_CODE, LIST_CODE = "42010000000009", f"{OFFICE}1009"
ITEM: dict[str, Any] = {
    "name": "样例检查", "item_type": "inspection", "basis": "《样例法》", "department": "market", "level": "province",
    "sector": "market",
}  # fmt: skip
LINES: list[dict[str, Any]] = [
    {"number": "1", "text": "许可有效", "basis": "《样例法》", "outcomes": ["pass", "fail"], "evidence": ["photo"]},
    {
        "number": "2", "text": "原因，含逗号", "basis": "《样例法》", "penalty_basis": "第九条", "method": "询问",
        "asked_when": {"number": "1", "outcome": "fail"},
    },
]  # fmt: skip
LIST: dict[str, Any] = {"name": "样例清单九", "item": ITEM_CODE, "sub_items": LINES}


class Desk:
    """Two people of the province's office, and what they do."""

    def __init__(self, client: FlaskClient, sign_in: SignIn) -> None:
        """Sign both in."""
        self.client, self.author, self.other = client, sign_in(), sign_in()

    def draft(self, path: str, content: Any, base: int = 0, *, by: Any = None) -> Any:  # noqa: ANN401 - JSON, headers
        """Enter an edit."""
        sent = {"base": base, "content": content, "reason": "样例理由"}
        return self.client.post(f"{AT}/{path}/versions", json=sent, headers=by or self.author)

    def act(self, path: str, version: int, action: str, *, by: Any = None) -> Any:  # noqa: ANN401 - headers
        """Review, publish or withdraw."""
        sent = {"action": action, "reason": "同意"}
        return self.client.post(f"{AT}/{path}/versions/{version}", json=sent, headers=by or self.other)

    def publish(self, path: str, content: Any, base: int = 0) -> Any:  # noqa: ANN401 - any JSON value
        """Enter an edit, review and publish it."""
        assert self.draft(path, content, base).status_code == 201
        assert self.act(path, base + 1, "review").status_code == 200
        reply = self.act(path, base + 1, "publish")
        assert reply.status_code == 200, reply.text
        return body(reply)

    def get(self, path: str, **query: Any) -> Any:  # noqa: ANN401 - any JSON value
        """Read."""
        return self.client.get(f"{AT}/{path}", query_string=query, headers=self.author)

    def send(self, register: str, data: bytes, kind: str, *, dry: bool = False) -> Any:  # noqa: ANN401 - JSON
        """Import a file."""
        query = {"reason": "导入", "dry_run": str(dry).lower()}
        reply = self.client.post(
            f"{AT}/{register}/import", data=data, query_string=query, headers=self.author, content_type=kind
        )
        return body(reply)


@pytest.fixture
def desk(client: FlaskClient, sign_in: SignIn) -> Desk:
    """An office whose body is known."""
    made = Desk(client, sign_in)
    office = {"uscc": OFFICE, "name": "样例局", "department": "market", "region": "420000"}
    assert client.post(f"{AT}/bodies", json=office, headers=made.author).status_code == 201
    assert client.post(f"{AT}/bodies", json=office, headers=made.author).status_code == 409
    return made


def test_from_draft_to_handheld(desk: Desk, rt: Runtime, clock: FakeClock) -> None:
    """An edit is reviewed by another person, then published and superseded; each moment still has its version."""
    path = f"items/{ITEM_CODE}"
    assert body(desk.draft(path, ITEM))["legal"] == ["review", "withdraw"]
    early = desk.act(path, 1, "publish")
    assert (early.status_code, body(early)["code"]) == (409, "illegal-transition")
    assert body(early)["legal"] == ["review", "withdraw", "supersede"]
    assert desk.act(path, 1, "review", by=desk.author).status_code == 403
    assert desk.get(path).status_code == 404
    assert body(desk.act(path, 1, "review"))["state"] == "reviewed"
    item = body(desk.act(path, 1, "publish"))["record"]
    desk.publish(f"checklists/{LIST_CODE}", LIST)
    first = body(desk.get(f"checklists/{LIST_CODE}"))
    clock.advance(60)
    changed = [LINES[0] | {"text": "许可有效并公示"}, {"number": "3", "text": "新", "basis": "《样例法》"}]
    second = desk.publish(f"checklists/{LIST_CODE}", LIST | {"sub_items": changed}, 1)
    with rt.db.read() as session:
        told = get_view(session, "item", item)
        before, after = (get_view(session, "checklist", one["record"]) for one in (first, second))
        assert told is not None
        assert before is not None
        assert after is not None
        assert (told["code"], told["status"], told["version"]) == (ITEM_CODE, "published", 1)
        assert (before["status"], before["sub_items"]) == ("superseded", LINES)
        assert (after["status"], after["version"], after["sub_items"]) == ("published", 2, changed)
        query = select(AuditEvent).where(AuditEvent.action == "directory.draft", AuditEvent.subject_kind == "checklist")
        event = session.execute(query.order_by(AuditEvent.id.desc()).limit(1)).scalar_one()
        assert event.detail["fields"]["sub_items.1.text"] == ["许可有效", "许可有效并公示"]
    assert body(desk.get(f"checklists/{LIST_CODE}", at=first["published_at"]))["version"] == 1
    assert [one["state"] for one in body(desk.get(f"checklists/{LIST_CODE}/versions"))["versions"]] == [
        "superseded", "published",
    ]  # fmt: skip
    changes = body(desk.get(f"checklists/{LIST_CODE}/diff", before=1, after=2))["changes"]
    assert {"sub_items.1.text", "sub_items.2.text", "sub_items.3.text"} <= {one["path"] for one in changes}
    assert "检查项 1 检查内容 / line 1, content: “许可有效” → “许可有效并公示”" in [one["text"] for one in changes]
    assert desk.act(path, 1, "withdraw").status_code == 409  # its checklist is still in force
    assert desk.act(f"checklists/{LIST_CODE}", 2, "withdraw").status_code == 200
    assert desk.act(path, 1, "withdraw").status_code == 200
    with rt.db.read() as session:
        told = get_view(session, "item", item)
        assert told is not None
        assert told["status"] == "withdrawn"


def test_refused_edits(desk: Desk, client: FlaskClient, sign_in: SignIn) -> None:
    """What breaks a rule is refused by the field's name; so is who may not edit, and an edit of an old version."""
    desk.publish(f"items/{ITEM_CODE}", ITEM)
    for content, field in (
        (ITEM | {"basis": " "}, "basis"), (ITEM | {"item_type": "x"}, "item_type"), (ITEM | {"more": "1"}, "more"),
        (ITEM | {"department": "unknown"}, "department"),
    ):  # fmt: skip
        reply = desk.draft("items/42010000000010", content)
        assert (reply.status_code, body(reply)["field"]) == (422, field)
    twice = [LINES[0], LINES[0]]
    for code, content, field in (
        (LIST_CODE, LIST | {"item": "42010000000077"}, "item"),
        (LIST_CODE, LIST | {"sub_items": [LINES[1]]}, "sub_items.0.asked_when"),
        (LIST_CODE, LIST | {"sub_items": twice}, "sub_items.1.number"),
        (LIST_CODE, LIST | {"sub_items": [{"number": "1", "text": "x"}]}, "sub_items.0.basis"),
        (make_uscc("11", "420000", "FX000002") + "1001", LIST, "code"),
        (LIST_CODE[:-1].lower(), LIST, "code"),
    ):
        reply = desk.draft(f"checklists/{code}", content)
        assert (reply.status_code, body(reply)["field"]) == (422, field)
    same_name = desk.draft("items/42010000000010", ITEM)
    assert (same_name.status_code, body(same_name)["field"]) == (409, "name")
    stale = desk.draft(f"items/{ITEM_CODE}", ITEM, 0)
    assert (stale.status_code, body(stale)["newest"]) == (409, 1)
    for caller in (sign_in(region="4201"), sign_in(department="ecology")):
        assert desk.draft(f"items/{ITEM_CODE}", ITEM, 1, by=caller).status_code == 403
        assert desk.act(f"items/{ITEM_CODE}", 1, "withdraw", by=caller).status_code == 403
    assert desk.get("nothing").status_code == desk.get(f"items/{ITEM_CODE}", version=9).status_code == 404


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_files(desk: Desk, kind: str) -> None:
    """What is exported and imported again is unchanged, byte for byte; a dry run changes nothing; faults are told."""
    media = {"json": "application/json", "csv": "text/csv"}[kind]
    for register, code, content in (("items", ITEM_CODE, ITEM), ("checklists", LIST_CODE, LIST)):
        empty = desk.get(f"{register}/export", format=kind).data
        desk.publish(f"{register}/{code}", content)
        full = desk.get(f"{register}/export", format=kind).data
        assert full != empty
        assert desk.send(register, full, media)["unchanged"] == 1
        changed = full.replace("样例".encode(), "示例".encode())
        wanted = desk.send(register, changed, media, dry=True)
        assert (wanted["drafted"], wanted["rows"][0]["version"]) == (1, 2)
        assert len(body(desk.get(f"{register}/{code}/versions"))["versions"]) == 1
        assert desk.send(register, changed, media) == wanted | {"dry_run": False}
        assert desk.act(f"{register}/{code}", 2, "review").status_code == 200
        assert desk.act(f"{register}/{code}", 2, "publish").status_code == 200
        assert desk.get(f"{register}/export", format=kind).data == changed
        assert desk.send(register, full, media)["drafted"] == 1
        assert desk.act(f"{register}/{code}", 3, "review").status_code == 200
        assert desk.act(f"{register}/{code}", 3, "publish").status_code == 200
        assert desk.get(f"{register}/export", format=kind).data == full


def test_faults_of_files_are_told_by_row(desk: Desk) -> None:
    """Each refused code has its row, field and reason, and does not stop the others."""
    rows = [
        {"code": ITEM_CODE, **ITEM}, {"code": ITEM_CODE, **ITEM}, {"code": "1", **ITEM},
        {"code": "42010000000011", **ITEM, "name": "二", "basis": ""},
        {"code": "42010000000012", **ITEM, "name": "三", "department": "nobody"},
        {"code": "42010000000013", **ITEM},
        {"code": "42010000000014", **ITEM, "name": "四"},
    ]  # fmt: skip
    for dry in (True, False):
        told = desk.send("items", json.dumps(rows).encode(), "application/json", dry=dry)
        assert (told["drafted"], told["refused"]) == (2, 5)
        assert [(one["row"], one["field"]) for one in told["rows"] if one["outcome"] == "refused"] == [
            (2, "code"), (3, "code"), (4, "basis"), (5, "department"), (6, "name"),
        ]  # fmt: skip
    head = "code,name,item,number,text,method,basis,penalty_basis,outcomes,asked_when,evidence"
    lines = f"{head}\n{LIST_CODE},清单,{ITEM_CODE},1,问,,法,,,,\n{LIST_CODE},清单,{ITEM_CODE},2,问,,,,,,\n"
    told = desk.send("checklists", lines.encode(), "text/csv")
    assert [(one["row"], one["field"]) for one in told["rows"]] == [(2, "sub_items.1.basis")]
    for data, kind, status in ((b"{}", "application/json", 400), (b"a,b", "text/csv", 422), (b"", "text/plain", 415)):
        assert desk.send("items", data, kind)["status"] == status


def test_no_visit_outside_what_is_in_force(rt: Runtime, client: FlaskClient, sign_in: SignIn) -> None:
    """A version that was withdrawn is given to nobody any more; what the platform was filled with is published."""
    world: World = make_world(rt)
    headers = sign_in()
    listed = body(client.get(f"{AT}/checklists", headers=headers))["versions"]
    assert [(one["record"], one["state"]) for one in listed] == [(world.checklist, "published")]
    path = f"{AT}/checklists/{listed[0]['code']}/versions/1"
    reply = client.post(path, json={"action": "withdraw", "reason": "样例"}, headers=headers)
    assert reply.status_code == 200, reply.text
    order = DispatchOrder("plan", world.entity, world.checklist, world.officers, rt.now(), "样例", plan="P2")
    with rt.db.write() as session, pytest.raises(Problem) as caught:
        dispatch(session, rt, [order], author="test")
    assert (caught.value.code, caught.value.field) == ("invalid-field", "checklist")


@pytest.mark.parametrize("standing", ["superseded_since", "superseded_before"])
def test_an_inspection_keeps_its_version_and_is_marked(
    standing: str, desk: Desk, rt: Runtime, clock: FakeClock, client: FlaskClient
) -> None:
    """A newer checklist and a renamed item leave an inspection valid; the API says what it was made with."""
    world = make_world(rt)
    code = body(desk.get("checklists"))["versions"][0]["code"]
    item = body(desk.get("items"))["versions"][0]
    with rt.db.read() as session:
        inspection = session.execute(select(Inspection.id)).scalar_one()

    def pinned() -> Any:  # noqa: ANN401 - any JSON value
        reply = body(client.get("/api/v1/inspections", headers=desk.author))
        return reply["inspections"][0]["checklist"]

    assert (pinned()["version"], pinned()["standing"], pinned()["item_name"]) == (1, "in_force", item["name"])
    clock.advance(60)
    begun = clock.now()
    clock.advance(60)
    office = {"uscc": make_uscc("11", "420100", "FX000003"), "name": "局", "department": item["content"]["department"]}
    assert client.post(f"{AT}/bodies", json=office | {"region": "420100"}, headers=desk.author).status_code < 500
    desk.publish(f"items/{item['code']}", ITEM | {"name": "改名检查", "department": office["department"]}, 1)
    desk.publish(f"checklists/{code}", LIST | {"item": item["code"]}, 1)
    assert (pinned()["version"], pinned()["standing"]) == (1, "superseded_since")
    assert pinned()["item_name"] == "改名检查"  # not begun: what is in force now
    started = begun if standing == "superseded_since" else clock.now()
    with rt.db.write() as session:
        change = OfficeChange("inspection", inspection, {"started_at": started.isoformat()}, "test")
        office_write_many(session, rt, [change])
    seen = pinned()
    assert (seen["code"], seen["version"], seen["standing"]) == (code, 1, standing)
    assert (seen["item_version"], seen["item_name"]) == ((1, item["name"]) if started == begun else (2, "改名检查"))
    assert body(desk.get(f"checklists/{code}", version=1))["record"] == world.checklist
