"""The registers made from definitions: entering, finding, changing, history, import and export, scope, references."""

import io
import json
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from server.audit.models import AuditEvent
from server.complaints.models import Complaint
from server.complaints.register import KEEPER as COMPLAINTS
from server.credit.register import KEEPER as CREDIT
from server.errors import Problem
from server.platforms.register import KEEPER as PLATFORMS
from server.registers.service import Keeper
from server.registers.tables import CSV, FORMATS, XLSX, read_rows, write_rows
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import body
from tests.integration.registers.conftest import Rows, Send, complaint, credit, entered, key_subject


def test_a_complaint_from_entry_to_history(send: Send, entities: Rows) -> None:
    """It is entered, found by two characters, changed on its revision; its history says it all, masked."""
    made = entered(send, "complaints", complaint("TS-1", entity=entities[0]["uscc"]))
    assert (made["complainant"], made["phone"], made["revision"]) == ("张**", "138******34", 1)
    for fragment in ("标签", "青禾", "TS-1", "ts-1"):
        found = body(send("GET", f"/complaints?q={fragment}"))["records"]
        assert [one["id"] for one in found] == [made["id"]], fragment
    assert body(send("GET", "/complaints?q=没有"))["records"] == []
    assert body(send("GET", "/complaints?q=标"))["field"] == "q"
    path = f"/complaints/{made['id']}"
    changes = {"subject": "食品过期", "phone": "13900005678", "revision": 1, "reason": "补正"}
    assert body(send("PATCH", path, json=changes))["revision"] == 2
    stale = send("PATCH", path, json={"subject": "x", "revision": 1, "reason": "x"})
    assert (stale.status_code, body(stale)["field"], body(stale)["revision"]) == (409, "revision", 2)
    assert send("PATCH", path, json={"number": "TS-2", "revision": 2, "reason": "x"}).status_code == 422
    assert body(send("GET", "/complaints?q=标签"))["records"] == []
    history = body(send("GET", f"{path}/history"))["changes"]
    assert [(one["action"], one["reason"]) for one in history] == [
        ("complaint.change", "补正"),
        ("complaint.enter", "登记"),
    ]
    assert history[0]["fields"] == [
        {"field": "subject", "before": "食品标签与实物不符", "after": "食品过期"},
        {"field": "phone", "before": "138******34", "after": "139******78"},
    ]
    assert {"field": "complainant", "before": None, "after": "张**"} in history[1]["fields"]
    assert "13800001234" not in json.dumps(history)


def test_who_looks_at_personal_values_is_kept(send: Send, entities: Rows, rt: Runtime, sign_in: SignIn) -> None:
    """They are shown to an operator who says why, and to no auditor; the trail names who looked, not what was seen."""
    made = entered(send, "complaints", complaint("TS-1"))
    path = f"/complaints/{made['id']}/reveal"
    assert body(send("POST", path, json={"reason": "回访"})) == {"complainant": "张样例", "phone": "13800001234"}
    assert send("POST", path, json={"reason": "x"}, headers=sign_in("auditor")).status_code == 403
    with rt.db.read() as session:
        event = session.execute(select(AuditEvent).where(AuditEvent.action == "complaint.reveal")).scalar_one()
        assert event.detail == {"reason": "回访", "revealed": ["complainant", "phone"]}
        assert "13800001234" not in json.dumps(
            [one.detail for one in session.execute(select(AuditEvent)).scalars()], ensure_ascii=False
        )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("entity", "91420106MA0000000X"), ("item", "42009900000001"), ("kind", "letter"), ("sector", "mining"),
        ("region", "110101"), ("received_at", "yesterday"), ("number", ""), ("number", " "),
        ("subject", "长" * 201), ("subject", "　 "),
    ],
)  # fmt: skip
def test_wrong_values_are_refused_by_name(send: Send, entities: Rows, field: str, value: str) -> None:
    """A value outside its table, or a reference to nothing, is refused with its field, alone and in an import."""
    wrong = complaint("TS-1") | {field: value}
    reply = send("POST", "/complaints", json={**wrong, "reason": "登记"})
    assert (reply.status_code, body(reply)["field"]) == (422, field)
    lines = "\n".join(json.dumps(row) for row in (wrong, complaint("TS-2")))
    report = body(send("POST", "/complaints/import?reason=x", data=lines, content_type=FORMATS["jsonl"]))
    assert (report["entered"], report["refused"], report["by_field"]) == (1, 1, {field: 1})
    refused = report["refusals"][0]
    assert (refused["row"], refused["field"]) == (1, field)
    if field in ("entity", "item", "sector"):
        assert value in refused["reason"]


