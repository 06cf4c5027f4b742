"""The register of officers: certificates, who they keep away from, and what reaches handhelds; entities that move."""

import json
from typing import Any

import pytest
from sqlalchemy import select

from server.credit.models import CreditRecord
from server.officers.models import Officer
from server.officers.service import avoidances_of, officers_for
from server.records.models import RecordLeave, SyncedRecord
from server.records.service import get_view
from server.registers.tables import FORMATS
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import body
from tests.integration.registers.conftest import Rows, Send, credit

HEAD = "name,certificate_number,certificate_valid_from,certificate_valid_until,scope,region,department\n"
LINES = (
    "张样例,样例证-1,2024-01-01,2028-12-31,market|drugs,420100,市场监督管理\n"
    "李样例,样例证-2,,2028-12-31,,420106,市场监督管理\n"
    "王样例,样例证-3,2024-01-01,2023-01-01,,420106,市场监督管理\n"
    "赵样例,样例证-4,2024-01-01,2028-12-31,mining,420106,市场监督管理\n"
    "钱样例,样例证-5,2024-01-01,,,420106,市场监督管理\n"
)


@pytest.fixture
def officers(send: Send, entities: Rows) -> dict[str, Any]:
    """Two officers that an import entered, by number; three rows were refused."""
    report = body(send("POST", "/officers/import?reason=年检", data=(HEAD + LINES).encode(), content_type="text/csv"))
    assert (report["entered"], report["refused"]) == (2, 3)
    assert report["by_field"] == {"certificate_valid_until": 2, "scope": 1}
    return {one["certificate_number"]: one for one in body(send("GET", "/officers"))["records"]}


def test_certificates_are_imported(send: Send, officers: dict[str, Any], rt: Runtime) -> None:
    """A day means its beginning or its end in Beijing; officers are found, and reach handhelds with their scope."""
    one = officers["样例证-1"]
    assert (one["certificate_valid_from"], one["certificate_valid_until"]) == (
        "2023-12-31T16:00:00+00:00", "2028-12-31T15:59:59+00:00",
    )  # fmt: skip
    assert [label["zh"] for label in one["labels"]["scope"]] == ["市场监管", "药品监管"]
    assert [found["id"] for found in body(send("GET", "/officers?q=张样"))["records"]] == [one["id"]]
    with rt.db.read() as session:
        view = get_view(session, "officer", one["id"])
        assert view is not None
        assert (view["scope"], view["region"]) == (["market", "drugs"], "420100")
        assert len(officers_for(session, "420106001", "市场监督管理", rt.now())) == 2


def test_a_change_reaches_handhelds_and_who_moves_leaves(send: Send, officers: dict[str, Any], rt: Runtime) -> None:
    """A shortened certificate and another county are published; the former county is told that the officer left."""
    one = officers["样例证-2"]
    changes = {
        "region": "420102", "certificate_valid_until": "2026-06-30", "scope": ["market"], "revision": 1,
        "reason": "调动",
    }  # fmt: skip
    assert send("PATCH", f"/officers/{one['id']}", json=changes).status_code == 200
    with rt.db.read() as session:
        record = session.get_one(SyncedRecord, ("officer", one["id"]))
        view = get_view(session, "officer", one["id"])
        assert view is not None
        assert (record.region, view["region"], view["scope"]) == ("420102", "420102", ["market"])
        assert view["certificate_valid_until"] == "2026-06-30T15:59:59+00:00"
        left = session.execute(select(RecordLeave.region).where(RecordLeave.id == one["id"])).scalars().all()
        assert left == ["420106"]
    fields = body(send("GET", f"/officers/{one['id']}/history"))["changes"][0]["fields"]
    assert {"field": "scope", "before": [], "after": ["market"]} in fields
    backwards = {"certificate_valid_until": "2020-01-01", "certificate_valid_from": "2021-01-01", "revision": 2}
    assert send("PATCH", f"/officers/{one['id']}", json={**backwards, "reason": "x"}).status_code == 422


