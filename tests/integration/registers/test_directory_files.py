"""The directory as spreadsheets, and the knowledge that lines of its checklists point to."""

import csv
import io

import pytest
from openpyxl import Workbook

from server.directory.models import Checklist
from server.directory.service import add_checklist
from server.knowledge.register import KEEPER as KNOWLEDGE
from server.province import records
from server.records.service import get_records
from server.registers.service import enter
from server.registers.tables import CSV, XLSX
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import body
from tests.integration.registers.conftest import PAIRS, Rows, Send

CODE, LIST = PAIRS[0][0]["code"], PAIRS[0][1]["code"]


@pytest.fixture
def directory(rt: Runtime, entities: Rows) -> None:
    """Checklists of the sample province with their bodies."""
    with rt.db.write() as session:
        enter(session, rt, KNOWLEDGE, list(records.knowledge()), author="op", reason="登记")
        for _, checklist in PAIRS[:2]:
            add_checklist(session, rt, Checklist(**checklist), author="op")


@pytest.mark.parametrize("register", ["items", "checklists"])
def test_spreadsheets_round_trip(send: Send, directory: None, register: str) -> None:
    """What is exported as XLSX imports again unchanged; a changed row becomes a draft."""
    exported = send("GET", f"/directory/{register}/export?format=xlsx").data
    report = body(send("POST", f"/directory/{register}/import?reason=x", data=exported, content_type=XLSX))
    assert (report["drafted"], report["refused"]) == (0, 0), report
    assert report["unchanged"] == (len(PAIRS) if register == "items" else 2)
    text = send("GET", f"/directory/{register}/export?format=csv").data.decode()
    changed = text.replace("食品经营单位监督检查", "食品经营检查")
    report = body(send("POST", f"/directory/{register}/import?reason=x", data=changed.encode(), content_type=CSV))
    assert (report["drafted"], report["refused"]) == (1, 0), report


def test_bad_spreadsheets(send: Send, directory: None) -> None:
    """What is no XLSX, or lacks a column, is refused as a whole."""
    path = "/directory/items/import?reason=x"
    assert send("POST", path, data=b"PK", content_type=XLSX).status_code == 400
    other = send("GET", "/directory/checklists/export?format=xlsx").data
    reply = send("POST", path, data=other, content_type=XLSX)
    assert (reply.status_code, body(reply)["field"]) == (422, "item_type")


@pytest.mark.parametrize("form", ["csv", "xlsx"])
def test_rows_that_cannot_be_read(send: Send, directory: None, form: str) -> None:
    """Only they are refused, by number; of checklists those beside them too, lest one be taken without a line."""
    for register, refused in (("items", [(1, "row"), (3, "colour")]), ("checklists", [(1, "row"), (2, "row")])):
        rows = list(csv.reader(io.StringIO(send("GET", f"/directory/{register}/export?format=csv").text)))
        head, lines = [*rows[0], "colour"], [[*row, ""] for row in rows[1:]]
        if register == "items":
            lines[0] += ["too", "many"]
            lines[2][-1] = "red"
        else:
            lines.insert(0, ["x"] * (len(head) + 1))
        out = io.StringIO(newline="")
        csv.writer(out).writerows([head, *lines])
        data, media = out.getvalue().encode(), CSV
        if form == "xlsx":
            book = Workbook()
            for row in (head, *lines):
                book.active.append(row)
            file = io.BytesIO()
            book.save(file)
            data, media = file.getvalue(), XLSX
        report = body(send("POST", f"/directory/{register}/import?reason=x", data=data, content_type=media))
        told = [(one["row"], one["field"]) for one in report["rows"] if one["outcome"] == "refused"]
        assert told == refused, report
        assert (report["drafted"], report["unchanged"]) == (0, 7 if register == "items" else 1), report


def test_lines_point_to_knowledge(send: Send, directory: None, sign_in: SignIn, rt: Runtime) -> None:
    """An unknown number is refused by line; a published link reaches handhelds and stands beside the knowledge."""
    shown = body(send("GET", f"/directory/checklists/{LIST}"))
    content = shown["content"]
    content["sub_items"][1]["knowledge"] = ["F-1"]
    draft = {"base": 1, "content": content, "reason": "关联法规"}
    reply = send("POST", f"/directory/checklists/{LIST}/versions", json=draft)
    assert (reply.status_code, body(reply)["field"]) == (422, "sub_items.1.knowledge")
    assert "F-1" in body(reply)["detail"]
    law = {"number": "F-1", "kind": "law", "title": "样例条例", "region": "420000", "effective_from": "2020-01-01"}
    made = body(send("POST", "/knowledge", json={**law, "reason": "登记"}))
    other = sign_in("operator")
    assert send("POST", f"/directory/checklists/{LIST}/versions", json=draft).status_code == 201
    for action in ("review", "publish"):
        act = {"action": action, "reason": "同意"}
        assert send("POST", f"/directory/checklists/{LIST}/versions/2", json=act, headers=other).status_code == 200
    record = body(send("GET", f"/directory/checklists/{LIST}"))["record"]
    links = body(send("GET", f"/knowledge/{made['id']}/links"))["links"]
    assert links == [{"checklist": record, "line": "2"}]
    with rt.db.read() as session:
        sent = get_records(session, [("checklist", record)])[("checklist", record)]
        assert sent.fields["sub_items"][1]["knowledge"] == ["F-1"]
    diff = body(send("GET", f"/directory/checklists/{LIST}/diff?before=1&after=2"))["changes"]
    assert [change["path"] for change in diff] == ["sub_items.2.knowledge"]
    exported = send("GET", "/directory/checklists/export?format=xlsx").data
    report = body(send("POST", "/directory/checklists/import?reason=x", data=exported, content_type=XLSX))
    assert (report["unchanged"], report["drafted"], report["refused"]) == (2, 0, 0)
    act = {"action": "withdraw", "reason": "停用"}
    assert send("POST", f"/directory/checklists/{LIST}/versions/2", json=act, headers=other).status_code == 200
    assert body(send("GET", f"/knowledge/{made['id']}/links"))["links"] == []


def test_filters(send: Send, directory: None) -> None:
    """Items are asked for by department and sector, checklists by their item."""
    found = body(send("GET", "/directory/items?sector=drugs"))["versions"]
    assert [one["content"]["sector"] for one in found] == ["drugs"]
    assert len(body(send("GET", "/directory/items?department=市场监督管理"))["versions"]) == 1
    assert [one["code"] for one in body(send("GET", f"/directory/checklists?item={CODE}"))["versions"]] == [LIST]
    assert body(send("GET", "/directory/items?sector=none"))["versions"] == []