@pytest.mark.parametrize("said", ["", " ", None, "X" * 65])
@pytest.mark.parametrize("keeper", [COMPLAINTS, CREDIT, PLATFORMS], ids=lambda keeper: keeper.register.name)
def test_references_that_say_nothing(send: Send, entities: Rows, keeper: Keeper, said: str | None) -> None:
    """A required reference is refused by name, one that may be absent is absent; in an import the same, row by row."""
    register = keeper.register
    whole = {
        "complaints": complaint("N-1"), "credit-records": credit("N-1", entities[0]["uscc"]),
        "key-subjects": key_subject("N-1", entities[0]["uscc"]),
    }[register.name]  # fmt: skip
    assert register.references
    for place, name in enumerate(register.references):
        absent = not register.fields[name].required and said in ("", None)
        row = {**whole, "number": f"N-{place}", name: said}
        reply = send("POST", f"/{register.name}", json={**row, "reason": "登记"})
        assert (reply.status_code, body(reply)[name] if absent else body(reply)["field"]) == (
            (201, None) if absent else (422, name)
        ), reply.text
        report = body(send("POST", f"/{register.name}/import?reason=x", json=[row]))
        counts = (report["unchanged"], report["by_field"])
        assert counts == ((1, {}) if absent else (0, {name: 1})), report


def test_filters_and_pages(send: Send, entities: Rows) -> None:
    """Filters are exact, pages join up without gap or repetition, by search too; an unknown filter is refused."""
    for number in range(11):
        sector = ("market", "drugs", "")[number % 3]
        entered(
            send, "complaints", complaint(f"TS-{number}", sector=sector, region="420106" if number % 2 else "420102")
        )
    for question, count in (
        ("", 11),
        ("&q=食品", 11),
        ("&sector=market", 4),
        ("&region=420102", 6),
        ("&q=食品&sector=drugs", 4),
    ):
        seen: list[str] = []
        after = ""
        while True:
            page = body(send("GET", f"/complaints?limit=3{question}&after={after}"))
            seen += [one["id"] for one in page["records"]]
            after = page["next"]
            if not after:
                break
        assert len(seen) == len(set(seen)) == count, question
    assert send("GET", "/complaints?mood=bad").status_code == 422
    assert send("GET", "/complaints?q=食品&after=x").status_code == 422


@pytest.mark.parametrize("form", FORMATS)
def test_export_and_import_round_trip(send: Send, entities: Rows, form: str) -> None:
    """What is exported imports again unchanged in every format, holds no personal value, and takes none away."""
    made = entered(send, "complaints", complaint("TS-1", content="=cmd|' /C calc'!A0", entity=entities[3]["uscc"]))
    exported = send("GET", f"/complaints/export?format={form}")
    assert exported.headers["X-Next-After"] == ""
    assert "样例".encode() not in exported.data.replace("样例青禾超市".encode(), b"")
    report = body(send("POST", "/complaints/import?reason=x", data=exported.data, content_type=FORMATS[form]))
    assert (report["rows"], report["unchanged"], report["refused"]) == (1, 1, 0), report
    assert body(send("POST", f"/complaints/{made['id']}/reveal", json={"reason": "x"}))["complainant"] == "张样例"