def test_avoidance_relations(
    send: Send, officers: dict[str, Any], entities: Rows, rt: Runtime, sign_in: SignIn
) -> None:
    """They are entered by code or number, imported with a report, listed by name, ended, and kept in the trail."""
    one, two = officers["样例证-1"], officers["样例证-2"]
    path, firm = f"/officers/{one['id']}/avoidances", entities[0]
    listed = body(send("POST", path, json={"other": firm["uscc"], "reason": "亲属"}))["avoidances"]
    assert [(a["kind"], a["code"], a["name"], a["reason"]) for a in listed] == [
        ("entity", firm["uscc"], firm["name"], "亲属")
    ]
    nobody = send("POST", path, json={"other": "样例证-9", "reason": "x"})
    assert (nobody.status_code, body(nobody)["field"]) == (422, "other")
    assert "样例证-9" in body(nobody)["detail"]
    pairs = [("样例证-1", "样例证-2"), ("样例证-1", firm["uscc"]), ("样例证-7", firm["uscc"]), ("样例证-1", "样例证-1")]
    rows = [{"officer": officer, "other": other, "reason": "配偶"} for officer, other in pairs]
    rows.append({"officer": "样例证-1", "other": firm["uscc"]})
    for dry in ("true", "false"):
        path_in = f"/officers/avoidances/import?reason=x&dry_run={dry}"
        report = body(send("POST", path_in, data=json.dumps(rows), content_type=FORMATS["json"]))
        assert (report["entered"], report["unchanged"], report["refused"]) == (1, 1, 3)
        assert [(r["row"], r["field"]) for r in report["refusals"]] == [(3, "officer"), (4, "other"), (5, "reason")]
    with rt.db.read() as session:
        assert avoidances_of(session, [one["id"]])[one["id"]] == {firm["id"], two["id"]}
    ended = send("POST", f"{path}/{two['id']}/end", json={"reason": "离婚"})
    assert [a["code"] for a in body(ended)["avoidances"]] == [firm["uscc"]]
    assert send("POST", f"{path}/{two['id']}/end", json={"reason": "x"}).status_code == 404
    told = body(send("GET", "/changes?kind=officer&field=avoidance"))["changes"]
    assert [change["fields"][0]["after"] for change in told] == [None, two["id"], firm["id"]]
    assert send("GET", path, headers=sign_in("operator", region="4202")).status_code == 404


def test_an_entity_that_moves_takes_what_lies_with_it(send: Send, entities: Rows, rt: Runtime) -> None:
    """Its record moves to the new county's handhelds, its credit records to that county's operators; all audited."""
    firm = entities[0]
    target = next(row["region"] for row in entities if row["region"][:4] != firm["region"][:4])
    made = body(send("POST", "/credit-records", json={**credit("XY-1", firm["uscc"]), "reason": "登记"}))
    row = f"{firm['uscc']},{firm['name']},{target},新址,30.5,114.3,WGS-84,D"
    lines = f"uscc,name,region,registered_address,lat,lon,datum,risk\n{row}\n"
    report = body(send("POST", "/entities/import?reason=迁址", data=lines.encode(), content_type="text/csv"))
    assert (report["changed"], report["refused"]) == (1, 0), report
    shown = body(send("GET", f"/entities/{firm['id']}"))
    assert (shown["region"], shown["risk"], shown["lat"], shown["sector"]) == (target, "D", 30.5, firm["sector"])
    assert [one["id"] for one in body(send("GET", f"/entities?q={firm['name']}&region={target}"))["entities"]] == [
        firm["id"]
    ]
    assert [g["reason"] for g in body(send("GET", f"/entities/{firm['id']}/grades"))["grades"]] == ["迁址"]
    with rt.db.read() as session:
        assert session.get_one(SyncedRecord, ("entity", firm["id"])).region == target
        view = get_view(session, "entity", firm["id"])
        assert view is not None
        assert (view["region"], view["position"]) == (target, {"lat": 30.5, "lon": 114.3, "datum": "WGS-84"})
        left = session.execute(select(RecordLeave.region).where(RecordLeave.id == firm["id"])).scalars().all()
        assert left == [firm["region"]]
        assert session.execute(select(CreditRecord.region)).scalar_one() == target
        assert session.execute(select(Officer)).first() is None
    history = body(send("GET", f"/entities/{firm['id']}/history"))["changes"]
    assert [one["action"] for one in history] == ["entity.change", "entity.grade", "entity.enter"]
    assert {"field": "region", "before": firm["region"], "after": target} in history[0]["fields"]
    assert body(send("GET", f"/credit-records/{made['id']}/history"))["changes"][0]["action"] == "credit_record.move"
    exported = send("GET", "/entities/export?format=xlsx").data
    again = body(send("POST", "/entities/import?dry_run=true", data=exported, content_type=FORMATS["xlsx"]))
    assert (again["rows"], again["unchanged"], again["refused"]) == (40, 40, 0), again
