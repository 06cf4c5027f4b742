"""Theme views: the sums over the nine sectors come out exactly at the base registers, for every caller."""

import json
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from server.analytics.themes import REGISTERS, UNCLASSIFIED, sectors
from server.behaviors.models import Behavior
from server.directory.models import SupervisionItem
from server.entities.merging import merge_entity
from server.entities.models import Entity
from server.entities.service import change_entity
from server.leads.models import Lead
from server.officers.models import Officer
from server.officers.service import add_officers
from server.registers.tables import FORMATS
from server.runtime import Runtime
from tests.conftest import SignIn
from tests.field_device import body
from tests.integration.registers.conftest import ROWS, Rows, Send, complaint, credit


def behavior(rt: Runtime, entity: Entity | None, status: str = "current") -> Behavior:
    """A row of a behavior; what it says is not looked at."""
    return Behavior(
        id=rt.new_id(), version=1, kind="inspection", number=rt.new_id(), status=status,
        region=entity.region if entity else "420106", department="市场监督管理", entity=entity.id if entity else None,
        result="01", inspected_at=rt.now(), created_at=rt.now(), line=b"{}", leaf=b"{}",
    )  # fmt: skip


def lead(rt: Runtime, entity: Entity) -> Lead:
    """A row of a lead."""
    at = rt.now()
    known: dict[str, Any] = {
        "id": rt.new_id(), "source": "telemetry", "episode_key": rt.new_id(), "sensor_id": "s", "entity_id": entity.id,
        "region": entity.region, "department": "生态环境", "status": "open", "started_at": at, "confirmed_at": at,
        "last_at": at, "created_at": at,
    }  # fmt: skip
    for column in Lead.__table__.columns:
        if column.name not in known and not column.nullable and column.default is None:
            known[column.name] = [] if column.name == "extract" else "" if column.type.python_type is str else 1
    return Lead(**known)


def fill(session: Session, rt: Runtime) -> None:
    """Entities without a sector and merged ones, officers of several sectors and of none, behaviors of all kinds."""
    firms = [session.get_one(Entity, row["id"]) for row in ROWS]
    for firm in firms[:5]:
        change_entity(session, rt, firm, {"sector": ""}, author="op", reason="x")
    merge_entity(session, rt, firms[6], firms[7], author="op", reason="x")
    people = [
        ("市场监督管理", []), ("市场监督管理", ["market", "drugs", "health"]), ("气象", []),
        ("交通运输", ["transport"]),
    ]  # fmt: skip
    add_officers(
        session, rt,
        [
            Officer(
                id=rt.new_id(), name=f"样例{n}", certificate_number=f"样例证-{n}", certificate_valid_until=rt.now(),
                scope=scope, region="420100", department=department,
            )
            for n, (department, scope) in enumerate(people)
        ],
        author="op",
    )  # fmt: skip
    session.add_all(behavior(rt, firm) for firm in firms[:12])
    session.add_all([behavior(rt, None), behavior(rt, firms[9], "superseded"), lead(rt, firms[0]), lead(rt, firms[8])])


def test_sums_come_out_at_the_base(send: Send, entities: Rows, rt: Runtime, sign_in: SignIn) -> None:
    """For the province, a city and a department: sectors, unclassified and overlap give each base's own count."""
    with rt.db.write() as session:
        fill(session, rt)
    rows = [complaint(f"TS-{n}", sector=("market", "", "health")[n % 3]) for n in range(7)]
    reply = send("POST", "/complaints/import?reason=x", data=json.dumps(rows), content_type=FORMATS["json"])
    assert body(reply)["entered"] == 7
    for number, row in enumerate(ROWS[:6]):
        assert (
            send("POST", "/credit-records", json={**credit(f"XY-{number}", row["uscc"]), "reason": "x"}).status_code
            == 201
        )
    law = {"number": "F-1", "kind": "law", "title": "样例条例", "region": "420000", "effective_from": "2020-01-01"}
    assert send("POST", "/knowledge", json={**law, "reason": "x"}).status_code == 201
    callers = [sign_in("auditor"), sign_in("operator", region="4201"), sign_in("operator", department="市场监督管理")]
    seen: dict[str, list[int]] = {}
    for headers in callers:
        found = {one["register"]: one for one in body(send("GET", "/analytics/themes", headers=headers))["themes"]}
        assert set(found) == set(REGISTERS)
        for name, one in found.items():
            assert list(one["sectors"]) == list(sectors())
            assert one["total"] == sum(one["sectors"].values()) + one["unclassified"] - one["overlap"], name
            assert one["reconciled"] is True
            seen.setdefault(name, []).append(one["total"])
        for sector in (*sectors(), UNCLASSIFIED):
            parts = body(send("GET", f"/analytics/themes/{sector}", headers=headers))["registers"]
            for part in parts:
                whole = found[part["register"]]
                assert part["count"] == (whole["unclassified"] if sector == UNCLASSIFIED else whole["sectors"][sector])
                assert part["count"] == sum(part["cities"].values())
    with rt.db.read() as session:
        counts = {
            "entities": select(func.count()).where(Entity.status != "merged"),
            "items": select(func.count()).select_from(SupervisionItem),
            "officers": select(func.count()).select_from(Officer),
            "behaviors": select(func.count()).where(Behavior.status == "current"),
            "leads": select(func.count()).select_from(Lead),
        }
        for name, query in counts.items():
            assert seen[name][0] == session.execute(query).scalar_one(), name
    assert (seen["complaints"], seen["credit-records"][0], seen["knowledge"]) == ([7, 7, 7], 6, [1, 1, 1])
    whole = {one["register"]: one for one in body(send("GET", "/analytics/themes", headers=callers[0]))["themes"]}
    assert (whole["officers"]["unclassified"], whole["officers"]["overlap"]) == (1, 2)
    assert (whole["officers"]["sectors"]["market"], whole["officers"]["sectors"]["health"]) == (2, 1)
    assert whole["entities"]["unclassified"] == 5
    assert whole["behaviors"]["unclassified"] == 6
    assert whole["leads"]["unclassified"] == 1
    assert whole["complaints"]["unclassified"] == 2
    assert send("GET", "/analytics/themes/mining").status_code == 404