def test_importing_row_by_row(send: Send, entities: Rows) -> None:
    """Of an XLSX rows are entered, changed and refused, each with its reason; a dry run says so and changes nothing."""
    entered(send, "credit-records", credit("XY-1", entities[0]["uscc"]))
    rows: list[dict[str, Any]] = [
        credit("XY-1", entities[0]["uscc"], title="未公示年报"), credit("XY-2", entities[1]["uscc"]),
        credit("XY-2", entities[1]["uscc"]), credit("XY-3", "91420100FX00000000"),
        credit("XY-1", entities[2]["uscc"]), credit("XY-4", entities[2]["uscc"], decided_on="2026-13-01"),
    ]  # fmt: skip
    rows[4]["number"] = "XY-5"
    file = io.BytesIO()
    write_rows(file, XLSX, tuple(rows[0]), rows)
    for dry in ("true", "false"):
        path = f"/credit-records/import?reason=导入&dry_run={dry}"
        report = body(send("POST", path, data=file.getvalue(), content_type=XLSX))
        counts = {name: report[name] for name in ("rows", "entered", "changed", "unchanged", "refused")}
        assert counts == {"rows": 6, "entered": 2, "changed": 1, "unchanged": 0, "refused": 3}
        assert [(one["row"], one["field"]) for one in report["refusals"]] == [
            (3, "number"),
            (4, "entity"),
            (6, "decided_on"),
        ]
    moved = json.dumps([credit("XY-1", entities[5]["uscc"])])
    report = body(send("POST", "/credit-records/import?reason=x", data=moved, content_type=FORMATS["json"]))
    assert report["by_field"] == {"entity": 1}


def test_scope(send: Send, entities: Rows, sign_in: SignIn) -> None:
    """People see, enter, import and change what lies in their region and department; knowledge everybody may read."""
    here = entered(send, "complaints", complaint("TS-1"))
    there = entered(send, "complaints", complaint("TS-2", region="420102"))
    law = entered(
        send, "knowledge",
        {"number": "F-1", "kind": "law", "title": "样例条例", "region": "420000", "effective_from": "2020-01-01"},
    )  # fmt: skip
    own = sign_in("operator", region="420106", department="市场监督管理")
    assert [one["id"] for one in body(send("GET", "/complaints", headers=own))["records"]] == [here["id"]]
    assert [one["id"] for one in body(send("GET", "/complaints?q=食品", headers=own))["records"]] == [here["id"]]
    assert body(send("GET", "/complaints?q=TS-2", headers=own))["records"] == []
    for path in (f"/complaints/{there['id']}", f"/complaints/{there['id']}/history", "/complaints?region=420102"):
        assert send("GET", path, headers=own).status_code == 404, path
    assert send("GET", f"/knowledge/{law['id']}", headers=own).status_code == 200
    denied = send("PATCH", f"/knowledge/{law['id']}", json={"title": "x", "revision": 1, "reason": "x"}, headers=own)
    assert denied.status_code == 403
    other = sign_in("operator", region="420106", department="药品监督管理")
    assert body(send("GET", "/complaints", headers=other))["records"] == []
    for record in (complaint("TS-3", region="420102"), complaint("TS-3", department="药品监督管理")):
        reply = send("POST", "/complaints", json={**record, "reason": "x"}, headers=own)
        assert body(reply)["field"] in ("region", "department")
        report = body(
            send("POST", "/complaints/import?reason=x", json=[record], headers=own, content_type="application/json")
        )
        assert (report["entered"], report["refused"]) == (0, 1)
    stolen = [complaint("TS-2", subject="x")]
    report = body(send("POST", "/complaints/import?reason=x", json=stolen, headers=own))
    assert (report["changed"], report["refused"]) == (0, 1)
    lines = list(read_rows(io.BytesIO(send("GET", "/complaints/export?format=csv", headers=own).data), CSV))
    assert [row["number"] for row in lines if not isinstance(row, Problem)] == ["TS-1"]


def test_changes_over_all_registers(send: Send, entities: Rows, sign_in: SignIn) -> None:
    """The audit answers by register, record, field, person and time, within one's scope, in pages, newest first."""
    one = entered(send, "complaints", complaint("TS-1"))
    two = entered(send, "complaints", complaint("TS-2", region="420102"))
    for made, subject in ((one, "甲事"), (two, "乙事")):
        path = f"/complaints/{made['id']}"
        assert send("PATCH", path, json={"subject": subject, "revision": 1, "reason": "改"}).status_code == 200
    entity = entities[0]
    address = {"registered_address": "新址", "reason": "迁址", "revision": 1}
    assert send("PATCH", f"/entities/{entity['id']}", json=address).status_code == 200

    def asked(question: str, **more: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - headers
        return [(c["kind"], c["record"]) for c in body(send("GET", f"/changes?{question}", **more))["changes"]]

    assert asked("field=subject&kind=complaint&limit=2") == [("complaint", two["id"]), ("complaint", one["id"])]
    assert asked("field=registered_address") == [("entity", entity["id"])]
    assert asked(f"kind=entity&record={entity['id']}&limit=1") == [("entity", entity["id"])]
    assert asked("actor=nobody") == asked("since=2030-01-01T00:00:00Z") == asked("until=2020-01-01T00:00:00Z") == []
    assert {record for _, record in asked("kind=complaint", headers=sign_in("auditor", region="420102"))} == {two["id"]}
    first = body(send("GET", "/changes?kind=complaint&limit=3"))
    rest = body(send("GET", f"/changes?kind=complaint&limit=3&after={first['next']}"))
    assert len(first["changes"] + rest["changes"]) == 4
    assert rest["next"] == ""
    assert send("GET", "/changes?after=x").status_code == 422


def test_the_trail_cannot_be_rewritten(send: Send, entities: Rows, rt: Runtime) -> None:
    """The database itself refuses to change or delete an event."""
    entered(send, "complaints", complaint("TS-1"))
    for statement in ("UPDATE audit_event SET actor = 'x'", "DELETE FROM audit_event"):
        with pytest.raises(DBAPIError, match="append-only"), rt.db.write() as session:
            session.execute(text(statement))


def test_every_record_of_a_register_has_its_row(send: Send, entities: Rows, rt: Runtime) -> None:
    """Platforms and key firms lie where their entity lies; a complaint is stored as it was said, in UTC."""
    entity = entities[0]
    made = entered(
        send, "key-subjects",
        key_subject("PT-1", entity["uscc"]),
    )  # fmt: skip
    assert (made["region"], made["contact"]) == (entity["region"], "李**")
    assert [one["id"] for one in body(send("GET", "/key-subjects?q=外卖"))["records"]] == [made["id"]]
    entered(send, "complaints", complaint("TS-1"))
    assert send("POST", "/complaints", json={**complaint("TS-1"), "reason": "x"}).status_code == 409
    with rt.db.read() as session:
        assert session.execute(select(Complaint.received_at)).scalar_one().isoformat() == "2020-05-06T01:00:00+00:00"


def test_a_merged_entity_is_followed(send: Send, entities: Rows) -> None:
    """What names a duplicate names the entity that stays, with an entry in its trail; its code leads on ever after."""
    gone, stays = entities[0], next(row for row in entities if row["region"] != entities[0]["region"])
    made = {
        "credit-records": entered(send, "credit-records", credit("XY-1", gone["uscc"])),
        "key-subjects": entered(send, "key-subjects", key_subject("PT-1", gone["uscc"])),
        "complaints": entered(send, "complaints", complaint("TS-1", entity=gone["uscc"])),
    }
    change = {"registered_address": "新址", "reason": "迁址", "revision": 1}
    assert send("PATCH", f"/entities/{gone['id']}", json=change).status_code == 200
    merge = {"into": stays["id"], "reason": "重复登记"}
    assert send("POST", f"/entities/{gone['id']}/merge", json=merge).status_code == 200
    for name, before in made.items():
        now = body(send("GET", f"/{name}/{before['id']}"))
        lies = before["region"] if name == "complaints" else stays["region"]
        assert (now["entity"], now["region"], now["revision"]) == (stays["uscc"], lies, 2), name
        for code in (gone["uscc"], stays["uscc"]):
            assert [one["id"] for one in body(send("GET", f"/{name}?entity={code}"))["records"]] == [before["id"]]
        last = body(send("GET", f"/{name}/{before['id']}/history"))["changes"][0]
        assert (last["action"].partition(".")[2], last["reason"]) == ("merge", "重复登记")
        assert {"field": "entity", "before": gone["uscc"], "after": stays["uscc"]} in last["fields"]
    late = entered(send, "credit-records", credit("XY-2", gone["uscc"]))
    assert (late["entity"], late["region"]) == (stays["uscc"], stays["region"])
    again = [credit("XY-1", gone["uscc"]), credit("XY-2", stays["uscc"])]
    report = body(send("POST", "/credit-records/import?reason=x", json=again))
    assert (report["unchanged"], report["refused"]) == (2, 0), report
    told = body(send("GET", f"/entities/{stays['id']}/history"))["changes"]
    assert [one["action"] for one in told] == ["entity.merge", "entity.change", "entity.enter", "entity.enter"]
